"""Subjects: how a topic of gossip is written where NATS wants a subject."""

from urllib.parse import quote

from leanmesh.bridge.params import TOPIC

# An empty part of a topic, which no subject may have.
EMPTY = "%"


def subject_of(template: str, topic: str) -> str:
    """The subject of a topic: slashes separate tokens, so that consumers can choose by wildcard.

    `/eth/12ab/block/ssz` under `leanmesh.{topic}` is `leanmesh.eth.12ab.block.ssz`.  What has a
    meaning in subjects is written as %XX.  One slash at the beginning is left out.
    """
    parts = topic.removeprefix("/").split("/")
    return template.replace(TOPIC, ".".join(_token(part) for part in parts))


def subjects_of_stream(template: str) -> str:
    """What a stream must take to hold every topic: all subjects below the words before the topic."""
    fixed, placeholder, _ = template.partition(TOPIC)
    return f"{fixed.rpartition('.')[0]}.>" if placeholder else template


def _token(part: str) -> str:
    # Dots are safe in URLs, and not here.
    return quote(part, safe="-_~:=+@!,;").replace(".", "%2E") or EMPTY
