"""`countermark hold`: what an index holds back, and leave for some of it to be shown."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from countermark.cli.connecting import IndexOption, JsonOption, TokenOption, connect
from countermark.cli.explaining import held_words
from countermark.cli.screen import Screen
from countermark.core.errors import UsageFault
from countermark.registry import index_path
from countermark.requirements import parse_requirement

app = typer.Typer(
    help="List what is held back, and let some of it be shown before it is old enough. The latter needs the right to "
    "configure the index whose rule it is.",
    no_args_is_help=True,
)


@app.command("list")
def list_holds(
    repository: IndexOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what of the projects that were asked for is held back now, with its rule and when it ends."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        connection = connect(repository, screen, token)
        for item in connection.registry().items(index_path(connection.location.index, "holds"), limit=100):
            screen.object(item)
            hidden = item.get("hidden")
            why = held_words(hidden) if isinstance(hidden, dict) else ""
            screen.row(str(item.get("project")), str(item.get("version") or "*"), why)


@app.command()
def exempt(
    what: Annotated[str, typer.Argument(metavar="PROJECT[==V]", help="A project, or one release of it.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is on record and shown.")],
    days: Annotated[int, typer.Option("--days", min=1, max=90, help="For how long.")] = 7,
    repository: IndexOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a project, or a release of it, be shown in an index before it is old enough there."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        wanted = parse_requirement(what, screen.notify)
        if wanted is None or (wanted.version is None and wanted.versions):
            raise UsageFault(f"{what!r} names no project or release", "Write PROJECT or PROJECT==VERSION.")
        connection = connect(repository, screen, token)
        version = None if wanted.version is None else str(wanted.version)
        body = {"project": wanted.project, "version": version, "reason": reason, "days": days}
        made = connection.registry().create(index_path(connection.location.index, "exemptions"), body).document
    screen.result(f"exempt {wanted} until {made.get('until')}: {made.get('id')}")
    screen.object(made)


@app.command()
def exemptions(
    repository: IndexOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the exemptions that hold, those that end first before the others."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        connection = connect(repository, screen, token)
        for item in connection.registry().items(index_path(connection.location.index, "exemptions")):
            screen.object(item)
            what = f"{item.get('project')}" + (f"=={item['version']}" if item.get("version") else "")
            cells = (item.get("id"), what, item.get("until"), item.get("owner"), item.get("reason"))
            screen.row(*map(str, cells))


@app.command()
def revoke(
    exemption: Annotated[str, typer.Argument(metavar="ID", help="As `hold exemptions` shows it.")],
    repository: IndexOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """End an exemption now."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        try:
            named = UUID(exemption)
        except ValueError as error:
            raise UsageFault(f"{exemption!r} is no exemption's id", "See `countermark hold exemptions`.") from error
        connection = connect(repository, screen, token)
        path = index_path(connection.location.index, "exemptions", str(named))
        connection.registry().change("DELETE", path)
    screen.result(f"revoked {named}")
    screen.object({"id": str(named), "state": "revoked"})
