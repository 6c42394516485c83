"""What must hold after a soak."""

import statistics
from collections.abc import Callable, Sequence

import attrs
from watch import Sample, Soak

# The allocator keeps a little more than is used, and not always the same.
MEMORY_SHARE = 0.03
MEMORY_SLACK_BYTES = 2 << 20
OBJECTS_SHARE = 0.03
# Connections that begin and end while somebody looks.
DESCRIPTORS_SLACK = 4
# The first part of a run fills caches, tables and the allocator's pools.
WARM_UP_SHARE = 0.25


@attrs.frozen
class Check:
    """One thing that must hold, and what was found."""

    what: str
    holds: bool
    found: str


def judge(soak: Soak) -> list[Check]:
    """All checks, the failed ones among them."""
    return [*flat(soak.samples), *_messages(soak), *_books(soak), *_errors(soak)]


def flat(samples: Sequence[Sample]) -> list[Check]:
    """Medians of the second half of the time after the warm-up against the first."""
    warm = samples[int(len(samples) * WARM_UP_SHARE) :]
    first, second = warm[: len(warm) // 2], warm[len(warm) // 2 :]

    def medians(figure: Callable[[Sample], int]) -> tuple[float, float]:
        return statistics.median(map(figure, first)), statistics.median(map(figure, second))

    checks: list[Check] = []
    for what, unit, scale, figure, share, slack in (
        ("memory is flat", "MB", 1e6, lambda one: one.memory_bytes, MEMORY_SHARE, MEMORY_SLACK_BYTES),
        ("objects are as many as before", "", 1, lambda one: one.objects, OBJECTS_SHARE, 0),
        ("descriptors are as many as before", "", 1, lambda one: one.descriptors, 0, DESCRIPTORS_SLACK),
    ):
        before, after = medians(figure)
        found = f"{before / scale:.1f} {unit}, then {after / scale:.1f} {unit}".replace(" ,", ",")
        checks.append(Check(what, after <= before * (1 + share) + slack, found.strip()))
    return checks


def _messages(soak: Soak) -> list[Check]:
    back = f"{soak.restarts} restarts, slowest {max(soak.back_s, default=0):.1f} s"
    return [
        Check("restarted peers are back in the mesh", soak.restarts > 0, back),
        Check(
            "who was there got every message",
            not soak.missing,
            f"{soak.published} published, {soak.expected} due, {soak.missing.total()} missing",
        ),
    ]


def _books(soak: Soak) -> list[Check]:
    assert soak.at_rest is not None
    balances = {
        series.labels[0]: series.value for series in soak.at_rest.family("leanmesh_messages_balance").series
    }
    found = ", ".join(f"{boundary} {value}" for boundary, value in balances.items())
    return [Check("the books close", len(balances) == 3 and not any(balances.values()), found)]


def _errors(soak: Soak) -> list[Check]:
    counted = sum(soak.contained.values()) + soak.network_restarts
    logged = soak.logged.lines
    return [
        Check("no error was contained", not soak.contained, str(soak.contained or "none")),
        Check("no network failed", not soak.network_restarts, str(soak.network_restarts)),
        Check("no error without a counter", len(logged) <= counted, f"{len(logged)} logged {logged[:3]}"),
        Check("every page was whole", soak.scrapes > 0 and not soak.bad_scrapes, f"{soak.scrapes} scrapes"),
    ]
