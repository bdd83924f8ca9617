"""`countermark build` and `countermark upload`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from countermark.attesting.beside import ALL
from countermark.attesting.checkout import read_checkout
from countermark.attesting.sending import Sending
from countermark.attesting.surroundings import describe_build
from countermark.building import build_project
from countermark.cli.connecting import JsonOption, QuietOption, TokenOption, WorkersOption
from countermark.cli.screen import Screen
from countermark.core.attestations.making import Build, is_predicate_type
from countermark.core.errors import ClientError, UsageFault
from countermark.core.names import InvalidName, parse_index_name
from countermark.credentials import find_credentials
from countermark.metadatafile import distribution_of
from countermark.publish import Answer, Uploader, upload_all
from countermark.settings import read_settings


def build(  # noqa: PLR0913, PLR0917 - a command has an argument for each of its options
    source: Annotated[Path, typer.Argument(metavar="DIR", help="The folder with pyproject.toml.")] = Path(),
    outdir: Annotated[Path | None, typer.Option("--outdir", help="Where files go; default DIR/dist.")] = None,
    index: Annotated[
        str, typer.Option("--index", metavar="OWNER/NAME", help="The index to write into the pointers.")
    ] = ("root/stable"),
    isolated: Annotated[
        bool, typer.Option("--isolation/--no-isolation", help="Build in a fresh environment, or in this one.")
    ] = True,
    provenance: Annotated[
        bool, typer.Option("--provenance/--no-provenance", help="Write a statement beside each file, to be signed.")
    ] = True,
    builder_id: Annotated[
        str | None,
        typer.Option("--builder-id", metavar="URI", help="In a job of a reusable workflow: that workflow."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Build an sdist and a wheel, each with the pointer an index will sign for it, and print their paths.

    Beside each also lies FILE.statement.json: who built it from which commit, as an in-toto statement with SLSA
    provenance, from the environment of GitHub or GitLab, or labelled as local. `countermark attest` signs it.
    """
    screen = Screen(as_json=as_json)
    with screen.guarded():
        try:
            name = parse_index_name(index)
        except InvalidName as error:
            raise UsageFault(str(error)) from error
        if builder_id is not None and not is_predicate_type(builder_id):
            raise UsageFault("--builder-id is no URI", "Write https://host/owner/repository/.../workflow.yml.")
        out = outdir or source / "dist"
        described = _described(source, out, builder_id, screen) if provenance else None
        built = build_project(source, out, name, isolated=isolated, described=described)
    for each in built:
        screen.result(str(each.file))
        written = {"file": str(each.file), "pointer": str(each.pointer)}
        screen.object(written | ({"statement": str(each.statement)} if each.statement else {}))


def _described(source: Path, out: Path, builder: str | None, screen: Screen) -> Build:
    """Return what is known of the build, and tell what weakens it."""
    checkout = read_checkout(source, out)
    if checkout is None:
        screen.notify("git does not know these sources: provenance says no more of them than the environment does")
    elif checkout.is_dirty:
        screen.notify("files differ from the commit that is checked out: provenance says so (dirty)")
    return describe_build(os.environ, checkout, screen.notify, builder)


def upload(  # noqa: PLR0913, PLR0917 - a command has an argument for each of its options
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILES...", help="Wheels and sdists; what lies beside them is no file of its own."),
    ],
    index: Annotated[
        str | None, typer.Option("--index", metavar="URL", help="The index. Default: COUNTERMARK_REPOSITORY.")
    ] = None,
    attestations: Annotated[
        bool, typer.Option("--attestations/--no-attestations", help="Send the attestations that lie beside files.")
    ] = True,
    token: TokenOption = None,
    workers: WorkersOption = 4,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Upload files to an index and print its answer to each; one that is refused does not end the others.

    With each go the attestations beside it: FILE.sigstore.json, FILE.*.sigstore.json and FILE.*.attestation.
    """
    screen = Screen(as_json=as_json, quiet=quiet)
    with screen.guarded():
        settings = read_settings(os.environ)
        url = settings.repository_or(index, "--index")
        chosen = [file for file in files if not file.name.endswith(ALL)]
        if not chosen:
            raise UsageFault("no wheel or sdist is named")
        for file in chosen:
            distribution_of(file)
        credentials = find_credentials(url, settings.secrets_for(url, token), screen.notify)
        with screen.meter() as meter:
            sending = Sending(url, credentials) if attestations else None
            answers = upload_all(Uploader(url, credentials, meter=meter, attachments=sending), chosen, workers)
    refused = []
    for file, answer in zip(chosen, answers, strict=True):
        if isinstance(answer, ClientError):
            refused.append(screen.failure(answer, str(file)))
        else:
            _say(screen, file, answer)
    if len(chosen) > 1:
        screen.tell(f"{len(chosen) - len(refused)} of {len(chosen)} files are in the index")
    if refused:
        raise typer.Exit(max(refused))


def _say(screen: Screen, file: Path, answer: Answer) -> None:
    said = answer.lines[0] if answer.lines else "taken"
    screen.result(f"{answer.status} {file.name}: {said}")
    for line in answer.lines[1:]:
        screen.notify(line)
    if answer.status_url:
        screen.notify(f"not published yet; follow it with: countermark status {answer.status_url}")
    told = {"file": str(file), "status": answer.status, "lines": list(answer.lines), "status_url": answer.status_url}
    kept = {} if answer.kept is None else {"kept": answer.kept.count, "new": answer.kept.new}
    screen.object(told | {"attestations": {"sent": answer.attestations, "kept": None, "new": None} | kept})
