"""/dnsaddr: TXT records that lead to addresses, to further names, or nowhere."""

import pytest
import trio
from leanmesh.errors import RemoteError
from leanmesh.transport.errors import ConnectError, FailureKind, Step
from leanmesh.transport.resolve import Resolver
from transport.nodes import address, params, peer_ids

ONE, OTHER = peer_ids(2)


def resolver(records: dict[str, list[str]], **limits) -> Resolver:
    async def look_up(name: str) -> list[str]:
        await trio.lowlevel.checkpoint()
        return records.get(name, [])

    return Resolver(params(**limits), look_up)


RECORDS = {
    "_dnsaddr.example.org": [
        "unrelated text",
        f"dnsaddr=/ip4/192.0.2.1/tcp/9000/p2p/{ONE}",
        f"dnsaddr=/ip4/192.0.2.2/tcp/9000/p2p/{OTHER}",
        "dnsaddr=/ip4/192.0.2.3/tcp/443/wss",
        "dnsaddr=/dnsaddr/two.example.org",
    ],
    "_dnsaddr.two.example.org": [f"dnsaddr=/ip6/2001:db8::1/udp/9000/quic-v1/p2p/{ONE}"],
    "_dnsaddr.loop.example.org": ["dnsaddr=/dnsaddr/loop.example.org"],
    "_dnsaddr.many.example.org": [f"dnsaddr=/ip4/192.0.2.1/tcp/{port}" for port in range(1, 1000)],
}


async def test_records_lead_to_addresses_and_to_further_names():
    found = await resolver(RECORDS).resolve(address("/dnsaddr/example.org"))
    assert [str(one) for one in found] == [
        f"/ip4/192.0.2.1/tcp/9000/p2p/{ONE}",
        f"/ip4/192.0.2.2/tcp/9000/p2p/{OTHER}",
        f"/ip6/2001:db8::1/udp/9000/quic-v1/p2p/{ONE}",
    ]


async def test_only_records_of_the_peer_that_was_asked_for_count():
    found = await resolver(RECORDS).resolve(address(f"/dnsaddr/example.org/p2p/{OTHER}"))
    assert found == (address(f"/ip4/192.0.2.2/tcp/9000/p2p/{OTHER}"),)


async def test_names_that_lead_in_circles_or_nowhere_end():
    for name in ("loop.example.org", "missing.example.org"):
        with pytest.raises(ConnectError, match="stands for no address") as caught:
            await resolver(RECORDS).resolve(address(f"/dnsaddr/{name}"))
        assert caught.value.step == Step.RESOLVE


async def test_a_name_leads_to_no_more_addresses_than_the_limit():
    found = await resolver(RECORDS, resolved_addresses_limit=5).resolve(address("/dnsaddr/many.example.org"))
    assert len(found) == 5


async def test_a_resolver_that_is_silent_times_out(autojump_clock):
    async def silent(name: str) -> list[str]:
        await trio.sleep_forever()

    with pytest.raises(ConnectError, match="resolve failed: no answer within 5 s") as caught:
        await Resolver(params(), silent).resolve(address("/dnsaddr/example.org"))
    assert caught.value.kind == FailureKind.TIMEOUT


GOOD = f"/ip4/192.0.2.1/tcp/9000/p2p/{ONE}"


@pytest.mark.parametrize("order", [1, -1], ids=["good first", "good last"])
@pytest.mark.parametrize("error", [OSError("no route to the resolver"), RemoteError("the answer is cut off")])
async def test_a_record_that_fails_does_not_lose_the_others(error: Exception, order: int):
    records = [f"dnsaddr={GOOD}", "dnsaddr=/dnsaddr/broken.example.org"][::order]

    async def look_up(name: str) -> list[str]:
        await trio.lowlevel.checkpoint()
        if name == "_dnsaddr.broken.example.org":
            raise error
        return records

    found = await Resolver(params(), look_up).resolve(address("/dnsaddr/example.org"))
    assert found == (address(GOOD),)


async def test_a_record_that_is_silent_costs_its_time_and_loses_none_before_it(autojump_clock):
    async def look_up(name: str) -> list[str]:
        if name == "_dnsaddr.silent.example.org":
            await trio.sleep_forever()
        return [f"dnsaddr={GOOD}", "dnsaddr=/dnsaddr/silent.example.org"]

    found = await Resolver(params(), look_up).resolve(address("/dnsaddr/example.org"))
    assert (found, trio.current_time()) == ((address(GOOD),), 5.0)


async def test_where_every_record_fails_the_first_reason_is_told():
    async def look_up(name: str) -> list[str]:
        await trio.lowlevel.checkpoint()
        if name != "_dnsaddr.example.org":
            raise OSError(f"{name} is broken")
        return ["dnsaddr=/dnsaddr/one.example.org", "dnsaddr=/dnsaddr/two.example.org"]

    with pytest.raises(ConnectError, match=r"resolve failed: _dnsaddr.one.example.org is broken") as caught:
        await Resolver(params(), look_up).resolve(address("/dnsaddr/example.org"))
    assert caught.value.kind == FailureKind.ERROR


async def test_an_address_without_a_name_stays_as_it_is():
    target = address(f"/ip4/192.0.2.1/tcp/1/p2p/{ONE}")
    assert await resolver({}).resolve(target) == (target,)
