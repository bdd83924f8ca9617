"""`countermark download` and `countermark verify`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from packaging.tags import sys_tags
from packaging.version import InvalidVersion, Version

from countermark.cache import Cache
from countermark.cli.screen import Screen
from countermark.core.errors import INTEGRITY_ONLY, UsageFault
from countermark.core.filenames import parse_distribution
from countermark.core.names import InvalidName, parse_project_name
from countermark.credentials import find_credentials
from countermark.location import parse_location
from countermark.roots import PinStore, RootChoice
from countermark.settings import read_settings
from countermark.transport import Transport
from countermark.verification import Interpreter, PolicyMode, Repository, Verifier, Wanted

RepositoryOption = Annotated[
    str | None,
    typer.Option(
        "--repository",
        metavar="URL",
        help="Index URL (https://host/owner/index) or static tree (.../indexes/owner/index; a folder too). "
        "Default: COUNTERMARK_REPOSITORY.",
    ),
]
RootOption = Annotated[Path | None, typer.Option("--root", help="Start from this root file instead of the pinned one.")]
FirstUseOption = Annotated[
    bool, typer.Option("--trust-on-first-use", help="Trust the root served now, when none is pinned yet.")
]
PolicyOption = Annotated[
    PolicyMode, typer.Option("--policy", help="'none' stops after the digest and exits with 3 (integrity only).")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object for each step.")]


@dataclass(frozen=True, slots=True)
class _Asked:
    repository: str | None
    root: Path | None
    first_use: bool
    policy: PolicyMode


def download(  # noqa: PLR0913, PLR0917 - a command has an argument for each of its options
    requirement: Annotated[
        str, typer.Argument(metavar="NAME[==VERSION]", help="The project; without a version, its latest.")
    ],
    repository: RepositoryOption = None,
    dest: Annotated[Path, typer.Option("--dest", help="The folder to place files in.")] = Path(),
    file: Annotated[str | None, typer.Option("--file", metavar="NAME", help="This file, by its name.")] = None,
    all_files: Annotated[bool, typer.Option("--all", help="All files of the release.")] = False,
    root: RootOption = None,
    first_use: FirstUseOption = False,
    policy: PolicyOption = PolicyMode.SIGNED,
    as_json: JsonOption = False,
) -> None:
    """Download a file, prove it, and print its path.

    Nothing appears in the folder before every step has passed.

    Exit codes: 0 proven, 2 usage, 3 integrity only (--policy none), 10 network, 11 no such target, 20-23 metadata,
    30-31 pointer, 40-41 file, 50-62 evidence, 70 this machine.
    """
    screen = Screen(as_json=as_json, full_table=True)
    with screen.guarded():
        wanted = _wanted(requirement, file, all_files)
        with _verifier(_Asked(repository, root, first_use, policy), screen) as verifier:
            placed = verifier.download(wanted, dest, _interpreter())
    for path in placed:
        screen.result(str(path))
    _finish(screen, policy, f"{len(placed)} file(s) proven" if policy is PolicyMode.SIGNED else "digests match")


def verify(
    file: Annotated[Path, typer.Argument(help="A wheel or sdist under the name it has in the index.")],
    repository: RepositoryOption = None,
    root: RootOption = None,
    first_use: FirstUseOption = False,
    policy: PolicyOption = PolicyMode.SIGNED,
    as_json: JsonOption = False,
) -> None:
    """Prove a local file against an index, and print its path.

    Exit codes as of `download`.
    """
    screen = Screen(as_json=as_json, full_table=True)
    with screen.guarded(), _verifier(_Asked(repository, root, first_use, policy), screen) as verifier:
        verifier.verify(file)
    screen.result(str(file))
    _finish(screen, policy, "proven" if policy is PolicyMode.SIGNED else "digest matches")


@contextlib.contextmanager
def _verifier(asked: _Asked, screen: Screen) -> Iterator[Verifier]:
    settings = read_settings(os.environ)
    url = settings.repository_or(asked.repository, "--repository")
    location = parse_location(url)
    credentials = find_credentials(url, settings.secrets_for(url), screen.notify)
    with Transport(credentials=credentials) as source:
        repository = Repository(
            location=location,
            source=source,
            cache=Cache(settings.cache_folder),
            pins=PinStore(settings.pins_folder),
            choice=RootChoice(asked.root or settings.root, asked.first_use),
            notify=screen.notify,
        )
        yield Verifier(repository, asked.policy, screen.step)


def _finish(screen: Screen, policy: PolicyMode, words: str) -> None:
    if policy is PolicyMode.NONE:
        screen.tell(f"{words}; integrity only, no policy was checked [exit {INTEGRITY_ONLY}]")
        screen.object({"step": "done", "ok": True, "exit": INTEGRITY_ONLY})
        raise typer.Exit(INTEGRITY_ONLY)
    screen.tell(f"{words}: metadata, pointer, length and digest; no attestation is demanded by the registry's policy")
    screen.object({"step": "done", "ok": True, "exit": 0})


def _wanted(requirement: str, file: str | None, all_files: bool) -> Wanted:
    if file and all_files:
        raise UsageFault("--file and --all exclude each other")
    name, equal, version = requirement.partition("==")
    try:
        return Wanted(
            project=parse_project_name(name.strip()),
            version=Version(version.strip()) if equal else None,
            file=parse_distribution(file) if file else None,
            all_files=all_files,
        )
    except (InvalidName, InvalidVersion) as error:
        raise UsageFault(f"cannot read {requirement!r}: {error}", "Write NAME or NAME==VERSION.") from error


def _interpreter() -> Interpreter:
    return Interpreter(Version(".".join(map(str, sys.version_info[:3]))), tuple(sys_tags()))
