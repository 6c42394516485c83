"""/dnsaddr: TXT records that lead to addresses, to further names, or nowhere."""

import pytest
import trio
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


async def test_an_address_without_a_name_stays_as_it_is():
    target = address(f"/ip4/192.0.2.1/tcp/1/p2p/{ONE}")
    assert await resolver({}).resolve(target) == (target,)
