"""Test vectors made by others' code, read from the folder that LEANMESH_VECTORS names.

    from vectors import VectorCase, unhex, vector_cases

    @vector_cases("varint")
    def test_vectors_of_varints(case: VectorCase):
        assert encode_varint(case["codec"]["value"]) == unhex(case["output"]["encoded"])

Each case is a test of its own, named by the case's id.  Without the folder the
test is there once and skips with the reason.  `case["key"]` reads the JSON
object as it stands; docs/testing.md states the schema of every kind.
"""

import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import pytest

FOLDER_VARIABLE = "LEANMESH_VECTORS"

# Every kind of case that is known.  One of another kind fails test_vectors.py, so that no vectors are
# passed over unnoticed.  ENRs, topics, snappy, requests and SSZ get their tests with the lean profile.
KINDS = frozenset(
    {
        "decode_failure/enr",
        "decode_failure/gossipsub_rpc",
        "decode_failure/reqresp_request",
        "decode_failure/snappy_frame",
        "decode_failure/varint",
        "enr",
        "gossip_message_id",
        "gossip_topic",
        "gossipsub_handler",
        "gossipsub_rpc",
        "message_id",
        "message_id_divergence",
        "non_spec_message_id",
        "peer_id",
        "peer_ids",
        "reqresp_request",
        "reqresp_response",
        "reqresp_response_stream",
        "sample_enrs",
        "snappy_block",
        "snappy_frame",
        "ssz/BlocksByRootRequest",
        "ssz/Status",
        "varint",
    }
)


@attrs.frozen
class VectorCase:
    """One case: where it stands, its kind, and the JSON object as it is in the file."""

    id: str
    kind: str
    file_name: str
    data: dict[str, Any] = attrs.field(repr=False)

    def __getitem__(self, key: str) -> Any:
        return self.data[key]

    def get(self, key: str, default: Any = None) -> Any:
        return self.data.get(key, default)


def unhex(text: str) -> bytes:
    """Bytes of a hex text, with or without 0x in front."""
    return bytes.fromhex(text.removeprefix("0x"))


def vector_cases(kind: str) -> pytest.MarkDecorator:
    """Mark a test to run once for each case of `kind`, as its argument `case`."""
    assert kind in KINDS, f"{kind!r} is none of {sorted(KINDS)}"
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return _skipped(f"{FOLDER_VARIABLE} names no folder of test vectors")
    cases = [case for case in read_folder(Path(folder)) if case.kind == kind]
    if not cases:
        return _skipped(f"no case of kind {kind} in {FOLDER_VARIABLE}")
    return pytest.mark.parametrize("case", cases, ids=[case.id for case in cases])


def _skipped(reason: str) -> pytest.MarkDecorator:
    absent = pytest.param(None, marks=pytest.mark.skip(reason=reason), id="absent")
    return pytest.mark.parametrize("case", [absent])


@cache
def read_folder(folder: Path) -> tuple[VectorCase, ...]:
    """All cases of every JSON file in the folder, in the order of file names.

    A variable that names no folder is a mistake, not a reason to skip.
    """
    assert folder.is_dir(), f"{FOLDER_VARIABLE} names {folder}, which is no folder"
    return tuple(case for path in sorted(folder.glob("*.json")) for case in read_file(path))


def read_file(path: Path) -> Iterator[VectorCase]:
    """The cases of one file: a list under `cases`, or such lists (or `enrs`) under named sections."""
    content = json.loads(path.read_bytes())
    if "cases" in content:
        for index, data in enumerate(content["cases"]):
            yield VectorCase(_case_id(data, path.stem, index), kind_of(data), path.name, data)
        return
    for section, body in content.items():
        if not isinstance(body, dict):
            continue
        for index, entry in enumerate(body.get("cases", body.get("enrs", []))):
            data = entry if isinstance(entry, dict) else {"enr": entry}
            yield VectorCase(_case_id(data, section, index), section, path.name, data)


def kind_of(data: dict[str, Any]) -> str:
    """What a case of an unnamed list is about, told by its `format` or by its keys."""
    match data.get("format"):
        case "networking_codec_test":
            codec = data["codec"]
            kind = codec["kind"]
            return f"{kind}/{codec['decoder']}" if kind == "decode_failure" else kind
        case "gossipsub_handler_test":
            return "gossipsub_handler"
        case "ssz_test":
            return f"ssz/{data['typeName']}"
        case None if {"topic", "ssz", "compressed", "spec"} <= data.keys():
            return "message_id_divergence"
        case other:
            return f"unknown format {other!r}"


def _case_id(data: dict[str, Any], prefix: str, index: int) -> str:
    if "format" in data:
        return str(data["id"])
    return f"{prefix}-{data.get('name', index)}"
