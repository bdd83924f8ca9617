"""What all commands share: where settings come from, how a command's module is loaded and run, how errors are told."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.errors import UsageError
from deploy.settings_source import LoadedSettings, Sources, load

DataOption = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="The data folder.", show_default="./data")
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="A TOML file.", show_default="countermark.toml in the data folder"),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting, for example listen.host=0.0.0.0; can be repeated."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def new_group(text: str, *, needs_command: bool = True) -> typer.Typer:
    """Return a group of commands that behaves as all of ours do.

    Args:
        needs_command: print the help when no command is given; else the group is a command itself.
    """
    return typer.Typer(
        help=text,
        no_args_is_help=needs_command,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )


def load_settings(
    data: Path | None, config: Path | None, pairs: list[str] | None, more: Mapping[str, object] | None = None
) -> LoadedSettings:
    """Build the settings from a command's options and the environment.

    Args:
        more: setting -> value of an option of its own; None where the option was not given.

    Raises:
        UsageError: something is unknown, unreadable or out of range.
    """
    given: dict[str, str] = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set {pair}: write it as key=value, for example --set listen.api_port=4000")
        given[key] = value
    given |= {key: str(value) for key, value in (more or {}).items() if value is not None}
    if data is not None:
        given["data"] = str(data)
    return load(Sources(given, os.environ, config))


def function(name: str) -> Callable[..., Any]:
    """Load what a command needs, by `module.function`, when the command is chosen.

    By name, since loading all services takes over a second and `--help` or a mistyped option should not.
    """
    module, _, attribute = name.rpartition(".")
    found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return found


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a command's coroutine and return its result."""
    return asyncio.run(work)


def say(text: str) -> None:
    """Write to standard output at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def say_json(document: object) -> None:
    """Write a document as JSON."""
    say(json.dumps(document, indent=2, default=str) + "\n")


def say_table(rows: Sequence[Mapping[str, object]], columns: tuple[str, ...], *, as_json: bool) -> None:
    """Write rows: as JSON with every member, or the named columns for people."""
    if as_json:
        say_json(rows)
        return
    texts = [columns, *(tuple("" if row[name] is None else str(row[name]) for name in columns) for row in rows)]
    widths = [max(len(row[position]) for row in texts) for position in range(len(columns))]
    for row in texts:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")
