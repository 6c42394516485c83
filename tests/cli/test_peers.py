"""What `leanmesh peers` and `leanmesh mesh` show of names that peers chose."""

import pytest
from cli.answers import ask, rows

PEER = {
    "network_id": 0,
    "peer": "12D3KooWJLjYVS4S18wdWqNxnQwv9JaaoKfLqgg78Qz5WcQravGr",
    "agent": "leanmesh/1",
    "is_outbound": True,
    "protocol": "/meshsub/1.2.0",
    "meshes": ["news"],
    "rtt_s": 0.0015,
    "outbox_messages": 3,
    "slow_reason": None,
    "connected_s": 61.0,
}
TOPIC = {"network_id": 0, "topic": "news", "is_joined": True, "mesh": [PEER["peer"]], "peers": [PEER["peer"]]}
# What a peer wrote, and what is shown of it.
NAMES = {
    "markup that ends nothing": ("[/x]", "[/x]"),
    "markup of a colour": ("[red]x", "[red]x"),
    "an escape that names the window": ("x\x1b]0;y\x07", "x\ufffd]0;y\ufffd"),
    "two lines": ("a\nb", "a\ufffdb"),
    "a mark of direction": ("a\u202eb", "a\ufffdb"),
    "half a character": ("a\ud800", "a\ufffd"),
}
hostile = pytest.mark.parametrize(("name", "shown"), NAMES.values(), ids=NAMES)


@hostile
def test_peers_shows_an_agent_and_topics_as_they_are_but_what_would_steer_the_terminal(name: str, shown: str):
    result = ask({"/api/peers": {"peers": [{**PEER, "agent": name, "meshes": [name]}]}}, "peers")
    (row,) = rows(result)
    assert row == ["0", "12D3..QravGr", shown, "out", "/meshsub/1.2.0", shown, "1.5", "3", "61 s"]


@hostile
def test_mesh_shows_topics_as_they_are_but_what_would_steer_the_terminal(name: str, shown: str):
    pages = {"/api/mesh": {"topics": [{**TOPIC, "topic": name}], "links": []}}
    (row,) = rows(ask(pages, "mesh"))
    assert row == ["0", shown, "yes", "1", "12D3..QravGr", "1"]
