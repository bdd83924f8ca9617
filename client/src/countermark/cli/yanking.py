"""`countermark yank` and `countermark unyank`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import typer

from countermark.cli.connecting import Connection, IndexOption, JsonOption, TokenOption, WaitOption, connect
from countermark.cli.screen import Screen
from countermark.core.errors import UsageFault
from countermark.core.filenames import parse_distribution
from countermark.core.names import InvalidName
from countermark.registry import PENDING, Registry, index_path
from countermark.requirements import parse_requirement

ReleaseArgument = Annotated[str, typer.Argument(metavar="PROJECT==V", help="The release.")]
FileOption = Annotated[str | None, typer.Option("--file", metavar="NAME", help="This file of the release only.")]


@dataclass(frozen=True, slots=True)
class _Place:
    path: str
    what: str


@dataclass(frozen=True, slots=True)
class _Change:
    method: str
    path: str
    body: Mapping[str, object] | None = None


def yank(  # noqa: PLR0913, PLR0917 - a command has an argument for each of its options
    release: ReleaseArgument,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; installers show it.")] = None,
    file: FileOption = None,
    repository: IndexOption = None,
    token: TokenOption = None,
    wait: WaitOption = 30,
    as_json: JsonOption = False,
) -> None:
    """Advise against a release: installers take it only where exactly this version is asked for."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        connection = connect(repository, screen, token)
        registry = connection.registry()
        place = _place(connection, release, file, screen)
        change = _Change("POST", place.path, {"reason": reason})
        _say(screen, f"yanked {place.what}", _settled(registry, change, wait))


def unyank(
    release: ReleaseArgument,
    file: FileOption = None,
    repository: IndexOption = None,
    token: TokenOption = None,
    wait: WaitOption = 30,
    as_json: JsonOption = False,
) -> None:
    """Take a yank back."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        connection = connect(repository, screen, token)
        registry = connection.registry()
        place = _place(connection, release, file, screen)
        _say(screen, f"unyanked {place.what}", _settled(registry, _Change("DELETE", place.path), wait))


def _place(connection: Connection, release: str, file: str | None, screen: Screen) -> _Place:
    wanted = parse_requirement(release, screen.notify)
    if wanted is None or wanted.version is None:
        raise UsageFault(f"{release!r} names no release", "Write PROJECT==VERSION.")
    segments = ["projects", wanted.project, "releases", str(wanted.version)]
    if file is not None:
        try:
            named = parse_distribution(file)
        except InvalidName as error:
            raise UsageFault(str(error), "Name a file of the release with --file.") from error
        if (named.project, named.version) != (wanted.project, wanted.version):
            raise UsageFault(f"{file} is no file of {wanted}", "Correct or drop --file.")
        segments += ["files", file]
    return _Place(index_path(connection.location.index, *segments, "yank"), file or str(wanted))


def _settled(registry: Registry, change: _Change, wait: int) -> Mapping[str, object]:
    """Make a change; return its state once its publication is served, or when the time is up.

    The same change again is harmless, and its answer tells whether the publication has come meanwhile.
    """
    deadline, pause = time.monotonic() + wait, 0.5
    while True:
        seen = registry.change(change.method, change.path, change.body).document
        left = deadline - time.monotonic()
        if seen.get("state") not in PENDING or left <= 0:
            return seen
        time.sleep(min(pause, left))
        pause = min(pause * 2, 4.0)


def _say(screen: Screen, words: str, seen: Mapping[str, object]) -> None:
    state = str(seen.get("state"))
    if state in PENDING:
        screen.notify("it is recorded and will be published soon")
    screen.result(f"{words}: {state}" + (f", serial {seen['serial']}" if seen.get("serial") is not None else ""))
    screen.object({"change": words, "state": state, "serial": seen.get("serial")})
