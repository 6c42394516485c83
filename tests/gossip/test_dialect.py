"""What a peer accepts, told by its protocol and by the software it names."""

import pytest
from leanmesh.gossip.dialect import FLOODSUB, PROTOCOLS, Dialect, dialect_for

FLAGS = ("supports_control", "supports_backoff", "supports_px", "supports_idontwant", "supports_extensions")


@pytest.mark.parametrize(
    ("protocol", "flags"),
    [
        (FLOODSUB, (False, False, False, False, False)),
        ("/meshsub/1.0.0", (True, False, False, False, False)),
        ("/meshsub/1.1.0", (True, True, True, False, False)),
        ("/meshsub/1.2.0", (True, True, True, True, False)),
        ("/meshsub/1.3.0", (True, True, True, True, True)),
        ("/meshsub/1.10.0", (True, True, True, True, True)),
        ("/lean/meshsub/1.1.0", (True, True, True, False, False)),
    ],
)
def test_each_version_adds_what_may_be_sent(protocol: str, flags: tuple[bool, ...]):
    dialect = dialect_for(protocol)
    assert tuple(getattr(dialect, flag) for flag in FLAGS) == flags


@pytest.mark.parametrize("agent", [None, "", "teapot/1.0", "\x00", "xgo-libp2p"])
def test_an_unknown_peer_gets_what_all_of_them_accept(agent: str | None):
    dialect = dialect_for("/meshsub/1.2.0", agent)
    assert dialect == Dialect()
    assert (dialect.rpc_bytes, dialect.control_bytes, dialect.publishes) == (65_536, 16_384, 500)
    assert (dialect.ids_per_idontwant, dialect.idontwants, dialect.ids_per_entry) == (10, 1, 512)
    assert (dialect.px_peers, dialect.subscriptions) == (16, 100)


@pytest.mark.parametrize(
    ("agent", "control_bytes", "ids_per_idontwant", "ids_per_entry"),
    [
        ("go-libp2p/0.40.0", 65_536, 10, 5_000),
        ("github.com/libp2p/go-libp2p@v0.40", 65_536, 10, 5_000),
        ("rust-libp2p/0.45.1", 16_384, 512, 5_000),
        ("js-libp2p/3.3.0 node/22", 65_536, 512, 512),
        ("leanmesh/0.1.0", 65_536, 512, 5_000),
    ],
)
def test_a_known_peer_gets_what_it_accepts(
    agent: str, control_bytes: int, ids_per_idontwant: int, ids_per_entry: int
):
    dialect = dialect_for("/meshsub/1.2.0", agent)
    assert (dialect.control_bytes, dialect.rpc_bytes) == (control_bytes, 65_536)
    assert (dialect.ids_per_idontwant, dialect.ids_per_entry) == (ids_per_idontwant, ids_per_entry)


@pytest.mark.parametrize("protocol", ["", "/", "/meshsub/", "/meshsub/x.y", "/meshsub/1.²", "/meshsub/2.0.0"])
def test_a_strange_protocol_id_gives_the_least(protocol: str):
    assert dialect_for(protocol) == dialect_for(FLOODSUB)


def test_protocols_are_offered_newest_first():
    versions = [protocol for protocol in PROTOCOLS if "meshsub" in protocol]
    assert versions == sorted(versions, reverse=True)
    assert PROTOCOLS[-1] == FLOODSUB
