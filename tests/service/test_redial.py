"""Configured peers: how long is waited between two dials."""

from random import Random

import attrs
import pytest
import trio
from leanmesh.service.params import ServiceParams
from leanmesh.service.redial import JITTER, redial_forever
from leanmesh.transport.errors import ConnectError, DialFailed, DialToSelf, Step
from leanmesh.wire.multiaddr import Multiaddr

ADDRESS = Multiaddr.from_text("/ip4/10.0.0.1/tcp/9000")
PARAMS = ServiceParams(redial_first_s=1.0, redial_limit_s=60.0, redial_stable_after_s=10.0)
FAILS = None


@attrs.define
class Connection:
    life_s: float

    async def wait_closed(self) -> None:
        await trio.sleep(self.life_s)


@attrs.define
class Peer:
    """Stands in for the switch: each dial gives a connection of the next life, fails, or ends the test."""

    lives_s: list[float | None]
    pauses_s: list[float] = attrs.field(factory=list)
    _ended_s: float | None = None

    async def dial(self, address: Multiaddr, *, ignore_backoff: bool) -> Connection:
        assert (address, ignore_backoff) == (ADDRESS, True)
        await trio.lowlevel.checkpoint()
        now_s = trio.current_time()
        if self._ended_s is not None:
            self.pauses_s.append(now_s - self._ended_s)
        if not self.lives_s:
            raise DialToSelf("enough")
        life_s = self.lives_s.pop(0)
        self._ended_s = now_s + (life_s or 0.0)
        if life_s is FAILS:
            raise DialFailed([ConnectError(ADDRESS, Step.CONNECT, "Connection refused")])
        return Connection(life_s)


async def pauses_after(lives_s: list[float | None]) -> list[float]:
    """The pause behind each of the dials."""
    peer = Peer(lives_s)
    await redial_forever(peer, ADDRESS, PARAMS, Random(1))
    return peer.pauses_s


def about(*pauses_s: float) -> list:
    return [pytest.approx(pause_s, rel=JITTER) for pause_s in pauses_s]


async def test_a_peer_that_flaps_is_dialed_ever_more_rarely_but_at_least_once_a_minute(autojump_clock):
    assert await pauses_after([9.9] * 10) == about(1, 2, 4, 8, 16, 32, 60, 60, 60, 60)


async def test_failed_dials_and_short_connections_lengthen_one_and_the_same_pause(autojump_clock):
    assert await pauses_after([FAILS, 0.0, FAILS, 9.9, FAILS]) == about(1, 2, 4, 8, 16)


async def test_pauses_begin_anew_after_a_connection_that_lived_long_enough(autojump_clock):
    assert await pauses_after([FAILS] * 7 + [10.1, FAILS, 3600.0, 10.1, 10.1]) == about(
        1, 2, 4, 8, 16, 32, 60, 1, 2, 1, 1, 1
    )


async def test_no_two_pauses_of_one_length_are_equal(autojump_clock):
    pauses_s = await pauses_after([10.1] * 100)
    assert len(set(pauses_s)) == 100
    assert pauses_s == about(*[1.0] * 100)
