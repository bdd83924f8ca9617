"""`countermark approvals`: what waits for approvals, and the signatures that let it through."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from countermark.approval_signing import Signer, made_elsewhere, open_signer, read_public
from countermark.approvals import Waiting, check_file, read_waiting, refuse_bad
from countermark.cli import demanding
from countermark.cli.connecting import Connection, IndexOption, JsonOption, TokenOption, connect
from countermark.cli.keys import ModuleOption, SecretFileOption, key_access
from countermark.cli.screen import Screen
from countermark.core.approval.message import KeyRegistration
from countermark.core.errors import AttestationUnreadable, LocalState, RegistryRefused, UsageFault
from countermark.core.names import InvalidName, parse_owner
from countermark.core.signing.access import KeyAccess
from countermark.placing import write_over
from countermark.registry import Registry, index_path

app = typer.Typer(
    help="Approve files before they are published: see what waits, sign its pointer, keep the evidence.",
    no_args_is_help=True,
)
keys = typer.Typer(help="The keys that you approve with.", no_args_is_help=True)
app.add_typer(keys, name="key")
app.add_typer(demanding.app, name="demand")

MAX_EXPORT = 4 << 20
"""Bytes of an exported document."""

_ID = re.compile(r"(?:.*/)?([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})\Z")

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="As `approvals list` shows it, or the status link.")]
KeyOption = Annotated[
    str,
    typer.Option(
        "--key",
        metavar="FILE|URI",
        help="PEM or SSH private key; an SSH public key when the agent has the other half; or a URI as for "
        "`countermark key`, as hsm:2?label=TOKEN.",
    ),
]
SignatureOption = Annotated[
    Path | None, typer.Option("--signature", help="A signature made elsewhere; --key is then the public key.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; an approval then needs --file, too.")]
FileOption = Annotated[
    Path | None, typer.Option("--file", help="The file itself: it has to be the one that is approved.")
]


@app.command("list")
def list_waiting(
    state: Annotated[str, typer.Option("--state", help="waiting, approved, withdrawn or all.")] = "waiting",
    repository: IndexOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the files that wait for approvals."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        if state not in {"waiting", "approved", "withdrawn", "all"}:
            raise UsageFault(f"{state!r} is no state", "Write waiting, approved, withdrawn or all.")
        connection = connect(repository, screen, token)
        path = index_path(connection.location.index, "approvals")
        for item in connection.registry().items(path, {"state": state}):
            screen.object(item)
            screen.row(*(str(item.get(name)) for name in ("id", "filename", "words", "asked_by", "expires_at")))


@app.command()
def show(
    file_id: IdArgument,
    file: FileOption = None,
    message: Annotated[
        Path | None, typer.Option("--message", help="Write the bytes that are signed to a file.")
    ] = None,
    repository: IndexOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what is signed when a file is approved, read from its pointer, and who has signed it."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        connection = connect(repository, screen, token)
        waiting = _fetched(connection, _id(file_id))
        if file is not None:
            check_file(waiting, file)
        if message is not None:
            write_over(message, waiting.statement.to_bytes())
        _tell(screen, waiting, file)
        screen.object(waiting.exported() | {"file_checked": file is not None})


@app.command()
def approve(  # noqa: PLR0913, PLR0917 - a command has an argument for each of its options
    file_id: IdArgument,
    key: KeyOption,
    signature: SignatureOption = None,
    file: FileOption = None,
    yes: YesOption = False,
    secret_file: SecretFileOption = None,
    module: ModuleOption = None,
    repository: IndexOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign what is published for a file, after it was shown."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        if yes and file is None and signature is None:
            raise UsageFault("--yes without --file would approve whatever the server names", "Give the file itself.")
        access = key_access(os.environ, secret_file, module)
        connection = connect(repository, screen, token)
        named = _id(file_id)
        waiting = _fetched(connection, named)
        if file is not None:
            check_file(waiting, file)
        signer = _signer(key, signature, access)
        _tell(screen, waiting, file)
        _confirm(screen, f"Approve this with {signer.public.fingerprint}?", yes=yes)
        body = {"keyid": signer.public.keyid, "signature": signer.sign(waiting.statement)}
        path = index_path(connection.location.index, "approvals", named)
        seen = read_waiting(connection.registry().change("POST", path, body).document, connection.location.index)
        screen.result(f"approved {seen.statement.file_name}: {seen.words}")
        screen.object(seen.exported())


@app.command()
def withdraw(
    file_id: IdArgument,
    repository: IndexOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a file wait no more, with all that came with it: it is not published."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        connection = connect(repository, screen, token)
        path = index_path(connection.location.index, "approvals", _id(file_id))
        seen = read_waiting(connection.registry().change("DELETE", path).document, connection.location.index)
        screen.result(f"withdrew {seen.statement.file_name}")
        screen.object(seen.exported())


@app.command()
def export(
    file_id: IdArgument,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it there.")] = None,
    repository: IndexOption = None,
    token: TokenOption = None,
) -> None:
    """Write the approvals of a file with all that verifies them: message, pointer, keys and signatures."""
    screen = Screen()
    with screen.guarded():
        waiting = _fetched(connect(repository, screen, token), _id(file_id))
        refuse_bad(waiting)
        text = json.dumps(waiting.exported(), indent=2) + "\n"
        if output is None:
            typer.echo(text, nl=False)
        else:
            write_over(output, text.encode())
            screen.tell(f"{len(waiting.approvals)} approvals of {waiting.statement.file_name} are in {output}")


@app.command()
def check(
    document: Annotated[Path, typer.Argument(metavar="FILE", help="What `approvals export` wrote.")],
    file: FileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify exported approvals on this machine alone, without any server."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        waiting = read_waiting(_loaded(document), None)
        refuse_bad(waiting)
        if not waiting.approvals:
            raise AttestationUnreadable(f"nobody approved {waiting.statement.file_name}")
        if file is not None:
            check_file(waiting, file)
        _tell(screen, waiting, file)
        screen.tell("Whose keys these are is the registry's word: compare the keys with these people.")
        screen.object(waiting.exported() | {"file_checked": file is not None})


@keys.command("register")
def register_key(  # noqa: PLR0913, PLR0917 - a command has an argument for each of its options
    key: KeyOption,
    signature: SignatureOption = None,
    label: Annotated[str, typer.Option("--label", help="What you call it.")] = "",
    account: Annotated[str | None, typer.Option("--account", help="Yours; default: as the registry says.")] = None,
    message: Annotated[
        Path | None, typer.Option("--message", help="Write the bytes to sign elsewhere to a file, and end.")
    ] = None,
    yes: YesOption = False,
    secret_file: SecretFileOption = None,
    module: ModuleOption = None,
    repository: IndexOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register a key of yours; the private half stays on this machine."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        access = key_access(os.environ, secret_file, module)
        registry = connect(repository, screen, token).registry()
        name = _account(registry, account)
        if message is not None:
            write_over(message, KeyRegistration(name, read_public(key, access).keyid).to_bytes())
            return
        signer = _signer(key, signature, access)
        screen.tell(f"account  {name}")
        screen.tell(f"key      {signer.public.kind} {signer.public.fingerprint}")
        _confirm(screen, "Register this key for this account?", yes=yes)
        proof = signer.sign(KeyRegistration(name, signer.public.keyid))
        body = {"public_key": signer.public.text, "label": label, "signature": proof}
        made = registry.create("/approval-keys", body).document
        screen.result(f"registered {made.get('keyid')}")
        screen.object(made)


@keys.command("list")
def list_keys(repository: IndexOption = None, token: TokenOption = None, as_json: JsonOption = False) -> None:
    """List your keys, the revoked ones as well."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        found = connect(repository, screen, token).registry().get("/approval-keys").get("items")
        for item in found if isinstance(found, list) else []:
            if not isinstance(item, dict):
                raise RegistryRefused("the registry answered no list of keys", "Is this the address of a registry?")
            screen.object(item)
            ended = f"revoked {item['revoked_at']}" if item.get("revoked_at") else "good"
            screen.row(*(str(item.get(name)) for name in ("keyid", "kind", "fingerprint", "label")), ended)


@keys.command("revoke")
def revoke_key(
    keyid: Annotated[str, typer.Argument(metavar="KEYID", help="As `approvals key list` shows it.")],
    repository: IndexOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a key: it approves nothing more, and is never registered again."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        if not re.fullmatch(r"[0-9a-f]{64}", keyid):
            raise UsageFault(f"{keyid!r} is no key's id", "See `countermark approvals key list`.")
        connect(repository, screen, token).registry().change("DELETE", f"/approval-keys/{keyid}")
        screen.result(f"revoked {keyid}")
        screen.object({"keyid": keyid, "state": "revoked"})


def _fetched(connection: Connection, named: str) -> Waiting:
    view = connection.registry().get(index_path(connection.location.index, "approvals", named))
    return read_waiting(view, connection.location.index)


def _account(registry: Registry, given: str | None) -> str:
    """Return the name of the account that a key is registered for: as given, else as the registry says."""
    said = given if given is not None else registry.get("/account").get("name")
    try:
        return parse_owner(said if isinstance(said, str) else "")
    except InvalidName as error:
        if given is not None:
            raise UsageFault(str(error), "Name your account.") from error
        raise RegistryRefused(f"the registry names no account of yours: {error}", "Give --account.") from error


def _id(text: str) -> str:
    found = _ID.match(text.strip())
    if found is None:
        raise UsageFault(f"{text!r} is no file's id", "See `countermark approvals list`.")
    return found[1]


def _signer(key: str, signature: Path | None, access: KeyAccess) -> Signer:
    return open_signer(key, access) if signature is None else made_elsewhere(key, signature)


def _tell(screen: Screen, waiting: Waiting, file: Path | None) -> None:
    for line in waiting.lines():
        screen.result(line)
    if file is not None:
        screen.result(f"checked  {file} is this file")
    for one in waiting.approvals:
        said = "does not verify: " + one.fault if one.fault else "verified"
        shown = f" with {one.key.fingerprint}" if one.key is not None else ""
        screen.result(f"signed   {one.account}{shown}, {one.given_at}: {said}")
    screen.result(f"state    {waiting.words} (as the registry says)")


def _confirm(screen: Screen, question: str, *, yes: bool) -> None:
    if yes:
        return
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort as error:
        raise UsageFault("nobody answered", "Say --yes where nobody can be asked.") from error
    if not agreed:
        screen.tell("nothing was signed")
        raise typer.Exit(1)


def _loaded(path: Path) -> Mapping[str, object]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_EXPORT + 1)
        document = json.loads(data) if len(data) <= MAX_EXPORT else None
    except OSError as error:
        raise LocalState(f"cannot read {path}: {error.strerror or error}", "Give a file that can be read.") from error
    except (ValueError, RecursionError) as error:
        raise UsageFault(f"{path} is no JSON document", "Give what `approvals export` wrote.") from error
    if not isinstance(document, dict):
        raise UsageFault(f"{path} is no exported document", "Give what `approvals export` wrote.")
    return document
