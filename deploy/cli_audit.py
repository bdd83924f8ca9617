"""Commands about the audit; they read the catalogue, beside a running server or with a database of the settings."""

from __future__ import annotations

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
    say_json,
)

audits = new_group("The record of what changed trust and rights, and its proof.")

OutOption = Annotated[
    str, typer.Option("--out", metavar="FILE", help="A new file, readable by you alone; - for standard output.")
]
FromOption = Annotated[int | None, typer.Option("--from", min=1, metavar="N", help="Begin at this position.")]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Begin with the first row from this time on: 2026-01-31[T12:00Z]."),
]


@audits.command("verify")
def verify(
    *, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None, pairs: SetOption = None
) -> None:
    """Hash the whole audit again and compare it with every head that was published: 0 when it holds, else 1."""
    found = run(function("deploy.auditing.verify")(load_settings(data, config, pairs).settings))
    if as_json:
        say_json(found)
    elif found["head"] is None:
        say(f"{found['rows']} rows are one unbroken chain; no head of it was published yet\n")
    else:
        head = found["head"]
        say(
            f"{found['rows']} rows are one unbroken chain and agree with {found['heads']} published heads; "
            f"the newest is of position {head['position']}, {head['at']}\n"
        )


@audits.command("export")
def export(
    *,
    out: OutOption,
    start: FromOption = None,
    since: SinceOption = None,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Write the audit as JSON lines with its hashes, for `countermark audit verify` on any machine."""
    settings = load_settings(data, config, pairs).settings
    done = run(function("deploy.auditing.export")(settings, out, start, since))
    if out != "-":
        say(f"{done} rows in {out}\n")
