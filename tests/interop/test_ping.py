"""`leanmesh ping` as a person types it, against each of the peers that others wrote."""

import sys

import pytest
import trio
from interop.build import LANGUAGES

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("key_type", ["ed25519", "secp256k1"])
@pytest.mark.parametrize("language", LANGUAGES)
async def test_ping_measures_the_round_trip(start, language: str, key_type: str):
    theirs = await start(language, "--key-type", key_type)
    with trio.fail_after(60):
        ended = await trio.run_process(
            [sys.executable, "-m", "leanmesh", "ping", theirs.address, "--count", "2", "--interval", "0"],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    assert ended.returncode == 0, ended.stderr.decode()
    first, second, summary = ended.stdout.decode().splitlines()
    assert (first[:7], second[:7]) == ("ping 1:", "ping 2:")
    assert summary.startswith("2 answered; min ")
    assert theirs.peer_id in ended.stderr.decode()
