"""`countermark ceremony`: what key holders sign together, and never on the word of a server."""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from countermark.ceremony.asking import Ceremonies
from countermark.ceremony.files import read_document, write_new
from countermark.ceremony.proposing import Options, check_proposed, parse_options
from countermark.ceremony.rehearsal import rehearse
from countermark.ceremony.reviewing import lists_of, sign
from countermark.ceremony.words import (
    event_facts,
    listed_missing,
    missing_words,
    review_facts,
    review_lines,
    role_lines,
    standing_lines,
)
from countermark.cli.connecting import IndexOption, JsonOption, RootOption, TokenOption, connect
from countermark.cli.keys import ModuleOption, SecretFileOption, key_access
from countermark.cli.reviewing import (
    Source,
    ask,
    check_signed,
    counted,
    expected_digest,
    published,
    reviewed,
    target_lines,
)
from countermark.cli.screen import Screen
from countermark.core.ceremony.documents import parse_signature_file, to_bytes
from countermark.core.errors import CeremonyRefused, UsageFault

app = typer.Typer(
    help="Sign what the deployment's offline keys sign: propose, show, sign, submit, finalise. Nothing that the server "
    "says is believed; `show` and `sign` also work from files, on a machine without a network.",
    no_args_is_help=True,
)

EventArgument = Annotated[str, typer.Argument(metavar="EVENT|FILE", help="The id of an event, or an event file.")]
IdArgument = Annotated[str, typer.Argument(metavar="EVENT", help="The id of an event.")]
OutOption = Annotated[Path | None, typer.Option("-o", "--out", metavar="FILE", help="Write a new file here.")]


@app.command()
def propose(  # noqa: PLR0913, PLR0917 - a command has an argument for each of its options
    role: Annotated[str, typer.Argument(metavar="ROLE", help="root, targets, trust or registry.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; the key holders read it.")],
    add: Annotated[list[str] | None, typer.Option("--add", metavar="ROLE=FILE", help="A public key to add.")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", metavar="ROLE=KEYID", help="One to remove.")] = None,
    threshold: Annotated[
        list[str] | None, typer.Option("--threshold", metavar="ROLE=COUNT", help="Signatures that a role needs.")
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option("--target", metavar="PATH=FILE", help="A target of trust, as trust/policy.yaml.")
    ] = None,
    untarget: Annotated[list[str] | None, typer.Option("--untarget", metavar="PATH", help="One to remove.")] = None,
    bins: Annotated[int | None, typer.Option("--bins", metavar="BITS", help="Hash bins, as a power of two.")] = None,
    renew: Annotated[bool, typer.Option("--renew", help="Change nothing but version and expiry.")] = False,
    out: OutOption = None,
    repository: IndexOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Propose the next version of a role, and check that the server made exactly that of it.

    Nothing is changed by this: key holders have to sign it.
    """
    screen = Screen(as_json=as_json)
    options = Options(add or (), remove or (), threshold or (), target or (), untarget or (), bins, renew)
    with screen.guarded():
        proposal = parse_options(options)
        connection = connect(repository, screen, token)
        event = Ceremonies(connection.registry()).propose(role, proposal.change, reason, proposal.holders)
        check_proposed(role, proposal.change, event)
        standing = counted(event)
        if out is not None:
            write_new(out, to_bytes(event))
    screen.object(event_facts(event, standing))
    screen.result(event.id)
    screen.tell(f"{role} version {event.version} is proposed; the payload's sha256 is {event.payload_sha256}")
    screen.tell(f"missing: {missing_words(standing.missing)}")


@app.command()
def show(  # noqa: PLR0913, PLR0917 - a command has an argument for each of its options
    event: EventArgument,
    root: RootOption = None,
    target: Annotated[
        list[str] | None, typer.Option("--target", metavar="PATH=FILE", help="Compare a target with this file.")
    ] = None,
    out: OutOption = None,
    repository: IndexOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what an event changes, worked out here from the root that this machine trusts; --out keeps it as a file."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        seen = reviewed(event, Source(repository, token, root), screen)
        compared = target_lines(seen.event, target or ())
        if out is not None:
            write_new(out, to_bytes(seen.event))
    screen.object(review_facts(seen))
    for line in [*review_lines(seen), *compared]:
        screen.result(line)


@app.command("sign")
def sign_command(  # noqa: PLR0913, PLR0917 - a command has an argument for each of its options
    event: EventArgument,
    key: Annotated[str, typer.Option("--key", metavar="URI", help="Your private key, as for `countermark key`.")],
    root: RootOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; --sha256 says what may be signed.")] = False,
    sha256: Annotated[str | None, typer.Option("--sha256", help="Sign nothing but the payload of this digest.")] = None,
    secret_file: SecretFileOption = None,
    module: ModuleOption = None,
    submit: Annotated[bool, typer.Option("--submit", help="Hand the signature in at once.")] = False,
    out: OutOption = None,
    repository: IndexOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what an event changes, ask, sign its payload, and write a signature file (EVENT-KEY.signature.json)."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        expected = expected_digest(yes, sha256)
        seen = reviewed(event, Source(repository, token, root), screen)
        screen.object(review_facts(seen))
        for line in review_lines(seen):
            screen.result(line)
        if expected not in {None, seen.event.payload_sha256}:
            raise CeremonyRefused(
                f"the payload has the sha256 {seen.event.payload_sha256}, not {expected}",
                "Nothing was signed. Find out who sees the other payload.",
            )
        if not yes:
            ask(seen.event)
        file = sign(seen, key, key_access(os.environ, secret_file, module), datetime.now(UTC))
        keyid = file.signatures[0].keyid
        if keyid not in lists_of(seen.event):
            screen.notify(f"key {keyid} is in no list that is asked now: it counts only once one with it is published")
        path = out or Path(f"{file.event}-{keyid[:16]}.signature.json")
        write_new(path, to_bytes(file))
        if submit:
            Ceremonies(connect(repository, screen, token).registry()).submit(file)
    screen.object({"event": file.event, "keyid": keyid, "file": str(path), "submitted": submit})
    screen.result(f"signed with key {keyid}: {path}")
    if not submit:
        screen.tell(f"To hand it in: countermark ceremony submit {path}")


@app.command("submit")
def submit_command(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Signature files.")],
    repository: IndexOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hand signature files in; each signature is verified before it is sent, and may be handed in twice."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        signed = [read_document(path, parse_signature_file) for path in files]
        ceremonies = Ceremonies(connect(repository, screen, token).registry())
        for path, file in zip(files, signed, strict=True):
            check_signed(path, file, ceremonies.event(file.event))
            event = ceremonies.submit(file)
            standing = counted(event)
            screen.object(event_facts(event, standing))
            screen.result(f"{path}: handed in to event {event.id} of {event.role}")
            screen.tell(f"missing: {missing_words(standing.missing)}")


@app.command()
def status(
    event: Annotated[str | None, typer.Argument(metavar="[EVENT]", help="One event; else all that are open.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Closed events, too.")] = False,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="Write what is published, once enough signed.")
    ] = None,
    repository: IndexOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the events that wait for signatures; or count the signatures of one, by the key lists that it brings.

    With --out the file is put together here: the root of a first ceremony, say, for the key holders to keep.
    """
    screen = Screen(as_json=as_json)
    with screen.guarded():
        if out is not None and event is None:
            raise UsageFault("--out is for one event", "Name it: countermark ceremony status EVENT --out FILE.")
        ceremonies = Ceremonies(connect(repository, screen, token).registry())
        if event is None:
            for item in ceremonies.listed(None if every else "open"):
                screen.object(item)
                cells = ("id", "role", "version", "state", "expires_at", "reason")
                screen.row(*(str(item.get(name, "-")) for name in cells), listed_missing(item))
            return
        found = ceremonies.event(event)
        standing = counted(found)
        if out is not None:
            write_new(out, published(found, standing))
    screen.object(event_facts(found, standing))
    screen.result(f"event {found.id} of {found.role}, version {found.version}: {found.state}")
    for line in standing_lines(found, standing):
        screen.result(line)


@app.command()
def roles(repository: IndexOption = None, token: TokenOption = None, as_json: JsonOption = False) -> None:
    """List the roles, their thresholds, and the keys with who is said to hold them, as the server tells it."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        found, missing = Ceremonies(connect(repository, screen, token).registry()).roles()
        for role in found:
            screen.object(role)
            for line in role_lines(role):
                screen.result(line)
        for line in missing:
            screen.notify(f"of the first ceremony is missing: {line}")


@app.command()
def withdraw(
    event: IdArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is on record.")],
    repository: IndexOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Close an event without its payload being used."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        closed = Ceremonies(connect(repository, screen, token).registry()).withdraw(event, reason)
    screen.object({"event": closed.id, "role": closed.role, "state": closed.state})
    screen.result(f"withdrawn {closed.id}")


@app.command()
def finalise(
    event: IdArgument,
    repository: IndexOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish an event's payload with its signatures, when this machine counts enough of them."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        ceremonies = Ceremonies(connect(repository, screen, token).registry())
        standing = counted(ceremonies.event(event))
        if not standing.is_ready:
            raise CeremonyRefused(
                f"event {event} lacks signatures: {missing_words(standing.missing)}", "Have them handed in first."
            )
        closed = ceremonies.finalise(event)
    screen.object({"event": closed.id, "role": closed.role, "version": closed.version, "state": closed.state})
    screen.result(f"{closed.role} version {closed.version} is final")
    if closed.role == "root":
        screen.tell("Key holders: fetch it, compare its sha256 and pin it (countermark root fetch, root pin).")


@app.command("rehearse")
def rehearse_command(as_json: JsonOption = False) -> None:
    """Walk through all ceremonies with throw-away keys on this machine, and remove everything at the end.

    Bootstrap by three holders, one of them without a network; adding and removing a holder; a root rotation; what is
    wrong is refused; python-tuf's own client verifies it all from the first root.
    """
    screen = Screen(as_json=as_json)
    with screen.guarded(), tempfile.TemporaryDirectory(prefix="countermark-rehearsal-") as folder:
        for number, step in enumerate(rehearse(Path(folder), datetime.now(UTC).replace(microsecond=0)), 1):
            screen.object({"step": number, "title": step.title, "lines": list(step.lines)})
            screen.result(f"{number}. {step.title}")
            for line in step.lines:
                screen.result(f"   {line}")
    screen.tell(f"All keys and files of the rehearsal are removed: {folder}")
