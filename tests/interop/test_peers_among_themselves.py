"""The measuring instruments, measured: the peers that others wrote, among themselves."""

import pytest

LANGUAGES = ("go", "js", "py")
LOOPBACK = ("--listen", "/ip4/127.0.0.1/tcp/0")


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_peer_ends_when_its_standard_input_ends(start, language: str):
    peer = await start(language, *LOOPBACK)

    assert await peer.stop() == 0
