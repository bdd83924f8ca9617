"""Commands that bring in what another registry holds; they work beside a running server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli_common import ConfigOption, DataOption, SetOption, function, load_settings, new_group, run, say
from deploy.errors import UsageError

imports = new_group("Bring in what another registry holds: accounts, indexes, files.")

ReportOption = Annotated[
    Path | None, typer.Option("--report", metavar="FILE", help="Write a JSON line for each thing that was looked at.")
]
CheckOption = Annotated[bool, typer.Option("--check", help="Look at everything, and write nothing.")]
SkipOption = Annotated[bool, typer.Option("--skip-bad", help="Leave out what cannot come in, and import the rest.")]
PrivateOption = Annotated[bool, typer.Option("--private", help="New indexes are for those alone who have a right.")]
NoWaitOption = Annotated[bool, typer.Option("--no-wait", help="Do not wait until everything is signed.")]
IntoOption = Annotated[str, typer.Option("--into", metavar="OWNER/INDEX", help="Made when it is not there.")]
RENAME_HELP = "Give an account, or an index (owner/name), another name here."


@imports.command("devpi")
def import_devpi(  # noqa: PLR0913 - each is an option of the command line
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What devpi-export made.")],
    *,
    report: ReportOption = None,
    check: CheckOption = False,
    skip_bad: SkipOption = False,
    rename: Annotated[list[str] | None, typer.Option("--rename", metavar="OLD=NEW", help=RENAME_HELP)] = None,
    private: PrivateOption = False,
    no_wait: NoWaitOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Import an export of devpi-server: accounts with passwords, indexes, files, documentation, test results.

    Everything is checked before anything is written. The same command again goes on where it was cut.
    """
    settings = load_settings(data, config, pairs).settings
    renames = _renames(rename or [])
    options = _options(report, check=check, skip_bad=skip_bad, private=private, wait=not no_wait, renames=renames)
    run(function("deploy.importing.devpi.import_devpi")(settings, folder, options, say))


@imports.command("simple")
def import_simple(  # noqa: PLR0913 - each is an option of the command line
    url: Annotated[str, typer.Argument(metavar="URL", help="Of the list of projects: https://host/simple/")],
    *,
    into: IntoOption,
    project: Annotated[list[str] | None, typer.Option("--project", help="Only this one; may be given often.")] = None,
    report: ReportOption = None,
    private: PrivateOption = False,
    no_wait: NoWaitOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Import all files of a simple index (JSON or HTML), checked against its digests."""
    settings = load_settings(data, config, pairs).settings
    options = _options(report, private=private, wait=not no_wait)
    run(function("deploy.importing.simple.import_simple")(settings, url, into, project or [], options, say))


@imports.command("dir")
def import_dir(  # noqa: PLR0913 - each is an option of the command line
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Wheels and source archives, also in folders below.")
    ],
    *,
    into: IntoOption,
    report: ReportOption = None,
    check: CheckOption = False,
    skip_bad: SkipOption = False,
    private: PrivateOption = False,
    no_wait: NoWaitOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Import a folder of wheels and source archives."""
    settings = load_settings(data, config, pairs).settings
    options = _options(report, check=check, skip_bad=skip_bad, private=private, wait=not no_wait)
    run(function("deploy.importing.folder.import_folder")(settings, folder, into, options, say))


def _options(report: Path | None, **chosen: object) -> object:
    return function("deploy.importing.running.Options")(report=report, **chosen)


def _renames(pairs: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        old, equals, new = pair.partition("=")
        if not equals or not old or not new or old.count("/") != new.count("/"):
            raise UsageError(f"--rename {pair}: write it as old=new, or as old/index=new/index")
        found[old] = new
    return found
