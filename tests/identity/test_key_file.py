import os
import stat
import threading
from pathlib import Path

import pytest
from leanmesh.identity.key_file import (
    KeyFileError,
    KeyFileForm,
    create_key_file,
    read_key_file,
    read_or_create_key_file,
)
from leanmesh.identity.keys import KeyKind, PrivateKey

SECP256K1 = PrivateKey.of_kind(KeyKind.SECP256K1, bytes(31) + b"\x07")
ED25519 = PrivateKey.of_kind(KeyKind.ED25519, bytes(32))


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("key", "form"),
    [(ED25519, KeyFileForm.LIBP2P), (SECP256K1, KeyFileForm.LIBP2P), (SECP256K1, KeyFileForm.HEX)],
)
def test_a_key_is_read_as_it_was_written(tmp_path: Path, key: PrivateKey, form: KeyFileForm):
    path = tmp_path / "key"
    umask = os.umask(0)
    try:
        create_key_file(path, key, form)
    finally:
        os.umask(umask)
    assert read_key_file(path) == (key, form)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"%s", b"%s\n", b"0x%s\r\n", b"  %s  "])
def test_hex_is_read_as_lean_networks_write_it(tmp_path: Path, content: bytes):
    path = write(tmp_path / "key", content % SECP256K1.secret.hex().upper().encode())
    assert read_key_file(path) == (SECP256K1, KeyFileForm.HEX)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is neither a libp2p key nor 64 hex digits"),
        (b"a" * 63, "is neither a libp2p key nor 64 hex digits"),
        (b"0" * 64, "is neither a libp2p key nor 64 hex digits of a secp256k1 key: SECP256K1 secret"),
        (b"-----BEGIN PRIVATE KEY-----", "is neither"),
        (b"\x08\x00\x12\x01a", "RSA keys are verified, not used: take ED25519 or SECP256K1"),
        (bytes(4097), "has more than 4096 bytes: that is no key file"),
    ],
)
def test_a_file_without_a_key_says_what_is_wrong(tmp_path: Path, content: bytes, message: str):
    path = write(tmp_path / "key", content)
    with pytest.raises(KeyFileError, match=message) as caught:
        read_key_file(path)
    assert str(path) in str(caught.value)
    assert "a" * 63 not in str(caught.value)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o620])
def test_a_file_that_is_open_to_others_is_refused_with_what_closes_it(tmp_path: Path, mode: int):
    path = write(tmp_path / "key", ED25519.encode(), mode)
    with pytest.raises(KeyFileError, match=f"mode {mode:04o}.; `chmod 600 {path}` closes it"):
        read_key_file(path)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440])
def test_a_file_for_its_owner_or_group_is_read(tmp_path: Path, mode: int):
    path = write(tmp_path / "key", ED25519.encode(), mode)
    assert read_key_file(path)[0] == ED25519


def test_what_is_no_file_is_refused(tmp_path: Path):
    with pytest.raises(KeyFileError, match="cannot be read: No such file or directory"):
        read_key_file(tmp_path / "missing")
    with pytest.raises(KeyFileError, match="cannot be read: Is a directory"):
        read_key_file(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(KeyFileError, match="is no regular file"):
        read_key_file(tmp_path / "pipe")


def test_a_file_is_never_written_over(tmp_path: Path):
    path = write(tmp_path / "key", b"precious")
    with pytest.raises(KeyFileError, match="exists already and was left as it is"):
        create_key_file(path, ED25519)
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(KeyFileError, match="missing/key cannot be written: No such file or directory"):
        create_key_file(tmp_path / "missing" / "key", ED25519)


def test_ed25519_keys_have_no_hex_form(tmp_path: Path):
    with pytest.raises(KeyFileError, match="the form hex is for secp256k1 keys, not for ED25519"):
        create_key_file(tmp_path / "key", ED25519, KeyFileForm.HEX)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_made_once_and_read_from_then_on(tmp_path: Path):
    path = tmp_path / "key"
    made = read_or_create_key_file(path, KeyKind.SECP256K1, KeyFileForm.HEX)
    assert read_key_file(path) == (made, KeyFileForm.HEX)
    assert read_or_create_key_file(path) == made


def test_processes_that_start_together_agree_on_one_key(tmp_path: Path):
    keys: list[PrivateKey] = []
    threads = [
        threading.Thread(target=lambda: keys.append(read_or_create_key_file(tmp_path / "key")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert keys == [keys[0]] * 8


@pytest.mark.parametrize(
    ("name", "reason"), [("x" * 300, "File name too long"), ("file/key", "Not a directory")]
)
def test_a_path_that_cannot_be_looked_at_is_a_clear_error(tmp_path: Path, name: str, reason: str):
    write(tmp_path / "file", b"precious")
    with pytest.raises(KeyFileError, match=f"{name} cannot be read: {reason}"):
        read_or_create_key_file(tmp_path / name)


def test_a_folder_that_we_may_not_look_into_is_a_clear_error(tmp_path: Path):
    folder = tmp_path / "folder"
    folder.mkdir(0)
    ours = os.geteuid()
    # The superuser may look everywhere: be nobody meanwhile.
    os.seteuid(ours or 65534)
    try:
        with pytest.raises(KeyFileError, match="key cannot be read: Permission denied"):
            read_or_create_key_file(folder / "key")
    finally:
        os.seteuid(ours)


def test_a_file_that_cannot_be_used_is_not_replaced(tmp_path: Path):
    path = write(tmp_path / "key", b"precious")
    with pytest.raises(KeyFileError, match="is neither"):
        read_or_create_key_file(path)
    assert path.read_bytes() == b"precious"
