"""`countermark approvals demand`: how many approvals an index or a project needs, and whose."""

from __future__ import annotations

from typing import Annotated

import typer

from countermark.cli.connecting import IndexOption, JsonOption, TokenOption, connect
from countermark.cli.screen import Screen
from countermark.core.errors import RegistryRefused, UsageFault
from countermark.core.names import IndexName, InvalidName, parse_project_name
from countermark.registry import index_path

app = typer.Typer(
    help="Say how many approvals files need. To change that takes the right to configure the index.",
    no_args_is_help=True,
)

ProjectOption = Annotated[
    str | None, typer.Option("--project", help="Of this project alone, in place of what the index demands.")
]


@app.command("list")
def list_demands(repository: IndexOption = None, token: TokenOption = None, as_json: JsonOption = False) -> None:
    """List what is demanded."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        connection = connect(repository, screen, token)
        found = connection.registry().get(index_path(connection.location.index, "approval-demands")).get("items")
        if not isinstance(found, list) or not all(map(_is_demand, found)):
            raise RegistryRefused("the registry answered no list of demands", "Is this the address of a registry?")
        for item in found:
            screen.object(item)
            people = ", ".join(item.get("people") or ["whoever may approve"])
            own = "uploaders count" if item.get("own") else ""
            screen.row(str(item.get("project") or "*"), f"{item.get('needed')} of {people}", own)


@app.command("set")
def set_demand(  # noqa: PLR0913, PLR0917 - a command has an argument for each of its options
    needed: Annotated[int, typer.Argument(min=1, max=50, help="Approvals that each file needs.")],
    people: Annotated[
        list[str] | None, typer.Option("--of", metavar="ACCOUNT", help="Whose count; default: whoever may approve.")
    ] = None,
    own: Annotated[bool, typer.Option("--own", help="Whoever brought a file may approve it.")] = False,
    project: ProjectOption = None,
    repository: IndexOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Demand approvals of what comes from now on, and of what waits."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        connection = connect(repository, screen, token)
        body = {"needed": needed, "people": people or None, "own": own}
        made = connection.registry().change("PUT", _path(connection.location.index, project), body).document
        screen.result(f"{project or connection.location.index} needs {needed} approvals for each file")
        screen.object(made)


@app.command("lift")
def lift_demand(
    project: ProjectOption = None,
    repository: IndexOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Demand nothing there any more; what waited for it alone is published."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        connection = connect(repository, screen, token)
        connection.registry().change("DELETE", _path(connection.location.index, project))
        screen.result(f"lifted the demand of {project or connection.location.index}")
        screen.object({"project": project, "state": "lifted"})


def _is_demand(item: object) -> bool:
    if not isinstance(item, dict):
        return False
    people = item.get("people") or []
    return isinstance(people, list) and all(isinstance(name, str) for name in people)


def _path(index: IndexName, project: str | None) -> str:
    if project is None:
        return index_path(index, "approval-demands")
    try:
        return index_path(index, "approval-demands", parse_project_name(project))
    except InvalidName as error:
        raise UsageFault(str(error), "Name a project with --project.") from error
