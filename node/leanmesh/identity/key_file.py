"""The key file: where a node keeps who it is.

Two forms are read: the protobuf form of libp2p, and the 64 hex digits of
lean networks, which are a secp256k1 key.  Each can be told from the other.
"""

import os
import re
import stat
import tempfile
from enum import StrEnum
from pathlib import Path

from leanmesh.errors import LocalError
from leanmesh.identity.keys import InvalidPrivateKey, KeyKind, PrivateKey

# The longest form that we write has 68 bytes.
FILE_LIMIT_BYTES = 4096

_HEX_KEY = re.compile(rb"\s*(?:0x)?([0-9a-fA-F]{64})\s*")


class KeyFileError(LocalError):
    """A key file that cannot be used, with what would help."""


class KeyFileForm(StrEnum):
    """How a key is written into a file."""

    LIBP2P = "libp2p"
    HEX = "hex"


def read_key_file(path: Path) -> tuple[PrivateKey, KeyFileForm]:
    """The key in a file, and the form that it is in.

    The file must not be open to everyone.  Its group may read it: that is
    how secrets are mounted into containers.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise KeyFileError(f"{path} is no regular file")
            if status.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
                mode = stat.S_IMODE(status.st_mode)
                raise KeyFileError(
                    f"{path} is open to others (mode {mode:04o}); `chmod 600 {path}` closes it"
                )
            content = file.read(FILE_LIMIT_BYTES + 1)
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > FILE_LIMIT_BYTES:
        raise KeyFileError(f"{path} has more than {FILE_LIMIT_BYTES} bytes: that is no key file")
    try:
        if match := _HEX_KEY.fullmatch(content):
            return PrivateKey.of_kind(KeyKind.SECP256K1, bytes.fromhex(match[1].decode())), KeyFileForm.HEX
        return PrivateKey.decode(content), KeyFileForm.LIBP2P
    except InvalidPrivateKey as error:
        raise KeyFileError(
            f"{path} is neither a libp2p key nor 64 hex digits of a secp256k1 key: {error}"
        ) from None


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting, as a pipe would make us do for a writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def create_key_file(path: Path, key: PrivateKey, form: KeyFileForm = KeyFileForm.LIBP2P) -> None:
    """Write a new key file with mode 0600.  It appears complete or not at all, and never over another."""
    if form is KeyFileForm.HEX and key.kind is not KeyKind.SECP256K1:
        raise KeyFileError(f"the form hex is for secp256k1 keys, not for {key.kind.name}")
    content = key.encode() if form is KeyFileForm.LIBP2P else f"{key.secret.hex()}\n".encode()
    try:
        # In the same folder, because a link cannot leave its file system.
        descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            # Unlike a rename, a link fails when the name is taken.
            path.hardlink_to(draft)
        finally:
            Path(draft).unlink()
    except FileExistsError:
        raise KeyFileError(f"{path} exists already and was left as it is") from None
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written: {error.strerror}") from None


def read_or_create_key_file(
    path: Path, kind: KeyKind = KeyKind.ED25519, form: KeyFileForm = KeyFileForm.LIBP2P
) -> PrivateKey:
    """The key in a file, which is made with a new key when it is missing."""
    if _is_missing(path):
        try:
            create_key_file(path, PrivateKey.generate(kind), form)
        except KeyFileError:
            # Another process may have made it at the same moment; then its key is ours too.
            if _is_missing(path):
                raise
    return read_key_file(path)[0]


def _is_missing(path: Path) -> bool:
    """Whether there is nothing of this name.  Where that cannot be known, reading will say why."""
    try:
        path.stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False
