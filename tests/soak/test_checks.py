"""What a soak finds fault with."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from checks import flat
from watch import Sample

STEADY = {"memory_bytes": 60_000_000, "descriptors": 80, "objects": 80_000}


def samples(**growth_per_s: float) -> list[Sample]:
    """Ten minutes, one a second."""
    return [
        Sample(
            float(second),
            **{name: int(value + growth_per_s.get(name, 0) * second) for name, value in STEADY.items()},
        )
        for second in range(600)
    ]


def test_what_stays_the_same_is_flat():
    assert [check.holds for check in flat(samples())] == [True, True, True]


@pytest.mark.parametrize(
    ("grown", "index"),
    [({"memory_bytes": 20_000}, 0), ({"objects": 15}, 1), ({"descriptors": 0.03}, 2)],
    ids=["memory", "objects", "descriptors"],
)
def test_what_grows_slowly_and_for_ever_is_found(grown: dict[str, float], index: int):
    assert [check.holds for check in flat(samples(**grown))] == [at != index for at in range(3)]


def test_growth_while_everything_warms_up_is_none():
    warming = samples()
    warming[:140] = samples(memory_bytes=-100_000)[:140]

    assert all(check.holds for check in flat(warming))
