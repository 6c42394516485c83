"""Settings of a NATS sink that cannot be are refused with what would be right, and no secret is shown."""

import pytest
from leanmesh.bridge.params import NatsParams
from leanmesh.bridge.subjects import subject_of, subjects_of_stream
from leanmesh.errors import LocalError
from leanmesh.settings import SettingsError, load


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"url": "http://localhost"}, "write nats://HOST:PORT or tls://HOST:PORT"),
        ({"url": "nats://"}, "is no address of a NATS server"),
        ({"url": "nats://a:4222,b"}, "'b' is no address"),
        ({"url": "nats://a:99999"}, "is no address"),
        ({"stream": "a.b"}, "the name of a stream holds no white space"),
        ({"name": ""}, "neither may be empty"),
        ({"subject": "leanmesh.*"}, "is no subject to publish to"),
        ({"subject": "leanmesh..{topic}"}, "is no subject to publish to"),
        ({"subject": "leanmesh.{peer}"}, "is no subject to publish to"),
        ({"subject": "{topic}", "create_stream": True}, "would take every subject there is"),
        ({"password": "x"}, "a password needs a user"),
        ({"user": "x"}, "a user needs a password or a secret_file"),
        ({"user": "x", "token": "y"}, "a user needs a password or a secret_file"),
        ({"token": "x", "secret_file": "y"}, "token and secret_file are given"),
        ({"network_id": -1}, "network_id"),
        ({"queue_limit": 0}, "queue_limit"),
    ],
)
def test_what_cannot_be_is_refused(given: dict, message: str):
    with pytest.raises((LocalError, ValueError)) as raised:
        NatsParams(**given)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "url", ["nats://me:hunter2@host:4222", "nats://hunter2@host", "nats://a,tls://hunter2@b"]
)
def test_a_secret_in_the_url_is_refused_and_not_repeated(url: str):
    with pytest.raises(SettingsError) as raised:
        load(flags={"nats.0.url": ("--nats", url)})
    assert "the url holds a user or a secret" in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_secrets_come_from_the_environment_and_are_shown_nowhere():
    loaded = load(
        environment={
            "LEANMESH_NATS__0__URL": "nats://host:4222",
            "LEANMESH_NATS__0__USER": "me",
            "LEANMESH_NATS__0__PASSWORD": "hunter2",
        }
    )
    (sink,) = loaded.settings.nats
    assert (sink.user, sink.password) == ("me", "hunter2")
    assert "hunter2" not in loaded.effective() + repr(loaded.settings)
    assert 'password = "(hidden)"' in loaded.effective() or "password = (hidden)" in loaded.effective()


def test_a_sink_of_a_network_that_is_not_there_is_refused():
    with pytest.raises(SettingsError, match="carries network 3, which is not here"):
        load(environment={"LEANMESH_NATS__0__NETWORK_ID": "3"})


def test_two_sinks_need_two_names():
    with pytest.raises(SettingsError, match="a name of its own"):
        load(environment={"LEANMESH_NATS__0__STREAM": "a", "LEANMESH_NATS__1__STREAM": "b"})


@pytest.mark.parametrize(
    ("topic", "subject"),
    [
        ("news", "lm.news"),
        ("/leanconsensus/12345678/block/ssz_snappy", "lm.leanconsensus.12345678.block.ssz_snappy"),
        ("a.b", "lm.a%2Eb"),
        ("a b\r\nPUB x", "lm.a%20b%0D%0APUB%20x"),
        (">", "lm.%3E"),
        ("*/*", "lm.%2A.%2A"),
        ("", "lm.%"),
        ("//", "lm.%.%"),
        ("100%", "lm.100%25"),
    ],
)
def test_a_topic_is_written_as_tokens(topic: str, subject: str):
    assert subject_of("lm.{topic}", topic) == subject


@pytest.mark.parametrize(
    ("template", "subjects"),
    [("lm.{topic}", "lm.>"), ("a.b.{topic}.c", "a.b.>"), ("a.x{topic}", "a.>"), ("a.b", "a.b")],
)
def test_a_stream_takes_what_the_template_makes(template: str, subjects: str):
    assert subjects_of_stream(template) == subjects
