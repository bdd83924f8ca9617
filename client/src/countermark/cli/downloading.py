"""`countermark download`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from countermark.batch import Batch
from countermark.choosing import Wanted
from countermark.cli.connecting import (
    Asked,
    BaseOption,
    FirstUseOption,
    JsonOption,
    Keep,
    MirrorOption,
    PolicyOption,
    QuietOption,
    RepositoryOption,
    RootOption,
    WorkersOption,
    opened,
    this_interpreter,
)
from countermark.cli.screen import Screen
from countermark.cli.verifying import finish, report_failures
from countermark.core.errors import UsageFault
from countermark.core.filenames import parse_distribution
from countermark.core.names import InvalidName
from countermark.requirements import parse_requirement, read_requirements
from countermark.verification import PolicyMode


@dataclass(frozen=True, slots=True)
class _Selection:
    names: list[str]
    files: list[Path]
    file: str | None
    all_files: bool


def download(  # noqa: PLR0913, PLR0917 - a command has an argument for each of its options
    requirements: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME[==VERSION]...]", help="Projects; without a version, the latest. Ranges too."),
    ] = None,
    from_files: Annotated[
        list[Path] | None,
        typer.Option("-r", "--requirement", metavar="FILE", help="A requirements file; its digests must match too."),
    ] = None,
    repository: RepositoryOption = None,
    dest: Annotated[Path, typer.Option("--dest", help="The folder to place files in.")] = Path(),
    file: Annotated[str | None, typer.Option("--file", metavar="NAME", help="This file, by its name.")] = None,
    all_files: Annotated[bool, typer.Option("--all", help="All files of each release.")] = False,
    mirrors: MirrorOption = None,
    root: RootOption = None,
    first_use: FirstUseOption = False,
    bases: BaseOption = None,
    policy: PolicyOption = PolicyMode.SIGNED,
    bundle: Annotated[
        bool, typer.Option("--bundle", help="Place each file's attestation beside it, as FILE.sigstore.json.")
    ] = False,
    evidence: Annotated[
        Path | None,
        typer.Option("--evidence", metavar="FOLDER", help="Write what is needed to verify the files offline."),
    ] = None,
    workers: WorkersOption = 4,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Download files, prove them, and print their paths. Only what is named: dependencies are not resolved.

    A file appears in the folder when every step has passed for it; one that fails does not end the others.

    Exit codes: 0 all proven, 2 usage, 3 integrity only (--policy none), 10 network, 11 no such target, 20-23 metadata,
    30-31 pointer, 40-41 file, 50-62 evidence, 70 this machine; of several failures the highest.
    """
    screen = Screen(as_json=as_json, full_table=True, quiet=quiet)
    selection = _Selection(requirements or [], from_files or [], file, all_files)
    asked = Asked(repository, root, first_use, policy, bases=bases, keeping=Keep(bundle, evidence), mirrors=mirrors)
    with screen.guarded():
        wanted = _wanted(selection, screen)
        screen.chain = len(wanted) == 1 and not all_files
        with screen.meter() as meter, opened(asked, screen, meter, names=len(wanted)) as here:
            batch = Batch(here.verifier, here.sources, workers)
            outcome = batch.download(wanted, dest, this_interpreter())
    for path in outcome.placed:
        screen.result(str(path))
    report_failures(screen, outcome, len(wanted))
    finish(screen, policy, len(outcome.placed))


def _wanted(selection: _Selection, screen: Screen) -> list[Wanted]:
    if selection.file and selection.all_files:
        raise UsageFault("--file and --all exclude each other")
    if not selection.names and not selection.files:
        raise UsageFault("nothing is named", "Name projects, or a requirements file with -r.")
    if selection.file and (len(selection.names) != 1 or selection.files):
        raise UsageFault("--file goes with exactly one name")
    asked = [parse_requirement(name, screen.notify) for name in selection.names]
    wanted = [each for each in asked if each is not None]
    for path in selection.files:
        wanted += read_requirements(path, screen.notify)
    try:
        file = parse_distribution(selection.file) if selection.file else None
    except InvalidName as error:
        raise UsageFault(str(error), "Name a wheel or sdist with --file.") from error
    return [replace(each, file=file, all_files=selection.all_files) for each in wanted]
