"""`countermark verify`, and the end of a run that proves something."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from countermark.cli.connecting import (
    Asked,
    BaseOption,
    FirstUseOption,
    JsonOption,
    PolicyOption,
    RepositoryOption,
    RootOption,
    opened,
)
from countermark.cli.screen import Screen
from countermark.core.errors import INTEGRITY_ONLY
from countermark.verification import PolicyMode


def verify(  # noqa: PLR0913, PLR0917 - a command has an argument for each of its options
    file: Annotated[Path, typer.Argument(help="A wheel or sdist under the name it has in the index.")],
    repository: RepositoryOption = None,
    root: RootOption = None,
    first_use: FirstUseOption = False,
    bases: BaseOption = None,
    policy: PolicyOption = PolicyMode.SIGNED,
    as_json: JsonOption = False,
) -> None:
    """Prove a local file against an index, and print its path.

    Exit codes as of `download`.
    """
    screen = Screen(as_json=as_json, full_table=True)
    with screen.guarded(), opened(Asked(repository, root, first_use, policy, bases=bases), screen) as here:
        here.verifier.verify(file)
    screen.result(str(file))
    finish(screen, policy, "proven" if policy is PolicyMode.SIGNED else "digest matches")


def finish(screen: Screen, policy: PolicyMode, words: str) -> None:
    """Say what was proven, and end with the code of it."""
    if policy is PolicyMode.NONE:
        screen.tell(f"{words}; integrity only, no policy was checked [exit {INTEGRITY_ONLY}]")
        screen.object({"step": "done", "ok": True, "exit": INTEGRITY_ONLY})
        raise typer.Exit(INTEGRITY_ONLY)
    screen.tell(f"{words}: metadata, pointer, length and digest; no attestation is demanded by the registry's policy")
    screen.object({"step": "done", "ok": True, "exit": 0})
