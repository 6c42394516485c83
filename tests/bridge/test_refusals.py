"""What keeps a sink from starting is said at once and clearly; what the server will not have is counted."""

import datetime
import ipaddress
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from bridge.feed import eventually, feeding, make_queue
from bridge.reader import count_stored, make_stream, read_all, with_jetstream
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from leanmesh.bridge.errors import NatsMissing, NatsRefused, NatsUnavailable
from leanmesh.bridge.nats_sink import NatsSink
from leanmesh.bridge.params import NatsParams
from leanmesh.errors import ungrouped
from nats_server import NatsServer
from ports import free_port

MakeServer = Callable[..., NatsServer]
USERS = """
authorization { users: [
  { user: "node", password: "s3cret", permissions: {
      publish: ["leanmesh.open", "$JS.API.STREAM.INFO.leanmesh"], subscribe: "_INBOX.>" } },
  { user: "operator", password: "all" }
] }
"""


async def failure_of(params: NatsParams) -> Exception:
    """What a sink of these settings raises instead of starting."""
    with (
        pytest.raises((NatsMissing, NatsRefused, NatsUnavailable)) as raised,
        trio.fail_after(20),
        ungrouped(),
    ):
        async with trio.open_nursery() as nursery:
            await nursery.start(NatsSink(params), make_queue(params))
    return raised.value


async def test_a_server_that_is_not_there_is_named():
    url = f"nats://127.0.0.1:{free_port()}"
    error = await failure_of(NatsParams(url=url))
    assert isinstance(error, NatsUnavailable)
    assert url in str(error)
    assert "refused" in str(error).lower() or "connect" in str(error).lower()


async def test_something_else_at_the_address_is_given_up_after_a_stated_time():
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, lambda stream: trio.sleep_forever(), 0)
        port = listeners[0].socket.getsockname()[1]
        error = await failure_of(NatsParams(url=f"nats://127.0.0.1:{port}", connect_timeout_s=0.2))
        assert "no answer within 0.2 s" in str(error) or "timed out" in str(error).lower()
        nursery.cancel_scope.cancel()


async def test_a_server_that_does_not_let_us_in_is_a_refusal_that_shows_no_secret(
    make_server: MakeServer, caplog: pytest.LogCaptureFixture
):
    server = make_server(config=USERS)
    await server.start()
    caplog.set_level(logging.DEBUG)
    params = NatsParams(url=server.url, user="node", password="0penSesame")
    error = await failure_of(params)
    assert isinstance(error, NatsRefused)
    assert server.url in str(error)
    assert "check user, password, token, secret_file or credentials_file" in str(error)
    assert "0penSesame" not in str(error) + repr(error) + repr(params) + caplog.text


async def test_a_secret_may_stand_in_a_file_and_is_read_at_each_connection(make_server: MakeServer, tmp_path):
    server = make_server(config=USERS)
    await server.start()
    await make_stream(server.url.replace("//", "//operator:all@"))
    secret = tmp_path / "secret"
    params = NatsParams(url=server.url, user="node", secret_file=str(secret))
    assert f"{secret}: cannot be read" in str(await failure_of(params))
    secret.write_text("\n")
    assert "its first line is empty" in str(await failure_of(params))
    secret.write_text("s3cret\n")
    async with feeding(params) as feed:
        feed.put(b"let in", topic="open")
    feed.check(acked=1)


async def test_a_user_that_may_not_ask_for_the_stream_is_told_what_it_lacks(make_server: MakeServer):
    server = make_server(config=USERS.replace('"$JS.API.STREAM.INFO.leanmesh"', '"leanmesh.more"'))
    await server.start()
    await make_stream(server.url.replace("//", "//operator:all@"))
    params = NatsParams(url=server.url, user="node", password="s3cret", connect_timeout_s=0.3)
    assert "needs leave to ask $JS.API.STREAM.INFO.leanmesh" in str(await failure_of(params))


async def test_a_token_lets_in(make_server: MakeServer):
    server = make_server(config='authorization { token: "t0ken" }')
    await server.start()
    assert isinstance(await failure_of(NatsParams(url=server.url)), NatsRefused)
    async with feeding(NatsParams(url=server.url, token="t0ken", create_stream=True)) as feed:
        feed.put(b"let in")
    feed.check(acked=1)


async def test_over_tls_the_server_must_be_who_it_says(make_server: MakeServer, tmp_path):
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    write_certificate(certificate, key)
    server = make_server(config=f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}')
    await server.start()
    url = server.url.replace("nats://", "tls://")
    error = await failure_of(NatsParams(url=url))
    assert "certificate" in str(error).lower()
    async with feeding(NatsParams(url=url, tls_ca_file=str(certificate), create_stream=True)) as feed:
        feed.put(b"hello")
    feed.check(acked=1)


def write_certificate(certificate: Path, key: Path) -> None:
    """A certificate for 127.0.0.1 that nobody but itself vouches for."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


async def test_of_several_servers_one_is_enough(server: NatsServer):
    dead = f"nats://127.0.0.1:{free_port()}"
    async with feeding(NatsParams(url=f"{dead},{server.url}", create_stream=True)) as feed:
        feed.put(b"one")
    feed.check(acked=1)


async def test_a_stream_that_is_missing_is_named_with_what_would_be_right(server: NatsServer):
    error = await failure_of(NatsParams(url=server.url, stream="blocks", subject="lean.blocks.{topic}"))
    assert isinstance(error, NatsRefused)
    assert str(error) == (
        "there is no stream 'blocks' on the NATS server; make one that takes lean.blocks.>, "
        "or set create_stream = true under [[nats]]"
    )


async def test_a_stream_is_created_as_asked_and_an_existing_one_left_alone(server: NatsServer):
    params = NatsParams(
        url=server.url,
        create_stream=True,
        stream_limit_bytes=10**7,
        stream_age_limit_s=3600,
        duplicate_window_s=60,
    )
    for again in (params, NatsParams(url=server.url, create_stream=True)):
        async with feeding(again) as feed:
            feed.put(b"hello")
        feed.check(acked=1)
    info = await with_jetstream(server.url, lambda js: js.stream_info("leanmesh"))
    config = info.config
    assert (config.subjects, config.max_bytes, config.max_age, config.duplicate_window) == (
        ["leanmesh.>"],
        10**7,
        3600,
        60,
    )
    assert info.state.messages == 1


async def test_a_server_without_jetstream_is_told_so(make_server: MakeServer):
    server = make_server(has_jetstream=False)
    await server.start()
    error = await failure_of(NatsParams(url=server.url, create_stream=True))
    assert isinstance(error, NatsUnavailable)
    assert "JetStream" in str(error)
    assert "-js" in str(error)


async def test_a_message_that_is_too_large_for_server_or_stream_is_counted_and_the_rest_carried(
    make_server: MakeServer,
):
    server = make_server(config="max_payload: 4096")
    await server.start()
    await make_stream(server.url, max_msg_size=2048)
    async with feeding(NatsParams(url=server.url, reconnect_first_s=0.05)) as feed:
        for size in (10, 5000, 3000, 4090, 20):
            feed.put(bytes([size % 251]) * size)
    feed.check(acked=2, too_large=3)
    assert await count_stored(server.url) == 2
    assert feed.books.republished <= 2


async def test_a_topic_that_we_may_not_publish_is_counted_and_the_rest_carried(make_server: MakeServer):
    server = make_server(config=USERS)
    await server.start()
    await make_stream(server.url.replace("//", "//operator:all@"))
    async with feeding(NatsParams(url=server.url, user="node", password="s3cret")) as feed:
        for number in range(3):
            feed.put(b"open %d" % number, topic="open")
            feed.put(b"Closed %d" % number, topic="Closed")
        await eventually(lambda: not feed.books.in_flight)
    feed.check(acked=3, refused=3)


async def test_messages_go_into_no_stream_but_the_one_that_was_named(server: NatsServer):
    await make_stream(server.url, name="other", subjects="leanmesh.news")
    await make_stream(server.url, subjects="leanmesh.rest")
    async with feeding(NatsParams(url=server.url, attempts_limit=2, reconnect_first_s=0.05)) as feed:
        feed.put(b"for leanmesh")
    feed.check(refused=1)
    assert await count_stored(server.url, "other") == 0


async def test_subjects_follow_the_template(server: NatsServer):
    params = NatsParams(url=server.url, create_stream=True, subject="lean.{topic}.raw", stream="lean")
    async with feeding(params) as feed:
        feed.put(b"a", topic="/eth2/ab cd/x*.>/ssz//")
        feed.put(b"b", topic="tönen")
    feed.check(acked=2)
    stored = await read_all(server.url, 2, subject="lean.>")
    assert [message.subject for message in stored] == [
        "lean.eth2.ab%20cd.x%2A%2E%3E.ssz.%.%.raw",
        "lean.t%C3%B6nen.raw",
    ]
    assert stored[0].headers["Leanmesh-Topic"] == "/eth2/ab cd/x*.>/ssz//"


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("leanmesh.bridge.nats_sink.find_spec", lambda name: None)
    with pytest.raises(NatsMissing, match=r"pip install leanmesh\[nats\]"):
        NatsSink(NatsParams())


async def test_a_stream_that_acknowledges_nothing_is_refused(server: NatsServer):
    await make_stream(server.url, no_ack=True)
    error = await failure_of(NatsParams(url=server.url))
    assert isinstance(error, NatsRefused)
    assert "acknowledges nothing (no_ack)" in str(error)
