"""The reader of test vectors: every file is read, every kind is known, nothing is passed over."""

import json
import os
from pathlib import Path

import pytest
from vectors import FOLDER_VARIABLE, KINDS, VectorCase, read_file, read_folder, unhex, vector_cases

TESTS = Path(__file__).parent


def write(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    path.write_text(json.dumps(content))
    return path


def test_a_list_of_cases_is_read_with_kinds_by_format(tmp_path: Path):
    varint = {"format": "networking_codec_test", "id": "small", "codec": {"kind": "varint", "value": 1}}
    failure = {
        "format": "networking_codec_test",
        "id": "cut",
        "codec": {"kind": "decode_failure", "decoder": "enr"},
    }
    status = {"format": "ssz_test", "id": "zero", "typeName": "Status"}
    path = write(tmp_path, "a.json", {"source": "x", "cases": [varint, failure, status]})

    assert list(read_file(path)) == [
        VectorCase("small", "varint", "a.json", varint),
        VectorCase("cut", "decode_failure/enr", "a.json", failure),
        VectorCase("zero", "ssz/Status", "a.json", status),
    ]


def test_named_sections_are_read_with_the_section_as_kind(tmp_path: Path):
    key = {"name": "first", "privkey": "00"}
    content = {"peer_ids": {"source": "x", "cases": [key]}, "sample_enrs": {"enrs": ["enr:-a"]}}

    assert list(read_file(write(tmp_path, "b.json", content))) == [
        VectorCase("peer_ids-first", "peer_ids", "b.json", key),
        VectorCase("sample_enrs-0", "sample_enrs", "b.json", {"enr": "enr:-a"}),
    ]


def test_every_json_file_of_the_folder_is_read(tmp_path: Path):
    for name in ("one.json", "two.json"):
        write(tmp_path, name, {"sample_enrs": {"enrs": [name]}})

    assert [case["enr"] for case in read_folder(tmp_path)] == ["one.json", "two.json"]


def test_without_the_folder_a_test_is_there_once_and_skips(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    (argument, (only,)) = vector_cases("varint").args

    assert (argument, only.id) == ("case", "absent")
    assert only.marks[0].kwargs == {"reason": "LEANMESH_VECTORS names no folder of test vectors"}


def test_a_variable_that_names_no_folder_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(AssertionError, match="which is no folder"):
        vector_cases("varint")


def test_hex_texts_are_read_with_and_without_prefix():
    assert (unhex("0x0aff"), unhex("0aff"), unhex("0x")) == (b"\n\xff", b"\n\xff", b"")


@pytest.mark.skipif(FOLDER_VARIABLE not in os.environ, reason=f"{FOLDER_VARIABLE} is not set")
def test_vectors_are_all_of_a_known_kind():
    cases = read_folder(Path(os.environ[FOLDER_VARIABLE]))
    assert {case.id: case.kind for case in cases if case.kind not in KINDS} == {}
