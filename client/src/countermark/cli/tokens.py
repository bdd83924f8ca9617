"""`countermark token`: make, list and revoke tokens of one's own account."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated
from uuid import UUID

import typer

from countermark.cli.connecting import IndexOption, JsonOption, TokenOption, connect
from countermark.cli.screen import Screen
from countermark.core.errors import RegistryRefused, UsageFault
from countermark.core.names import InvalidName, parse_index_name, parse_project_name

app = typer.Typer(
    help="Make, list and revoke tokens. Sign in with COUNTERMARK_USERNAME and COUNTERMARK_PASSWORD, or with a token, "
    "which makes none that may more than itself.",
    no_args_is_help=True,
)

_VERBS = re.compile(r"[a-z]+(-[a-z]+)*\Z")
_EVERY_INDEX = "*"


@app.command()
def create(  # noqa: PLR0913, PLR0917 - a command has an argument for each of its options
    label: Annotated[str, typer.Argument(metavar="LABEL", help="What it is for: you will recognise it by this.")],
    verbs: Annotated[
        str, typer.Option("--can", metavar="VERB,VERB", help="read, upload, remove, approve, configure.")
    ] = "read,upload",
    index: Annotated[
        str | None, typer.Option("--index", metavar="OWNER/NAME", help="Default: that of --repository; * for each.")
    ] = None,
    project: Annotated[str | None, typer.Option("--project", help="For this project only.")] = None,
    days: Annotated[int | None, typer.Option("--days", min=1, max=366, help="Until it expires.")] = None,
    repository: IndexOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token and print it, this once: it is kept nowhere."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        connection = connect(repository, screen, token)
        named = _index(index, str(connection.location.index))
        scope = {"index": named, "project": _project(project), "verbs": _verbs(verbs)}
        body = {"label": label, "scopes": [scope]} | ({} if days is None else {"days": days})
        made = connection.registry().create("/tokens", body).document
        if not isinstance(made.get("token"), str):
            raise RegistryRefused("the registry answered without a token", "List your tokens, and revoke the new one.")
    screen.result(str(made["token"]))
    screen.object(made)
    screen.tell(f"token {made.get('id')} of {made.get('account')} expires {made.get('expires_at')}")


@app.command("list")
def list_tokens(
    repository: IndexOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """List your tokens, newest first, without their secrets."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        for item in connect(repository, screen, token).registry().items("/tokens"):
            screen.object(item)
            used = item.get("last_used_at") or "never used"
            cells = (item.get("id"), item.get("state"), item.get("expires_at"), used, _may(item), item.get("label"))
            screen.row(*map(str, cells))


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="As `token list` shows it; not the token itself.")],
    repository: IndexOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token useless, at once and for good."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        try:
            named = UUID(token_id)
        except ValueError as error:
            # What was given may be the secret itself, so it is not repeated.
            raise UsageFault("this is no token's id", "See `countermark token list`.") from error
        connect(repository, screen, token).registry().change("DELETE", f"/tokens/{named}")
    screen.result(f"revoked {named}")
    screen.object({"id": str(named), "state": "revoked"})


def _index(given: str | None, default: str) -> str | None:
    if given == _EVERY_INDEX:
        return None
    try:
        return str(parse_index_name(given or default))
    except InvalidName as error:
        raise UsageFault(str(error)) from error


def _project(given: str | None) -> str | None:
    try:
        return None if given is None else parse_project_name(given)
    except InvalidName as error:
        raise UsageFault(str(error)) from error


def _verbs(text: str) -> list[str]:
    verbs = [verb.strip() for verb in text.split(",")]
    if not all(map(_VERBS.match, verbs)):
        raise UsageFault(f"{text!r} names no verbs", "Write for example --can read,upload.")
    return verbs


def _may(item: Mapping[str, object]) -> str:
    """Return what a token is for, in a few words."""
    scopes = item.get("scopes")
    said = []
    for scope in scopes if isinstance(scopes, list) else []:
        if isinstance(scope, dict):
            verbs = scope.get("verbs")
            where = str(scope.get("index") or "*") + (f":{scope['project']}" if scope.get("project") else "")
            said.append(f"{','.join(map(str, verbs if isinstance(verbs, list) else []))}@{where}")
    return " ".join(said) or "-"
