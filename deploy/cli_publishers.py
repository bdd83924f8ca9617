"""Commands about trusted publishers; they work beside a running server, or on the database of the settings."""

from __future__ import annotations

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
    say_json,
    say_table,
)
from deploy.errors import UsageError

publishers = new_group("Trusted publishers: CI jobs that may upload to a project without a token of anybody's.")

_ANY = "any"


@publishers.command("add")
def add_publisher(  # noqa: PLR0913 - each is an option of the command line
    index: Annotated[str, typer.Argument(metavar="OWNER/INDEX")],
    project: Annotated[str, typer.Argument(help="Need not exist yet: then the first upload makes it.")],
    *,
    github: Annotated[str | None, typer.Option(metavar="OWNER/NAME", help="A repository of GitHub.")] = None,
    gitlab: Annotated[str | None, typer.Option(metavar="GROUP/PROJECT", help="A project of GitLab.")] = None,
    workflow: Annotated[
        str | None, typer.Option(metavar="FILE", help="release.yml of GitHub, or the path of GitLab's CI file.")
    ] = None,
    environment: Annotated[str | None, typer.Option(help="The deployment environment.", show_default=_ANY)] = None,
    ref: Annotated[str | None, typer.Option(help="refs/heads/main, or refs/tags/*.", show_default=_ANY)] = None,
    ref_protected: Annotated[bool, typer.Option("--ref-protected", help="Protected branches and tags alone.")] = False,
    runner: Annotated[str | None, typer.Option(help="github-hosted or self-hosted.", show_default=_ANY)] = None,
    called_workflow: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME/PATH@REF", help="A reusable workflow that the workflow calls.")
    ] = None,
    repository_id: Annotated[str | None, typer.Option(help="Its id.", show_default="the first token's")] = None,
    owner_id: Annotated[str | None, typer.Option(help="Its owner's id.", show_default="the first token's")] = None,
    issuer: Annotated[
        str | None, typer.Option(metavar="URL", help="Of identity tokens.", show_default="the public forge's")
    ] = None,
    claim: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Of an issuer of its own; can be repeated.")
    ] = None,
    user: Annotated[str, typer.Option(help="Who vouches for it.")] = "root",
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Let a CI job upload to a project: of GitHub, of GitLab, or of an issuer whose claims are named."""
    given = {"github": github, "gitlab": gitlab, "generic": claim or None}
    kinds = [kind for kind, value in given.items() if value is not None]
    if len(kinds) != 1:
        raise UsageError("say who publishes by one of --github, --gitlab, or --issuer with --claim")
    settings = load_settings(data, config, pairs).settings
    wanted: dict[str, Any] = {
        "user": user,
        "kind": kinds[0],
        "issuer": issuer,
        "repository": github or gitlab,
        "workflow": workflow,
        "environment": environment,
        "ref": ref,
        "ref_protected": ref_protected,
        "runner_environment": runner,
        "called_workflow": called_workflow,
        "repository_id": repository_id,
        "owner_id": owner_id,
        "claims": claim or [],
    }
    made = run(function("deploy.publishing.add_publisher")(settings, index, project, wanted))
    if as_json:
        say_json(made)
        return
    say(f"{made['id']}\n")
    if environment is None and kinds[0] != "generic":
        say("any job of this workflow may publish: name an --environment that people guard\n")
    if made["pending_until"] is not None:
        say(f"{project} does not exist yet: the publisher waits for it until {made['pending_until']}\n")


@publishers.command("list")
def list_publishers(
    index: Annotated[str | None, typer.Argument(metavar="[OWNER/INDEX]", help="Only this index.")] = None,
    *,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """List trusted publishers."""
    rows = run(function("deploy.publishing.list_publishers")(load_settings(data, config, pairs).settings, index))
    columns = ("id", "index", "project", "kind", "subject", "user", "used_at", "pending_until")
    say_table(rows, columns, as_json=as_json)


@publishers.command("remove")
def remove_publisher(
    publisher_id: Annotated[str, typer.Argument(metavar="ID", help="As publisher list prints it.")],
    *,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Take a trusted publisher away, with the upload tokens it holds."""
    run(function("deploy.publishing.remove_publisher")(load_settings(data, config, pairs).settings, publisher_id))
    say(f"removed {publisher_id}\n")
