"""Our TCP, Noise and yamux against those of others, in both directions and with both kinds of key."""

import hashlib

import pytest
import trio
from interop.build import LANGUAGES
from interop.our_peer import Digest, download, start_our_peer, upload
from interop.peers import pattern
from leanmesh.service.identify_service import AGENT_VERSION
from leanmesh.service.ping_service import ping

TRANSFER_BYTES = 64 << 20
# Far above what it takes: py-libp2p moves tens of MB/s, and machines are shared.
TRANSFER_TIMEOUT_S = 100.0
KEY_TYPES = ("ed25519", "secp256k1")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def expected() -> Digest:
    return Digest(TRANSFER_BYTES, hashlib.sha256(pattern(TRANSFER_BYTES)).hexdigest())


@pytest.mark.parametrize("key_type", KEY_TYPES)
@pytest.mark.parametrize("language", LANGUAGES)
async def test_we_dial_identify_ping_and_move_64_mib_each_way(
    start, nursery: trio.Nursery, expected: Digest, language: str, key_type: str
):
    theirs = await start(language, "--echo", "--key-type", key_type)
    ours = await start_our_peer(nursery, key_type)

    connection = await ours.dial(theirs.address)
    told = await ours.identify.ask(connection)
    async with ping(connection) as round_trips:
        rtt_s = await anext(round_trips)
    with trio.fail_after(TRANSFER_TIMEOUT_S):
        sent = await upload(connection, TRANSFER_BYTES)
        received = await download(connection, TRANSFER_BYTES)

    assert str(connection.remote_peer) == theirs.peer_id
    assert f"{language}-libp2p" in told.agent_version
    assert "/leanmesh/test/sink/1" in told.protocols
    assert rtt_s > 0
    assert (sent, received) == (expected, expected)
    inbound = await theirs.expect("connected", peer=str(ours.switch.local_peer))
    assert (inbound["agent"], inbound["direction"]) == (AGENT_VERSION, "inbound")


@pytest.mark.parametrize("key_type", KEY_TYPES)
@pytest.mark.parametrize("language", LANGUAGES)
async def test_we_are_dialed_identified_pinged_and_64_mib_move_each_way(
    start, nursery: trio.Nursery, expected: Digest, language: str, key_type: str
):
    ours = await start_our_peer(nursery, key_type)
    sizes = ("--upload", TRANSFER_BYTES, "--download", TRANSFER_BYTES)
    theirs = await start(language, "--peer", ours.address, "--key-type", key_type, "--ping", *sizes)

    received = await theirs.expect("transfer", direction="download", timeout_s=2 * TRANSFER_TIMEOUT_S)
    sent = await theirs.expect("transfer", direction="upload")
    outbound = await theirs.expect("connected", peer=str(ours.switch.local_peer))

    assert [str(connection.remote_peer) for connection in ours.switch.connections] == [theirs.peer_id]
    assert (outbound["agent"], outbound["direction"]) == (AGENT_VERSION, "outbound")
    assert set(outbound["protocols"]) == set(ours.switch.handlers)
    assert theirs.last("ping", peer=str(ours.switch.local_peer))
    assert Digest(sent["remote_bytes"], sent["remote_sha256"]) == expected
    assert Digest(sent["bytes"], sent["sha256"]) == expected
    assert Digest(received["bytes"], received["sha256"]) == expected
