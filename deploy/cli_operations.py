"""Commands for operators: settings, jobs, the published tree."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli_common import (
    ConfigOption,
    DataOption,
    JsonOption,
    SetOption,
    function,
    load_settings,
    new_group,
    run,
    say,
    say_table,
)
from deploy.errors import UsageError

configuration = new_group("Settings.")
jobs = new_group("Work that waits, or that was given up.")
trees = new_group("The published trees.")


@configuration.command("show")
def show_config(
    *, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None, pairs: SetOption = None
) -> None:
    """Print every setting, and where its value comes from; secrets are masked."""
    listing = load_settings(data, config, pairs).listing()
    rows = [{"setting": entry.key, "value": entry.value, "from": entry.origin} for entry in listing]
    say_table(rows, ("setting", "value", "from"), as_json=as_json)


def check_config(*, data: DataOption = None, config: ConfigOption = None, pairs: SetOption = None) -> None:
    """Check the settings and end: 0 when they can be used."""
    load_settings(data, config, pairs)
    say("the settings are valid\n")


@jobs.command("list")
def list_jobs(
    *, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None, pairs: SetOption = None
) -> None:
    """List the newest jobs that wait or run."""
    rows = run(function("deploy.administration.list_jobs")(load_settings(data, config, pairs).settings, dead=False))
    say_table(rows, ("id", "kind", "created_at", "attempts", "last_error"), as_json=as_json)


@jobs.command("dead")
def list_dead_jobs(
    *, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None, pairs: SetOption = None
) -> None:
    """List the newest jobs that failed too often and were given up."""
    rows = run(function("deploy.administration.list_jobs")(load_settings(data, config, pairs).settings, dead=True))
    say_table(rows, ("id", "kind", "created_at", "attempts", "dead_at", "last_error"), as_json=as_json)


@jobs.command("retry")
def retry_jobs(
    job: Annotated[int | None, typer.Argument(metavar="[ID]", help="As jobs dead prints it.")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Every job that was given up.")] = False,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Run a job again that was given up."""
    if (job is None) is not every:
        raise UsageError("name one job by its ID, or use --all")
    settings = load_settings(data, config, pairs).settings
    count = run(function("deploy.administration.retry_jobs")(settings, job))
    say(f"{count} to be run again\n")


BITS_HELP = "Bins as a power of two: 8 is 256 bins, 10 is 1024, 12 is 4096."


def bins(  # noqa: PLR0913 - each is an option of the command line
    bits: Annotated[int, typer.Argument(metavar="BITS", min=1, max=14, help=BITS_HELP)],
    *,
    index: Annotated[str | None, typer.Option(metavar="OWNER/NAME", help="Only this index.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only show what it would do.")] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Change how many hash bins indexes have, beside a running server; uploads wait while an index is moved."""
    settings = load_settings(data, config, pairs).settings
    if yes:
        run(function("deploy.rebinning.change_bins")(settings, bits, index, say))
        return
    rows = run(function("deploy.rebinning.plan_bins")(settings, bits, index))
    columns = ("index", "bins", "bin_bytes", "largest_bin", "snapshot", "new_bins", "new_bin_bytes", "new_snapshot")
    say_table(rows, columns, as_json=as_json)
    if not as_json:
        say("nothing was changed: add --yes to do it (sizes in bytes, before compression)\n")


def rebuild(
    index: Annotated[str | None, typer.Argument(metavar="[OWNER/NAME]", help="Only this index.")] = None,
    *,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Lay the published tree again from the catalogue and the files, beside a running server."""
    settings = load_settings(data, config, pairs).settings
    for line in run(function("deploy.rebuilding.rebuild")(settings, index)):
        say(f"{line}\n")


@trees.command("copy")
def copy_tree(
    index: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Which index.")],
    folder: Annotated[Path, typer.Argument(file_okay=False, help="Where to; made when missing, completed when not.")],
    *,
    pages: Annotated[bool, typer.Option("--pages/--no-pages", help="The static pages too, for installers.")] = True,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Copy an index's tree into a folder to serve elsewhere, in the order in which no reader ever sees half of it."""
    settings = load_settings(data, config, pairs).settings
    say(run(function("deploy.copying.copy_to_folder")(settings, index, folder, pages=pages)) + "\n")
