"""`countermark conformance`: the surface that TUF conformance suites call. Source: trust contract section 3.4."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from countermark import conformance as suite
from countermark.cli.screen import Screen
from countermark.core.errors import ClientError, UsageFault
from countermark.transport import Transport

_T = TypeVar("_T")


class Action(StrEnum):
    """What a suite asks for."""

    INIT = "init"
    REFRESH = "refresh"
    DOWNLOAD = "download"


class OneOrZero(TyperCommand):
    """A command whose faults of usage end with 1: suites know no other failure."""

    def make_context(self, *args: Any, **settings: Any) -> Any:
        """Read the arguments as ever; see the class."""
        try:
            return super().make_context(*args, **settings)
        except Exception as error:
            # Typer has its own copy of click and does not name the class; what it has is the exit code.
            if getattr(error, "exit_code", 0) == UsageFault.exit_code:
                vars(error)["exit_code"] = 1
            raise


def conformance(  # noqa: PLR0913, PLR0917 - a command has an argument for each of its options
    action: Annotated[Action, typer.Argument(help="init ROOT copies a root; refresh; download.")],
    root: Annotated[Path | None, typer.Argument(metavar="[ROOT]", help="With init: the root file to trust.")] = None,
    metadata_url: Annotated[str | None, typer.Option("--metadata-url", help="Where the metadata lie.")] = None,
    metadata_dir: Annotated[Path | None, typer.Option("--metadata-dir", help="The folder of trusted metadata.")] = None,
    names: Annotated[list[str] | None, typer.Option("--target-name", help="A target path; again for more.")] = None,
    target_dir: Annotated[Path | None, typer.Option("--target-dir", help="The folder for targets.")] = None,
    target_base_url: Annotated[str | None, typer.Option("--target-base-url", help="Where the targets lie.")] = None,
) -> None:
    """Run the plain TUF workflow as conformance suites ask for it: no index, no pointers, no policy.

    Exit codes: 0 success, 1 any failure.
    """
    screen = Screen()
    try:
        folder = _given(metadata_dir, "--metadata-dir")
        if action is Action.INIT:
            suite.initialise(folder, _given(root, "the root file"))
            return
        if root is not None:
            raise UsageFault(f"{action} takes no further argument")
        where = suite.Plain(_given(metadata_url, "--metadata-url"), folder)
        with Transport() as source:
            if action is Action.REFRESH:
                suite.refresh(where, source)
                return
            paths, into = _given(names, "--target-name"), _given(target_dir, "--target-dir")
            base = _given(target_base_url, "--target-base-url")
            suite.download(where, suite.Artifacts(paths, base, into), source)
    except ClientError as error:
        screen.failure(error)
        raise typer.Exit(1) from error


def _given(value: _T | None, name: str) -> _T:
    if not value:
        raise UsageFault(f"{name} is missing")
    return value
