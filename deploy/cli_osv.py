"""Commands about the advisories that are served; they work beside a running server."""

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

advisories = new_group("Advisories about known vulnerabilities, from a snapshot of OSV.")

SourceArgument = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="The all.zip that OSV exports for PyPI, a folder of .json, one .json, or .jsonl."
    ),
]
LenientOption = Annotated[bool, typer.Option("--lenient", help="Leave out what cannot be read, and import the rest.")]


@advisories.command("import")
def import_snapshot(
    source: SourceArgument,
    *,
    lenient: LenientOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Serve the advisories of a snapshot, in place of those that are served; all of it, or nothing."""
    settings = load_settings(data, config, pairs).settings
    run(function("deploy.osv.importing.import_snapshot")(settings, source, say, lenient=lenient))


@advisories.command("status")
def status(
    *, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None, pairs: SetOption = None
) -> None:
    """Say which snapshot is served."""
    row = run(function("deploy.osv.importing.status")(load_settings(data, config, pairs).settings))
    if row is None and not as_json:
        say("nothing was imported yet: countermark-server osv import FILE\n")
        return
    columns = ("advisories", "left_out", "newest", "imported", "from")
    say_table([] if row is None else [row], columns, as_json=as_json)
