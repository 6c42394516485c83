"""What holds for all tests."""

import pytest
from hypothesis import HealthCheck, settings

# Helper modules assert too: what fails there says its values as it does in a test.
pytest.register_assert_rewrite("bridge", "end_to_end", "network", "transport")

# No test asserts how fast something is, also not by default: on a busy machine an example may take its time.
# The rest stays as Hypothesis has it, which is not the same on a developer's machine and in CI.
settings.register_profile(
    "leanmesh",
    settings.get_profile(settings.get_current_profile_name()),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("leanmesh")
