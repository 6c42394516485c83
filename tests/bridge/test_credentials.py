"""Credentials in a .creds file let a sink in where users prove themselves with a JWT and its key."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from bridge.feed import eventually, feeding, make_queue
from bridge.nats_accounts import Identity, credentials, server_config
from leanmesh.bridge.errors import NatsRefused
from leanmesh.bridge.nats_credentials import NatsCredentials
from leanmesh.bridge.nats_sink import NatsSink
from leanmesh.bridge.params import NatsParams
from leanmesh.errors import ungrouped
from nats_server import NatsServer


@pytest.fixture
def account() -> Identity:
    return Identity("account")


@pytest.fixture
async def guarded(make_server: Callable[..., NatsServer], account: Identity) -> NatsServer:
    """A server that takes the users of `account` alone."""
    server = make_server(config=server_config(account))
    await server.start()
    return server


async def refusal_of(params: NatsParams) -> str:
    """What a sink says that is not let in."""
    with pytest.raises(NatsRefused) as raised, trio.fail_after(20), ungrouped():
        async with trio.open_nursery() as nursery:
            await nursery.start(NatsSink(params), make_queue(params))
    return str(raised.value)


async def test_a_user_with_a_jwt_and_its_key_is_let_in(
    guarded: NatsServer, account: Identity, tmp_path: Path
):
    path = tmp_path / "node.creds"
    params = NatsParams(url=guarded.url, credentials_file=str(path), create_stream=True)
    assert f"{path}: cannot be read" in await refusal_of(params)
    path.write_text(credentials(account, Identity("user")))
    async with feeding(params) as feed:
        feed.put(b"let in")
    feed.check(acked=1)


async def test_renewed_credentials_are_used_with_the_next_connection(
    guarded: NatsServer, account: Identity, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path = tmp_path / "node.creds"
    path.write_text(credentials(Identity("account"), Identity("user")))
    params = NatsParams(
        url=guarded.url,
        credentials_file=str(path),
        create_stream=True,
        starts_without_server=True,
        reconnect_first_s=0.05,
    )
    async with feeding(params) as feed:
        feed.put(b"waits")
        await eventually(lambda: "does not let us in" in caplog.text)
        path.write_text(credentials(account, Identity("user")))
    feed.check(acked=1)


async def test_who_is_not_of_the_account_is_refused_and_no_secret_is_shown(
    guarded: NatsServer, account: Identity, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    path, user = tmp_path / "node.creds", Identity("user")
    path.write_text(credentials(Identity("account"), user))
    params = NatsParams(url=guarded.url, credentials_file=str(path))
    said = await refusal_of(params)
    assert said.startswith("NATS does not let us in")
    # The JWT of somebody else, with a key of our own.
    honest, ours = credentials(account, user), Identity("user")
    path.write_text(honest.replace(user.seed, ours.seed))
    said += await refusal_of(params)
    assert said.count("NATS does not let us in") == 2
    for secret in (user.seed, ours.seed):
        assert secret not in said + repr(params) + repr(NatsCredentials.read(path)) + caplog.text


def test_a_file_that_holds_no_credentials_is_named_with_what_would_be_right(tmp_path: Path):
    path, user = tmp_path / "node.creds", Identity("user")
    honest = credentials(Identity("account"), user)
    wrong = {
        "s3cret\n": "it has no USER JWT and USER NKEY SEED between",
        honest.replace("NKEY", "KEY"): "it has no USER NKEY SEED between",
        honest.replace("NATS USER JWT", "JWT"): "it has no USER JWT between",
        honest.replace(user.seed, Identity("account").seed): "not the seed of a user",
        honest.replace(user.seed, user.seed[:-1]): "not the seed of a user",
        honest.replace(user.seed, user.seed[:9] + ("A" if user.seed[9] != "A" else "B") + user.seed[10:]): (
            "not the seed of a user"
        ),
    }
    for content, complaint in wrong.items():
        path.write_text(content)
        with pytest.raises(NatsRefused, match=complaint) as raised:
            NatsCredentials.read(path)
        assert str(path) in str(raised.value)
        assert user.seed[:8] not in str(raised.value)
    path.write_bytes(b"\xff" + honest.replace("\n", "\r\n").encode())
    assert NatsCredentials.read(path).jwt.decode() in honest
