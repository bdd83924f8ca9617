"""Commands about the signed policy; they read the catalogue, beside a running server or with that of the settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

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
)
from shared.settings import Settings

policies = new_group("The signed policy: what a proposed one would refuse.")

PolicyOption = Annotated[Path, typer.Option("--policy", metavar="FILE", help="The proposed policy, not yet signed.")]
IndexOption = Annotated[str | None, typer.Option("--index", metavar="OWNER/NAME", help="Files of this index alone.")]


@policies.callback()
def policy() -> None:
    """Say what a policy would do before key holders sign it; nothing is changed."""


@policies.command("dry-run")
def dry_run(
    *,
    policy: PolicyOption,
    index: IndexOption = None,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Evaluate a proposed policy on every hosted file and list what it would refuse: 0 when nothing, else 1.

    Attestations are read and verified again, as upload, signing and download do; no file is read. With --json one
    object a line, the counts last.
    """
    settings = load_settings(data, config, pairs).settings
    counts = run(_told(settings, policy, index, as_json=as_json))
    if counts["refused"]:
        raise typer.Exit(1)


async def _told(settings: Settings, policy: Path, index: str | None, *, as_json: bool) -> dict[str, Any]:
    """Write what would be refused as it is found, since it may be more than memory holds; returns the counts."""
    async with function("deploy.dry_running.dry_run")(settings, policy, index) as (counts, refused):
        async for one in refused:
            document = one.to_document()
            say(json.dumps(document) + "\n" if as_json else _line(document))
    found: dict[str, Any] = counts.to_document()
    say(json.dumps(found) + "\n" if as_json else _summary(found))
    return found


def _line(one: dict[str, Any]) -> str:
    sign = "newly refused" if one["new"] else "refused"
    about = f"{one['index']} {one['project']} {one['version']} {one['file']}"
    return f"{sign}: {about}: {one['reason']} [exit {one['exit_code']}]\n"


def _summary(found: dict[str, Any]) -> str:
    codes = ", ".join(f"{count} with {code}" for code, count in found["refused_by_code"].items())
    text = (
        f"{found['files']} files: {found['taken']} taken ({found['taken_without_evidence']} of them without evidence), "
        f"{found['refused']} refused{f' ({codes})' if codes else ''}, {found['newly_refused']} of them taken today\n"
    )
    if found["taken_by_own_summary"]:
        text += (
            f"{found['taken_by_own_summary']} of those taken are so by clients alone, on this registry's own summary\n"
        )
    if found["unreadable_attestations"]:
        text += (
            f"{found['unreadable_attestations']} attestations did not count: the object store lacks them or has other "
            "bytes\n"
        )
    return text
