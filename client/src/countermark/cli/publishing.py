"""`countermark build` and `countermark upload`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from countermark.building import build_project
from countermark.cli.connecting import JsonOption, QuietOption, TokenOption, WorkersOption
from countermark.cli.screen import Screen
from countermark.core.errors import ClientError, UsageFault
from countermark.core.names import InvalidName, parse_index_name
from countermark.credentials import find_credentials
from countermark.metadatafile import distribution_of
from countermark.publish import Answer, Uploader, upload_all
from countermark.settings import read_settings


def build(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="The folder with pyproject.toml.")] = Path(),
    outdir: Annotated[Path | None, typer.Option("--outdir", help="Where files go; default DIR/dist.")] = None,
    index: Annotated[
        str, typer.Option("--index", metavar="OWNER/NAME", help="The index to write into the pointers.")
    ] = ("root/stable"),
    isolated: Annotated[
        bool, typer.Option("--isolation/--no-isolation", help="Build in a fresh environment, or in this one.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Build an sdist and a wheel, each with the pointer an index will sign for it, and print their paths."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        try:
            name = parse_index_name(index)
        except InvalidName as error:
            raise UsageFault(str(error)) from error
        built = build_project(source, outdir or source / "dist", name, isolated=isolated)
    for each in built:
        screen.result(str(each.file))
        screen.object({"file": str(each.file), "pointer": str(each.pointer)})


def upload(
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="Wheels and sdists; pointers are left out.")],
    index: Annotated[
        str | None, typer.Option("--index", metavar="URL", help="The index. Default: COUNTERMARK_REPOSITORY.")
    ] = None,
    token: TokenOption = None,
    workers: WorkersOption = 4,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Upload files to an index and print its answer to each; one that is refused does not end the others."""
    screen = Screen(as_json=as_json, quiet=quiet)
    with screen.guarded():
        settings = read_settings(os.environ)
        url = settings.repository_or(index, "--index")
        chosen = [file for file in files if file.suffix != ".pointer"]
        if not chosen:
            raise UsageFault("no wheel or sdist is named")
        for file in chosen:
            distribution_of(file)
        credentials = find_credentials(url, settings.secrets_for(url, token), screen.notify)
        with screen.meter() as meter:
            answers = upload_all(Uploader(url, credentials, meter=meter), chosen, workers)
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
    screen.object(
        {"file": str(file), "status": answer.status, "lines": list(answer.lines), "status_url": answer.status_url}
    )
