"""`python -m deploy.stack`: the real profile on this machine, until Ctrl-C. Exit codes: see `deploy.launch`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from deploy.errors import LaunchError, UsageError
from deploy.processes import end_with_parent
from deploy.settings_source import Sources, load
from deploy.stack.programs import cache_folder, ensure_programs
from deploy.stack.stack import Options, up

_OWN = ("data", "listen.", "database.", "queue.", "objects.", "upstreams.", "outside_")
"""Beginnings of settings that lead from part to part."""


def main(arguments: Sequence[str]) -> int:
    """Run, and return the exit code."""
    parsed = _parser().parse_args(arguments)
    if parsed.end_with_parent:
        end_with_parent()
    try:
        options = _options(parsed)
        programs = ensure_programs(cache_folder(os.environ), _tell)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(up(options, programs, _say))
    except LaunchError as error:
        for line in str(error).splitlines():
            _tell(line)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.stack", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data-stack"), help="the data folder (./data-stack)")
    parser.add_argument("--api-port", type=int, default=3141, help="port of the host for machines (3141)")
    parser.add_argument("--ui-port", type=int, default=3142, help="port of the host for people (3142)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting; can be repeated")
    parser.add_argument("--end-with-parent", action="store_true", help="stop when the calling process ends")
    return parser


def _options(parsed: argparse.Namespace) -> Options:
    given: dict[str, str] = {}
    for pair in parsed.set:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set {pair}: write it as key=value, for example --set downloads.redirect=true")
        if key.startswith(_OWN):
            raise UsageError(f"--set {key}: the stack decides that itself")
        given[key] = value
    # A wrong setting is told before anything is started. No settings file is looked for.
    ports = {"listen.api_port": str(parsed.api_port), "listen.ui_port": str(parsed.ui_port)}
    load(Sources({**given, **ports, "data": os.devnull}, {}))
    programs = os.path.relpath(Path(sys.executable).parent)
    return Options(parsed.data.absolute(), parsed.api_port, parsed.ui_port, given, f"{programs}/")


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _tell(text: str) -> None:
    sys.stderr.write(f"countermark: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
