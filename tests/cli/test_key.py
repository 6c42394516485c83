import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from leanmesh.cli.main import root
from leanmesh.identity.key_file import KeyFileError, KeyFileForm, read_key_file
from leanmesh.identity.keys import KeyKind


def key(*arguments: str) -> Result:
    return CliRunner().invoke(root, ["key", *arguments])


@pytest.mark.parametrize(
    ("options", "kind", "form"),
    [
        ([], KeyKind.ED25519, KeyFileForm.LIBP2P),
        (["--type", "secp256k1"], KeyKind.SECP256K1, KeyFileForm.LIBP2P),
        (["--format", "hex"], KeyKind.SECP256K1, KeyFileForm.HEX),
    ],
)
def test_a_new_key_is_in_its_file_and_its_peer_id_is_printed(tmp_path: Path, options, kind, form):
    path = tmp_path / "key"
    result = key("new", *options, str(path))
    made, made_form = read_key_file(path)
    assert (result.exit_code, result.output) == (0, f"{made.peer_id}\n")
    assert (made.kind, made_form) == (kind, form)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_show_tells_everything_but_the_secret(tmp_path: Path):
    path = tmp_path / "key"
    path.write_text("00" * 31 + "07")
    path.chmod(0o600)
    result = key("show", str(path))
    made, _ = read_key_file(path)
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        f"peer_id:    {made.peer_id}",
        f"cid:        {made.peer_id.cid}",
        "type:       secp256k1",
        "format:     hex",
        "public_key: 025cbdf0646e5db4eaa398f365f2ea7a0e3d419b7e0330e39ce92bddedcac4f9bc",
    ]


def test_a_key_is_never_written_over(tmp_path: Path):
    path = tmp_path / "key"
    key("new", str(path))
    before = path.read_bytes()
    assert isinstance(key("new", str(path)).exception, KeyFileError)
    assert path.read_bytes() == before


def test_a_type_without_that_format_is_refused(tmp_path: Path):
    result = key("new", "--type", "ed25519", "--format", "hex", str(tmp_path / "key"))
    assert isinstance(result.exception, KeyFileError)
    assert list(tmp_path.iterdir()) == []
