"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# No test asserts how fast something is, also not by default: on a busy machine an example may take its time.
# The rest stays as Hypothesis has it, which is not the same on a developer's machine and in CI.
settings.register_profile(
    "leanmesh",
    settings.get_profile(settings.get_current_profile_name()),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("leanmesh")
