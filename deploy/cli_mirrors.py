"""Commands about the caches of mirrors; they work beside a running server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli_common import ConfigOption, DataOption, SetOption, function, load_settings, new_group, run, say
from deploy.errors import UsageError
from shared.formats.python.targets import InvalidTarget, Targets, parse_targets

mirrors = new_group("Fill the caches of mirrors, and see what they would miss.")

FilesArgument = Annotated[
    list[Path],
    typer.Argument(metavar="FILE...", help="requirements.txt, uv.lock, pylock.toml or poetry.lock"),
]
IndexOption = Annotated[
    str,
    typer.Option(
        "--index", metavar="OWNER/INDEX", help="What machines install from: a mirror, or what is based on one."
    ),
]
PythonOption = Annotated[
    list[str] | None, typer.Option("--python", metavar="VERSION", help="Of the machines, 3.12; may be given often.")
]
PlatformOption = Annotated[
    list[str] | None,
    typer.Option(
        "--platform",
        metavar="TAG",
        help="Of the machines, as in wheel names: manylinux_2_28_x86_64; may be given often. Without any, every file.",
    ),
]


@mirrors.command("warm")
def warm(  # noqa: PLR0913 - each is an option of the command line
    files: FilesArgument,
    *,
    index: IndexOption = "root/stable",
    python: PythonOption = None,
    platform: PlatformOption = None,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Fetch what lock files name, so that builds go through when the upstream is away."""
    settings = load_settings(data, config, pairs).settings
    order = function("deploy.mirrors.warming.Order")(index, files, _targets(python, platform))
    run(function("deploy.mirrors.warming.warm")(settings, order, say))


@mirrors.command("check")
def check(  # noqa: PLR0913 - each is an option of the command line
    files: FilesArgument,
    *,
    index: IndexOption = "root/stable",
    python: PythonOption = None,
    platform: PlatformOption = None,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Say what lock files would miss with the upstream cut; nothing is fetched."""
    settings = load_settings(data, config, pairs).settings
    order = function("deploy.mirrors.warming.Order")(index, files, _targets(python, platform))
    run(function("deploy.mirrors.warming.check")(settings, order, say))


def _targets(pythons: list[str] | None, platforms: list[str] | None) -> Targets:
    try:
        return parse_targets(pythons or [], platforms or [])
    except InvalidTarget as error:
        raise UsageError(str(error)) from error
