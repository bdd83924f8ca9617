"""`python -m countermark.downloader`: one file, its path alone on stdout; called as the downloader before it was.

`-v` counts: 0 silent, 1 critical, 2 errors, 3 warnings, 4 steps, 5 everything. What ends a run, and the warning of
`--unsafe-disable-verification`, are always told. Source: trust contract sections 3.1 and 3.3.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer
from packaging.version import InvalidVersion, Version

from countermark.chain import Step
from countermark.choosing import Interpreter, Wanted
from countermark.cli.connecting import (
    Asked,
    FirstUseOption,
    RepositoryOption,
    RootOption,
    connect,
    opened,
    this_interpreter,
)
from countermark.cli.screen import Screen
from countermark.core.errors import INTEGRITY_ONLY, UsageFault
from countermark.core.names import InvalidName, parse_project_name
from countermark.publish import printable
from countermark.transport import Transport
from countermark.unproven import find_unproven, place_unproven

_LEVELS = (
    logging.CRITICAL + 10, logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG,
)  # fmt: skip
_LOUD = (
    "WARNING: verification is DISABLED. Whoever controls the registry, its store or the line to it decides what {file} "
    "is. Use this only when verification itself is broken, never when it refuses something."
)

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


class _Leveled(Screen):
    """Tells notes and steps at the level that `-v` asks for; failures always."""

    def __init__(self, verbose: int) -> None:
        super().__init__(full_table=True, quiet=True)
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        # Ours and the TUF library's: what HTTP libraries write may hold credentials.
        for name in ("countermark", "tuf"):
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = [handler], False
            logger.setLevel(_LEVELS[min(verbose, len(_LEVELS) - 1)])
        self._log = logging.getLogger("countermark.downloader")

    def notify(self, text: str) -> None:
        """Tell a note as a warning."""
        self._log.warning("%s", printable(text))

    def step(self, step: Step) -> None:
        """Tell a finished step."""
        facts = ", ".join(f"{name}={value}" for name, value in step.facts.items())
        self._log.info("%s: %s", step.name, printable(facts))


@app.command()
def download(  # noqa: PLR0913, PLR0917 - a command has an argument for each of its options
    name: Annotated[str, typer.Argument(metavar="NAME", help="The project.")],
    version: Annotated[
        str | None,
        typer.Option("--version", metavar="V", help="Exactly this one, as PEP 440 writes it; else the latest."),
    ] = None,
    repository: RepositoryOption = None,
    dest: Annotated[Path, typer.Option("--dest", help="The folder to place the file in.")] = Path(),
    root: RootOption = None,
    first_use: FirstUseOption = False,
    force: Annotated[bool, typer.Option("--force", help="Fetch the file although it lies there as signed.")] = False,
    ignore_python: Annotated[
        bool, typer.Option("--ignore-python-version", help="Take a file that is for other Pythons, too.")
    ] = False,
    unsafe: Annotated[
        bool,
        typer.Option(
            "--unsafe-disable-verification",
            help="Prove NOTHING. Only for the day when verification itself is broken; needs --version; exit code 3.",
        ),
    ] = False,
    verbose: Annotated[int, typer.Option("-v", "--verbose", count=True, help="More words; up to -vvvvv.")] = 0,
) -> None:
    """Download one file, prove it, and print its path and nothing else.

    Exit codes: as of `countermark download`; 3 with --unsafe-disable-verification.
    """
    screen = _Leveled(verbose)
    interpreter = this_interpreter(any_version=ignore_python)
    with screen.guarded():
        wanted = _wanted(name, version)
        if unsafe:
            path = _unproven(wanted, repository, dest, interpreter, screen)
        else:
            with opened(Asked(repository, root, first_use), screen) as here:
                (path,) = here.verifier.download(wanted, dest, interpreter, may_keep=not force)
    screen.result(str(path.absolute()))
    if unsafe:
        raise typer.Exit(INTEGRITY_ONLY)


def _wanted(name: str, version: str | None) -> Wanted:
    try:
        project = parse_project_name(name)
        exact = Version(version) if version is not None else None
    except (InvalidName, InvalidVersion) as error:
        raise UsageFault(str(error), "Name one project, and a version as PEP 440 writes it.") from error
    if exact is not None and str(exact) != version:
        raise UsageFault(f"{version} is not the canonical form of a version", f"Write {exact}.")
    return Wanted(project, exact)


def _unproven(wanted: Wanted, repository: str | None, dest: Path, interpreter: Interpreter, screen: Screen) -> Path:
    if wanted.version is None:
        raise UsageFault("--unsafe-disable-verification needs --version", "Only a signed target says what is latest.")
    typer.secho(_LOUD.format(file=wanted), err=True, fg="red", bold=True)
    connection = connect(repository, screen)
    with Transport(credentials=connection.credentials) as source:
        chosen, url = find_unproven(connection.location, wanted.project, wanted.version, interpreter, source)
        path = place_unproven(chosen, url, dest, source)
    typer.secho(f"NOT VERIFIED: {path} [exit {INTEGRITY_ONLY}]", err=True, fg="red", bold=True)
    return path
