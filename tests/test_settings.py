"""Settings: three places, one over the other, and every mistake said at once."""

from pathlib import Path
from typing import Literal

import attrs
import pytest
from leanmesh.settings import Settings, SettingsError, load
from leanmesh.web.params import WebParams


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "node.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def problems(path: Path | None = None, environment=None, flags=None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(path, environment, flags)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return [problem.replace(str(path), "node.toml") for problem in caught.value.problems]


def test_without_anything_every_setting_is_its_default():
    loaded = load()
    assert (loaded.settings, loaded.origins) == (Settings(), {})


def test_flags_go_over_the_environment_and_that_over_the_file(tmp_path: Path):
    path = write(tmp_path, "[web]\nlisten = '127.0.0.1:1'\nidle_timeout_s = 1\nanswer_timeout_s = 1\n")
    environment = {"LEANMESH_WEB__LISTEN": "127.0.0.1:2", "LEANMESH_WEB__IDLE_TIMEOUT_S": "2"}
    loaded = load(path, environment, {"web.listen": ("--metrics", "127.0.0.1:3")})

    assert loaded.settings.web == WebParams(listen="127.0.0.1:3", idle_timeout_s=2.0, answer_timeout_s=1.0)
    assert loaded.origins == {
        "web.listen": "--metrics",
        "web.idle_timeout_s": "environment: LEANMESH_WEB__IDLE_TIMEOUT_S",
        "web.answer_timeout_s": str(path),
    }


def test_all_mistakes_of_all_places_are_said_at_once(tmp_path: Path):
    path = write(
        tmp_path,
        """
        metrix = 1
        gossip = 8
        [web]
        lisen = "127.0.0.1:1"
        listen = "somewhere"
        head_limit_bytes = 16.5
        allow_plain_metrics = "yes"
        connections_limit = 0
        idle_timeout_s = -1
        """,
    )
    environment = {
        "LEANMESH_WEB__ANSWER_TIMEOUT_S": "soon",
        "LEANMESH_WEP__LISTEN": "127.0.0.1:1",
        "LEANMESH_WEB_LISTEN": "127.0.0.1:1",
    }
    flags = {"web.target_limit_bytes": ("--target", "many")}

    assert sorted(problems(path, environment, flags)) == sorted(
        [
            "node.toml: metrix: no such setting; did you mean metrics?",
            "node.toml: gossip = 8: must be a table, [gossip]",
            "node.toml: web.lisen: no such setting in [web]; did you mean listen?",
            "node.toml: web.listen = \"somewhere\": 'somewhere' is no address to listen on; "
            "write an IP address and a port, such as 127.0.0.1:9470 or [::1]:0",
            "node.toml: web.head_limit_bytes = 16.5: must be a whole number",
            'node.toml: web.allow_plain_metrics = "yes": must be true or false',
            "node.toml: web.connections_limit = 0: 'connections_limit' must be > 0: 0",
            "node.toml: web.idle_timeout_s = -1: 'idle_timeout_s' must be > 0.0: -1.0",
            "environment: LEANMESH_WEB_LISTEN: no such setting; did you mean LEANMESH_WEB__LISTEN?",
            "environment: LEANMESH_WEP__LISTEN: no such setting; did you mean web?",
            "environment: LEANMESH_WEB__ANSWER_TIMEOUT_S: "
            'web.answer_timeout_s = "soon": must be a finite number',
            '--target: web.target_limit_bytes = "many": must be a whole number',
        ]
    )


def test_numbers_that_contradict_each_other_are_named_together(tmp_path: Path):
    path = write(tmp_path, "[gossip]\nmesh_low = 9\nmesh_high = 5\nseen_limit = 10\n")
    (problem,) = problems(path)
    assert problem.startswith(
        "node.toml: gossip.mesh_low = 9; node.toml: gossip.mesh_high = 5: "
        "mesh_low <= mesh_target <= mesh_high fails"
    )


def test_beyond_loopback_the_word_for_it_may_come_from_another_place(tmp_path: Path):
    path = write(tmp_path, "[web]\nlisten = '0.0.0.0:0'\n")
    (problem,) = problems(path)
    assert problem.startswith('node.toml: web.listen = "0.0.0.0:0": ')
    assert "set allow_plain_metrics = true under [web]" in problem
    assert load(path, {"LEANMESH_WEB__ALLOW_PLAIN_METRICS": "true"}).settings.web.allow_plain_metrics


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[web]\nlisten = \n", "node.toml: no valid TOML: Invalid value (at line 2, column 10)"),
        (
            "[web]\nlisten = 'a'\nlisten = 'b'\n",
            "node.toml: no valid TOML: Cannot overwrite a value (at line 3, column 13)",
        ),
        (b"# ok\n# \xff\n", "node.toml: line 2: not UTF-8; TOML files are"),
    ],
)
def test_what_is_no_toml_is_said_with_its_line(tmp_path: Path, content: str | bytes, problem: str):
    assert problems(write(tmp_path, content)) == [problem]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    assert problems(tmp_path / "node.toml") == ["node.toml: cannot be read: No such file or directory"]
    assert problems(tmp_path)[0].endswith(": cannot be read: Is a directory")


@pytest.mark.parametrize("value", ["nan", "inf", "true", "'1'", "[1.0]"])
def test_a_time_is_a_finite_number(tmp_path: Path, value: str):
    (problem,) = problems(write(tmp_path, f"[web]\nidle_timeout_s = {value}\n"))
    assert problem.endswith(": must be a finite number")


HUGE = {"400 digits": "1" * 400, "5,000 digits": "1" * 5000, "5,000 brackets": "[" * 5000}


@pytest.mark.parametrize("value", HUGE.values(), ids=HUGE)
@pytest.mark.parametrize("key", ["idle_timeout_s", "connections_limit"])
def test_a_number_beyond_all_measure_is_a_mistake_like_others(tmp_path: Path, key: str, value: str):
    (problem,) = problems(environment={f"LEANMESH_WEB__{key.upper()}": value})
    assert problem.startswith("environment: ")
    (problem,) = problems(write(tmp_path, f"[web]\n{key} = {value}\n"))
    assert problem.startswith("node.toml: ")


def test_a_backlog_that_the_system_cannot_be_told_is_a_mistake(tmp_path: Path):
    assert problems(write(tmp_path, f"[transport]\nlisten_backlog = {2**31}\n")) == [
        f"node.toml: transport.listen_backlog = {2**31}: listen_backlog = {2**31} exceeds {2**31 - 1}"
    ]


@pytest.mark.parametrize("text", ["1\nx = 2", "", "1 2", "'1'"])
def test_a_text_from_outside_is_one_value_and_nothing_else(text: str):
    (problem,) = problems(environment={"LEANMESH_WEB__CONNECTIONS_LIMIT": text})
    assert problem.endswith(": must be a whole number")


def test_variables_of_tests_and_tools_are_no_settings():
    environment = {
        "LEANMESH_VECTORS": "x",
        "LEANMESH_BENCH_JSON": "x",
        "LEANMESH_INTEROP": "require",
        "HOME": "x",
    }
    assert load(environment=environment).settings == Settings()


@pytest.mark.parametrize(
    ("variable", "problem"),
    [
        ("LEANMESH_NETWORK__TOPICS", "no such setting; did you mean LEANMESH_NETWORK__0__TOPICS?"),
        ("LEANMESH_NETWORK_TOPICS", "no such setting; did you mean LEANMESH_NETWORK__0__TOPICS?"),
        ("LEANMESH_NETWORK__0", "is a table; write LEANMESH_NETWORK__0__KEY for each of its settings"),
        ("LEANMESH_NETWORK", "no such setting; did you mean LEANMESH_NETWORK__0__KEY?"),
        ("LEANMESH_WEB", "no such setting; did you mean LEANMESH_WEB__KEY?"),
    ],
)
def test_a_variable_that_stops_short_of_a_setting_is_no_setting(variable: str, problem: str):
    assert problems(environment={variable: "news"}) == [f"environment: {variable}: {problem}"]


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("listen = ['garbage']", "'garbage' is no address: one begins like /ip4/192.0.2.1/tcp/9000"),
        (
            "listen = ['/ip4/127.0.0.1/udp/9000']",
            "/ip4/127.0.0.1/udp/9000 is neither HOST/tcp/PORT nor HOST/udp/PORT/quic-v1",
        ),
        (
            "listen = ['/dns4/example.org/tcp/1']",
            "/dns4/example.org/tcp/1 cannot be listened on: this version listens on IP addresses and TCP, "
            "such as /ip4/0.0.0.0/tcp/9000",
        ),
        ("announce = ['x']", "'x' is no address: one begins like /ip4/192.0.2.1/tcp/9000"),
        ("peers = ['garbage']", "'garbage' is no address: one begins like /ip4/192.0.2.1/tcp/9000"),
        ("topics = ['']", "the topic '' has 0 bytes; 1 to 1024 are taken"),
    ],
)
def test_what_a_network_cannot_use_is_said_with_its_key(tmp_path: Path, setting: str, problem: str):
    (told,) = problems(write(tmp_path, f"[[network]]\n{setting}\n"))
    written = setting.replace("'", '"')
    assert told == f"node.toml: network.0.{written}: {problem}"


def test_what_is_in_effect_is_toml_that_says_the_same(tmp_path: Path):
    first = load(environment={"LEANMESH_WEB__LISTEN": "127.0.0.1:7"})
    text = first.effective()
    assert 'listen = "127.0.0.1:7"  # environment: LEANMESH_WEB__LISTEN\n' in text
    assert "connections_limit = 64  # default\n" in text
    assert load(write(tmp_path, text)).settings == first.settings


def test_secrets_are_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    @attrs.frozen(kw_only=True)
    class SinkParams:
        api_token: str = attrs.field(default="", repr=False)
        retries: int = 3

        def __attrs_post_init__(self) -> None:
            if self.api_token == "wrong":
                raise ValueError("the token is not of this service")

    @attrs.frozen(kw_only=True)
    class SettingsWithSink:
        sink: SinkParams = attrs.field(factory=SinkParams)

    monkeypatch.setattr("leanmesh.settings.Settings", SettingsWithSink)

    assert (
        "api_token = (hidden)  # environment"
        in load(environment={"LEANMESH_SINK__API_TOKEN": "pearl"}).effective()
    )
    assert problems(write(tmp_path, "[sink]\napi_token = 4711\n")) == [
        "node.toml: sink.api_token = (hidden): must be a text in quotes"
    ]
    assert problems(write(tmp_path, "[sink]\napi_token = 'wrong'\n")) == [
        "node.toml: sink.api_token = (hidden): the token is not of this service"
    ]
    # The value of a misspelt key may be a secret too.
    assert problems(write(tmp_path, "[sink]\napi_tokn = 'pearl'\n")) == [
        "node.toml: sink.api_tokn: no such setting in [sink]; did you mean api_token?"
    ]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://node:pearl@host", "nats://(hidden)@host"),
        ("nats://node:pe/arl@host", "nats://(hidden)@host"),
        ("nats://node:pe@arl@host", "nats://(hidden)@host"),
        ("nats://node:pe,arl@host", "nats://(hidden)@host"),
        ("nats:/node:pearl@host", "(hidden)@host"),
        ("node:pearl@host", "(hidden)@host"),
        ("node:pearl@host,node:arlpe@other", "(hidden)@other"),
        ("tls://one:4222, tls://node:pearl@two", "tls://one:4222,tls://(hidden)@two"),
        ("tls://pearl@one,tls://node:pearl@two", "tls://(hidden)@one,tls://(hidden)@two"),
    ],
)
def test_the_refusal_of_a_url_with_a_secret_does_not_show_it(url: str, shown: str):
    (problem,) = problems(flags={"nats.0.url": ("--nats", url)})
    assert problem.startswith(f'--nats: nats.0.url = "{shown}": the url holds a user or a secret')


def test_lists_choices_and_nested_tables_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    @attrs.frozen(kw_only=True)
    class Inner:
        share: float | None = None

    @attrs.frozen(kw_only=True)
    class Layer:
        listen: tuple[str, ...] = ()
        profile: Literal["libp2p", "lean"] = "libp2p"
        inner: Inner = attrs.field(factory=Inner)

    @attrs.frozen(kw_only=True)
    class LayeredSettings:
        layer: Layer = attrs.field(factory=Layer)

    monkeypatch.setattr("leanmesh.settings.Settings", LayeredSettings)
    path = write(tmp_path, "[layer]\nlisten = ['a', 'b']\nprofile = 'lean'\n[layer.inner]\nshare = 1\n")
    settings = load(path, {"LEANMESH_LAYER__LISTEN": "c, d"}).settings

    assert settings == LayeredSettings(layer=Layer(listen=("c", "d"), profile="lean", inner=Inner(share=1.0)))
    assert load(environment={"LEANMESH_LAYER__INNER__SHARE": "0.5"}).origins == {
        "layer.inner.share": "environment: LEANMESH_LAYER__INNER__SHARE"
    }
    assert problems(
        write(tmp_path, "[layer]\nlisten = 'a'\nprofile = 'eth'\n[layer.inner]\nshare = 'x'\n")
    ) == [
        'node.toml: layer.listen = "a": must be a list, each a text in quotes',
        'node.toml: layer.profile = "eth": must be one of "libp2p", "lean"',
        'node.toml: layer.inner.share = "x": must be a finite number',
    ]
