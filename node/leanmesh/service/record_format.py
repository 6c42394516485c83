"""The lines of a recording that are not of its trace: the first, and the last when it was ended early."""

import json
import re
from collections.abc import Iterable
from importlib.metadata import version
from platform import python_version
from typing import Any, cast

import attrs

from leanmesh.errors import LocalError
from leanmesh.gossip.params import GossipParams
from leanmesh.identity.keys import InvalidKey, PublicKey
from leanmesh.service.router_facts import RouterFacts

# One that cannot be read as before has the next number.
RECORD_VERSION = 1

_LAST_LINE = re.compile(r'\["ended","(\w+)"\]')


class BadHead(LocalError):
    """A first line that does not begin a recording."""


def last_line(outcome: str) -> str:
    """Says that the recording ended before its network, and why."""
    return f'["ended","{outcome}"]'


def read_last_line(line: str) -> str | None:
    """Why the recording was ended; None for every other line."""
    match = _LAST_LINE.fullmatch(line)
    return None if match is None else match[1]


@attrs.frozen(kw_only=True)
class RecordHead:
    """The first line of a recording: everything the events need to be repeated.  No secret is in it."""

    facts: RouterFacts
    network_id: int
    recorded_at: str
    public_key: PublicKey
    seed: int
    validated: tuple[str, ...]
    """Topics with a validator at the start."""
    leanmesh_version: str = attrs.field(factory=lambda: version("leanmesh"))
    python_version: str = attrs.field(factory=python_version)

    def line(self) -> str:
        """As JSON, without the newline."""
        facts = attrs.asdict(self.facts)
        rest = attrs.asdict(self, filter=lambda field, _: field.name not in {"facts", "public_key", "seed"})
        keys = {"public_key": self.public_key.encode().hex(), "seed": f"{self.seed:x}"}
        return json.dumps({"leanmesh_record": RECORD_VERSION, **rest, **keys, **facts})

    @classmethod
    def read(cls, line: str) -> "RecordHead":
        """Raises BadHead when it is none, or one that this version cannot read."""
        try:
            content = json.loads(line)
        except ValueError:
            content = None
        if not isinstance(content, dict) or "leanmesh_record" not in content:
            raise BadHead("its first line is not that of a recording")
        fields = cast("dict[str, Any]", content)
        number = fields.pop("leanmesh_record")
        if number != RECORD_VERSION:
            raise BadHead(f"it has the format {number!r}; this version reads {RECORD_VERSION}")
        try:
            return cls._of(fields)
        except (KeyError, TypeError, ValueError, AttributeError, InvalidKey, LocalError) as error:
            raise BadHead(f"its first line is damaged: {type(error).__name__}: {error}") from error

    @classmethod
    def _of(cls, fields: dict[str, Any]) -> "RecordHead":
        facts = RouterFacts(
            gossip=GossipParams(**fields.pop("gossip")),
            signing=fields.pop("signing"),
            message_id=fields.pop("message_id"),
            started_s=float(fields.pop("started_s")),
            first_seqno=int(fields.pop("first_seqno")),
        )
        return cls(
            facts=facts,
            public_key=PublicKey.decode(bytes.fromhex(fields.pop("public_key"))),
            seed=int(fields.pop("seed"), 16),
            validated=_texts(fields.pop("validated")),
            **fields,
        )


def _texts(values: Iterable[Any]) -> tuple[str, ...]:
    return tuple(str(value) for value in values)
