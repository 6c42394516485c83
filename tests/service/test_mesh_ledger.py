"""The ledger of mesh links: each stay in a mesh is one entry, and the last thousand are kept."""

from leanmesh.gossip.observer import GraftReason, PruneReason
from leanmesh.identity.peer_id import PeerId
from leanmesh.service.mesh_ledger import EndedLinks, MeshLedger

A = PeerId(b"\x00\x24" + bytes(36))
B = PeerId(b"\x00\x24" + b"\x01" * 36)


def ledger(network_id: int = 0, ended: EndedLinks | None = None) -> MeshLedger:
    return MeshLedger(network_id, ended or EndedLinks(), wall_clock=lambda: 1_700_000_000.0)


def test_a_link_says_who_grafted_why_for_how_long_why_it_ended_and_what_it_brought():
    links = ledger()
    links.grafted(A, "news", GraftReason.GRAFTED_BY_PEER, 10.0)
    links.first_seen(A, "news", b"1", 1000, 10.5)
    links.first_seen(A, "news", b"2", 500, 10.6)
    links.first_seen(A, "weather", b"3", 1, 10.7)
    links.first_seen(B, "news", b"4", 1, 10.7)
    links.grafted(B, "news", GraftReason.RANDOM, 11.0)
    links.pruned(A, "news", PruneReason.EXCESS, 12.25)

    assert list(links.describe(20.0)) == [
        {
            "network_id": 0,
            "peer": str(A),
            "topic": "news",
            "grafted_by": "peer",
            "reason": "grafted_by_peer",
            "began_unix_s": 1_700_000_000.0,
            "duration_s": 2.25,
            "ended": "excess",
            "firsts": 2,
            "firsts_bytes": 1500,
        },
        {
            "network_id": 0,
            "peer": str(B),
            "topic": "news",
            "grafted_by": "us",
            "reason": "random",
            "began_unix_s": 1_700_000_000.0,
            "duration_s": 9.0,
            "ended": None,
            "firsts": 0,
            "firsts_bytes": 0,
        },
    ]


def test_a_peer_that_comes_back_has_a_second_link():
    links = ledger()
    for start_s in (1.0, 5.0):
        links.grafted(A, "news", GraftReason.RANDOM, start_s)
        links.first_seen(A, "news", b"%d" % start_s, 10, start_s)
        links.pruned(A, "news", PruneReason.DISCONNECTED, start_s + 1)
    assert [(link["duration_s"], link["firsts"]) for link in links.describe(9.0)] == [(1.0, 1), (1.0, 1)]


def test_only_the_last_links_of_all_networks_are_kept_and_the_others_counted():
    ended = EndedLinks(limit=3)
    networks = [ledger(network_id, ended) for network_id in range(2)]
    for number in range(5):
        links = networks[number % 2]
        links.grafted(A, f"topic {number}", GraftReason.RANDOM, 1.0)
        links.pruned(A, f"topic {number}", PruneReason.EXCESS, 2.0)
    assert [link["topic"] for links in networks for link in links.describe(3.0)] == [
        "topic 2",
        "topic 4",
        "topic 3",
    ]
    assert ended.forgotten == 2


def test_when_the_core_is_gone_no_link_is_left():
    links = ledger()
    links.grafted(A, "news", GraftReason.RANDOM, 1.0)
    links.grafted(B, "news", GraftReason.RANDOM, 2.0)
    links.close(3.0)
    assert [(link["duration_s"], link["ended"]) for link in links.describe(9.0)] == [
        (2.0, "disconnected"),
        (1.0, "disconnected"),
    ]
