"""`countermark key new`, `countermark key show` and `countermark key check`: a key holder's keys."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from securesystemslib.signer import SSlibKey

from countermark.cli.screen import Screen
from countermark.core.ceremony.documents import PublicKeyFile, parse_public_key_file, to_bytes
from countermark.core.ceremony.faults import CeremonyFault
from countermark.core.ceremony.keys import fingerprint
from countermark.core.errors import LocalState
from countermark.core.signing.access import KeyAccess, SecretKind, Wanted, read_secret
from countermark.core.signing.faults import KeyUnusable
from countermark.core.signing.loading import load_signer
from countermark.core.signing.making import FoundKey, find_key, make_key
from countermark.core.signing.uris import FILE, SCHEMES, parse_uri

app = typer.Typer(help="Make, show and try the keys that sign in ceremonies.", no_args_is_help=True)

SECRET_VARIABLE = "COUNTERMARK_KEY_SECRET"  # noqa: S105 - the name of the variable
"""Variable with the PIN or passphrase; with `_FILE` after it, one with the path of a file that holds it."""

_LIMIT = 1 << 20
"""Bytes of a public key's file that are read."""

_LONGEST_HOLDER = 200

SecretFileOption = Annotated[
    Path | None,
    typer.Option(
        "--secret-file",
        help=f"Read the PIN or passphrase from this file. Else: {SECRET_VARIABLE}, {SECRET_VARIABLE}_FILE, or asked.",
    ),
]
ModuleOption = Annotated[
    str | None, typer.Option("--module", metavar="PATH", help="PKCS#11 library of the token. Default: PYKCS11LIB.")
]
HolderOption = Annotated[str, typer.Option("--holder", metavar="NAME", help="Whose key it is: words for people.")]
OutOption = Annotated[
    Path | None, typer.Option("-o", "--out", help="Write the public key to this new file, to hand it on.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def new(
    place: Annotated[
        str,
        typer.Argument(
            metavar="URI", help="pkcs8:PATH (encrypted), file2:PATH (not), hsm:?label=TOKEN, hv:NAME: where it is made."
        ),
    ],
    holder: HolderOption = "",
    out: OutOption = None,
    secret_file: SecretFileOption = None,
    module: ModuleOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and show its public half: Ed25519 in a file or in Vault, P-256 on a token, which it cannot leave."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        _check(holder, out)
        made = make_key(place, key_access(os.environ, secret_file, module))
        if parse_uri(made.uri).scheme == FILE:
            screen.notify("the key's file is not encrypted: whoever reads it signs; pkcs8: makes an encrypted one")
        _show(screen, made, holder, out)


@app.command()
def show(  # noqa: PLR0913, PLR0917 - a command has an argument for each of its options
    place: Annotated[str, typer.Argument(metavar="URI|FILE", help="URI of a key, or file with a public key.")],
    holder: HolderOption = "",
    out: OutOption = None,
    pem: Annotated[bool, typer.Option("--pem", help="Print it alone, as a policy has it under `keys:`.")] = False,
    secret_file: SecretFileOption = None,
    module: ModuleOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the public half of a key: its id is what people compare before a ceremony."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        _check(holder, out)
        if place.partition(":")[0] in SCHEMES:
            found = find_key(place, key_access(os.environ, secret_file, module))
        else:
            read = read_public_key(Path(place))
            found, holder = FoundKey(_signing(read), ""), holder or read.holder
        _show(screen, found, holder, out, pem=pem)


@app.command()
def check(
    uri: Annotated[str, typer.Argument(metavar="URI", help="URI of the private half.")],
    public: Annotated[Path, typer.Argument(metavar="FILE", help="File with the public half.")],
    secret_file: SecretFileOption = None,
    module: ModuleOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign something without meaning, and verify it. On a token the PIN is tried once, also after a wrong one."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        key = read_public_key(public).key
        load_signer(uri, key, replace(key_access(os.environ, secret_file, module), after_wrong_pin=True))
    screen.object({"keyid": key.keyid, "signs": True})
    screen.result(f"key {key.keyid} signs")


def key_access(environ: Mapping[str, str], secret_file: Path | None = None, module: str | None = None) -> KeyAccess:
    """Return the means to reach private keys: secrets are asked of a person where none are given.

    A token that tells of a wrong PIN is tried when a person types: a script would go on until it is locked.
    """
    secrets = _Secrets(environ, secret_file)
    return KeyAccess(secret=secrets, environ=environ, module=module, after_wrong_pin=secrets.are_typed)


def read_public_key(path: Path) -> PublicKeyFile:
    """Return what is in a public key's file.

    Raises:
        LocalState: it cannot be read, or is none.
    """
    try:
        with path.open("rb") as file:
            return parse_public_key_file(file.read(_LIMIT))
    except OSError as error:
        raise LocalState(f"{path} cannot be read: {error.strerror}") from error
    except CeremonyFault as error:
        raise LocalState(f"{path} is no usable public key: {error}", "Ask its holder for it again.") from error


class _Secrets:
    """PIN and passphrase from a file, from the environment, or from the person; each is asked for once."""

    def __init__(self, environ: Mapping[str, str], file: Path | None) -> None:
        self._environ = environ
        self._file = file
        self._told: dict[tuple[SecretKind, str], str] = {}

    @property
    def are_typed(self) -> bool:
        """Whether a person is asked."""
        named = (SECRET_VARIABLE, f"{SECRET_VARIABLE}_FILE")
        return self._file is None and not any(map(self._environ.get, named))

    def __call__(self, wanted: Wanted) -> str:
        known = (wanted.kind, wanted.name)
        if known not in self._told:
            self._told[known] = self._found(wanted)
        return self._told[known]

    def _found(self, wanted: Wanted) -> str:
        named = self._environ.get(f"{SECRET_VARIABLE}_FILE")
        file = self._file or (Path(named) if named else None)
        if file is not None:
            return read_secret(file)
        return self._environ.get(SECRET_VARIABLE) or self._ask(wanted)

    def _ask(self, wanted: Wanted) -> str:
        words = f"A new {wanted.kind} for key {wanted.name[:16]}" if wanted.is_new else f"Type {wanted}"
        try:
            told: str = typer.prompt(words, hide_input=True, confirmation_prompt=wanted.is_new, err=True)
        except typer.Abort as error:
            raise KeyUnusable(
                f"{wanted} was not given", f"Give --secret-file, or set {SECRET_VARIABLE}_FILE."
            ) from error
        return told


def _check(holder: str, out: Path | None) -> None:
    """Refuse before anything is made what could not be written afterwards."""
    if len(holder) > _LONGEST_HOLDER or not holder.isprintable():
        raise KeyUnusable(f"a holder's name has at most {_LONGEST_HOLDER} characters, all to be seen", "Write less.")
    if out is not None and (out.exists() or not out.parent.is_dir()):
        what = "exists and is not written over" if out.exists() else "lies in a folder that does not exist"
        raise LocalState(f"{out} {what}", "Name another file; nothing was made.")


def _show(screen: Screen, found: FoundKey, holder: str, out: Path | None, *, pem: bool = False) -> None:
    document = PublicKeyFile(holder, found.key)
    if out is not None:
        try:
            with out.open("xb") as file:
                file.write(to_bytes(document))
        except OSError as error:
            raise LocalState(f"{out} cannot be written: {error.strerror}", "Show the key again.") from error
    screen.object({"keyid": found.key.keyid, "uri": found.uri, "public": document.to_document()})
    if pem:
        for line in _pem(found.key):
            screen.result(line)
    else:
        _describe(screen, found, holder)
    if out is not None:
        screen.tell(f"Its public half is in {out}: hand that on, and read the key id to each other.")


def _describe(screen: Screen, found: FoundKey, holder: str) -> None:
    screen.result(f"key     {found.key.keyid}")
    screen.result(f"kind    {found.key.scheme}")
    if holder:
        screen.result(f"holder  {holder}")
    if found.uri:
        screen.result(f"uri     {found.uri}")


def _pem(key: SSlibKey) -> list[str]:
    public = load_der_public_key(fingerprint(key))
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode().splitlines()


def _signing(read: PublicKeyFile) -> SSlibKey:
    # The parser has refused all others.
    assert isinstance(read.key, SSlibKey)
    return read.key
