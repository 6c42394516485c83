"""A .creds file of NATS: the JWT that says who a user is, and the key that proves it.

Read here and not by the client library: that needs one more for it, and a file
without a JWT keeps it, and with it the loop, reading for ever.
"""

import base64
import re
from binascii import crc_hqx
from pathlib import Path

import attrs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from leanmesh.bridge.errors import NatsRefused

_JWT = re.compile(rb"-+BEGIN NATS USER JWT-+\s+([\w.-]+)\s+-+END NATS USER JWT-+")
_SEED = re.compile(rb"-+BEGIN USER NKEY SEED-+\s+([A-Z2-7]+)\s+-+END USER NKEY SEED-+")

# What the text of a user's seed, "SU...", begins with; then 32 bytes of the seed and a CRC of all before it.
_USER_SEED_PREFIX = b"\x95\x00"
_SEED_BYTES = 36


@attrs.frozen
class NatsCredentials:
    """What one file holds.  Shown nowhere."""

    jwt: bytes = attrs.field(repr=False)
    _key: Ed25519PrivateKey = attrs.field(repr=False)

    @classmethod
    def read(cls, path: Path) -> "NatsCredentials":
        """The credentials of a file.  OSError when it cannot be read, NatsRefused when it is no such file."""
        content = path.read_bytes()
        jwt, seed = _JWT.search(content), _SEED.search(content)
        if jwt is None or seed is None:
            lacks = " and ".join(
                name for name, found in (("USER JWT", jwt), ("USER NKEY SEED", seed)) if found is None
            )
            raise NatsRefused(
                f"credentials_file = {path}: it has no {lacks} between its BEGIN and END lines; it is to be a"
                " .creds file as `nsc generate creds` writes it"
            )
        return cls(jwt[1], _key_of(path, seed[1]))

    def sign(self, nonce: str) -> bytes:
        """The answer to a server that wants proof: a signature in base64."""
        return base64.b64encode(self._key.sign(nonce.encode()))


def _key_of(path: Path, text: bytes) -> Ed25519PrivateKey:
    try:
        seed = base64.b32decode(text + b"=" * (-len(text) % 8))
    except ValueError:
        seed = b""
    is_whole = len(seed) == _SEED_BYTES and crc_hqx(seed[:-2], 0) == int.from_bytes(seed[-2:], "little")
    if not is_whole or not seed.startswith(_USER_SEED_PREFIX):
        raise NatsRefused(
            f"credentials_file = {path}: its USER NKEY SEED is not the seed of a user, 58 letters that begin "
            "with SU"
        )
    return Ed25519PrivateKey.from_private_bytes(seed[2:34])
