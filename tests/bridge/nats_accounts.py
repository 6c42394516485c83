"""An operator, an account and users of NATS, made by hand: what `nsc` would do, as far as a test needs it.

A key is written as base32 of its kind, its 32 bytes and a CRC; a JWT is signed with the key of the one above.
"""

import base64
import json
import time
from binascii import crc_hqx

import attrs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KINDS = {"operator": 14 << 3, "account": 0, "user": 20 << 3}
SEED = 18 << 3
LIMITS = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1) | {
    "wildcards": True
}
JETSTREAM = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)


def in_base32(raw: bytes) -> str:
    whole = raw + crc_hqx(raw, 0).to_bytes(2, "little")
    return base64.b32encode(whole).decode().rstrip("=")


def in_base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


@attrs.frozen
class Identity:
    kind: str
    key: Ed25519PrivateKey = attrs.field(factory=Ed25519PrivateKey.generate)

    @property
    def public(self) -> str:
        return in_base32(bytes([KINDS[self.kind]]) + self.key.public_key().public_bytes_raw())

    @property
    def seed(self) -> str:
        kind = KINDS[self.kind]
        return in_base32(bytes([SEED | kind >> 5, (kind & 31) << 3]) + self.key.private_bytes_raw())

    def sign(self, subject: "Identity", **claims: object) -> str:
        """The JWT of one below us, or of ourselves."""
        content = {
            "jti": "TEST",
            "iat": int(time.time()),
            "iss": self.public,
            "name": subject.kind,
            "sub": subject.public,
            "nats": {"type": subject.kind, "version": 2, **claims},
        }
        parts = [{"typ": "JWT", "alg": "ed25519-nkey"}, content]
        signed = ".".join(in_base64(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{in_base64(self.key.sign(signed.encode()))}"


def credentials(account: Identity, user: Identity, **claims: object) -> str:
    """A .creds file."""
    limits = {"subs": -1, "data": -1, "payload": -1}
    jwt = account.sign(user, pub={}, sub={}, **limits, **claims)
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\n"
        "NKEY Seed printed below can be used to sign and prove identity.\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
    )


def server_config(account: Identity) -> str:
    """A server that takes the users of one account, which may use JetStream, and nobody else."""
    operator, system = Identity("operator"), Identity("account")
    jwts = {
        account.public: operator.sign(account, limits={**LIMITS, **JETSTREAM}),
        system.public: operator.sign(system, limits=LIMITS),
    }
    preload = "\n".join(f"  {public}: {jwt}" for public, jwt in jwts.items())
    return (
        f"operator: {operator.sign(operator)}\nsystem_account: {system.public}\n"
        f"resolver: MEMORY\nresolver_preload {{\n{preload}\n}}"
    )
