"""The generated message classes are those of the .proto files next to them."""

import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet

ROOT = Path(__file__).parent.parent / "node"
SCHEMAS = sorted(path.relative_to(ROOT) for path in ROOT.glob("leanmesh/**/*.proto"))


def forget_json_names(messages: Iterable[DescriptorProto]) -> None:
    """Generated code is made without these names."""
    for message in messages:
        for field in message.field:
            field.ClearField("json_name")
        forget_json_names(message.nested_type)


@pytest.mark.skipif(importlib.util.find_spec("grpc_tools") is None, reason="grpcio-tools is not installed")
@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_generated_messages_are_those_of_the_schema(schema: Path, tmp_path: Path):
    out = tmp_path / "descriptors"
    compiler = [sys.executable, "-m", "grpc_tools.protoc", "-I", ".", f"--descriptor_set_out={out}"]
    subprocess.run([*compiler, str(schema)], cwd=ROOT, check=True)
    [expected] = FileDescriptorSet.FromString(out.read_bytes()).file
    module = importlib.import_module(".".join(schema.with_suffix("").parts) + "_pb2")
    generated = FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
    forget_json_names(expected.message_type)
    assert generated == expected, "run `just proto`"
