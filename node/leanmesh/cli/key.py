"""`leanmesh key new|show`: makes key files and tells whose they are."""

from pathlib import Path

import click

from leanmesh.identity.key_file import KeyFileForm, create_key_file, read_key_file
from leanmesh.identity.keys import KeyKind, PrivateKey

_KINDS = {"ed25519": KeyKind.ED25519, "secp256k1": KeyKind.SECP256K1}


@click.group("key")
def key() -> None:
    """Make key files and show whose they are."""


@key.command("new")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--type",
    "kind",
    type=click.Choice(list(_KINDS)),
    help="Kind of key; secp256k1 with --format hex, ed25519 otherwise.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice([form.value for form in KeyFileForm]),
    default=KeyFileForm.LIBP2P.value,
    show_default=True,
    help="libp2p: the protobuf form; hex: 64 hex digits, as lean networks have it.",
)
def new(file: Path, kind: str | None, form: str) -> None:
    """Write a new key into FILE, which must not exist, and print its peer id."""
    form_default = "secp256k1" if form == KeyFileForm.HEX else "ed25519"
    made = PrivateKey.generate(_KINDS[kind or form_default])
    create_key_file(file, made, KeyFileForm(form))
    click.echo(str(made.peer_id))


@key.command("show")
@click.argument("file", type=click.Path(path_type=Path))
def show(file: Path) -> None:
    """Print what the key in FILE is and whose.  The secret stays where it is."""
    private_key, form = read_key_file(file)
    click.echo(f"peer_id:    {private_key.peer_id}")
    click.echo(f"cid:        {private_key.peer_id.cid}")
    click.echo(f"type:       {private_key.kind.name.lower()}")
    click.echo(f"format:     {form}")
    click.echo(f"public_key: {private_key.public_key.data.hex()}")
