"""`countermark explain`: why a project or release shows as it does in an index, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import typer

from countermark.cli.connecting import IndexOption, JsonOption, TokenOption, connect
from countermark.cli.screen import Screen
from countermark.core.errors import RegistryRefused, UsageFault
from countermark.registry import index_path
from countermark.requirements import parse_requirement

Told = Mapping[str, object]

_STATES = {
    "shows": "has it",
    "held-back": "has it, and all of it is held back",
    "empty": "holds the name and lists no file",
    "nothing": "does not have it",
    "shut-out": "is not asked: the name is held nearer",
    "quarantined": "has it in quarantine",
    "behind-quarantine": "is not shown: it is in quarantine nearer",
    "hidden": "is not asked for the name",
    "away": "gives no answer, and nothing of it is kept",
    "unset": "has no upstream yet",
}


def explain(
    what: Annotated[str, typer.Argument(metavar="PROJECT[==V]", help="A project, or a release.")],
    repository: IndexOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say why a project shows as it does: who has it, what is held back by which rule, and until when.

    Ends with 1 when no file of it is shown.
    """
    screen = Screen(as_json=as_json)
    with screen.guarded():
        wanted = parse_requirement(what, screen.notify)
        if wanted is None or (wanted.version is None and wanted.versions):
            raise UsageFault(f"{what!r} names no project or release", "Write PROJECT or PROJECT==VERSION.")
        connection = connect(repository, screen, token)
        query = None if wanted.version is None else {"version": str(wanted.version)}
        path = index_path(connection.location.index, "explain", wanted.project)
        told = connection.registry().get(path, query)
        if not isinstance(told.get("members"), list) or not isinstance(told.get("files"), list):
            raise RegistryRefused("the registry answered no explanation", "It may be older than this client.")
        screen.object(told)
        for line in _lines(told, str(wanted)):
            screen.result(line)
        for cells in _files(told):
            screen.row(*cells)
    if not told.get("found"):
        raise typer.Exit(1)


def _lines(told: Told, wanted: str) -> Iterator[str]:
    yield f"{wanted} in {told.get('index')}: {told.get('shown')} file(s) shown, {told.get('hidden')} held back"
    for number, member in enumerate(_objects(told, "members"), 1):
        yield f"  {number}. {member.get('index') or 'an index that you may not read'}: {_member(member)}"
    if told.get("whitelist_opens"):
        yield "  a whitelist lets mirrors add to this name"
    for client in _objects(told, "clients"):
        yield f"{client.get('who')}: {client.get('latest') or 'nothing'}"
    usual = next(
        (client.get("latest") for client in _objects(told, "clients") if client.get("kind") == "installers"), 0
    )
    if told.get("without_rules") != usual:
        yield f"if nothing were held back: {told.get('without_rules')}"
    for one in _objects(told, "exemptions"):
        which = one.get("version") or "all versions"
        words = f"{which}, by {one.get('owner')} until {one.get('until')}: {one.get('reason')}"
        yield f"exempt in {one.get('index')}: {words}"


def _member(member: Told) -> str:
    words = _STATES.get(str(member.get("state")), str(member.get("state")))
    if member.get("by"):
        words += f", by {member['by']}"
    if member.get("reason"):
        words += f": {member['reason']}"
    hidden, upstream = member.get("hidden"), member.get("upstream")
    if isinstance(hidden, dict):
        words += f": {held_words(hidden)}"
    if isinstance(upstream, dict):
        if upstream.get("stale_since"):
            words += f"; not confirmed since {upstream['stale_since']}"
        if upstream.get("failing_since"):
            words += f"; its upstream fails since {upstream['failing_since']}: {upstream.get('failure')}"
    return words


def _files(told: Told) -> Iterator[tuple[str, ...]]:
    for file in _objects(told, "files"):
        hidden = file.get("hidden")
        state = "shown" if file.get("shown") else "held back" if isinstance(hidden, dict) else "not shown"
        why = held_words(hidden) if isinstance(hidden, dict) else "yanked" if file.get("yanked") else ""
        yield str(file.get("filename")), state, why


def held_words(hidden: Told) -> str:
    """Return why something is held back, and until when."""
    words = str(hidden.get("rule"))
    if hidden.get("reason"):
        words += f": {hidden['reason']}"
    words += f" ({hidden['index']})" if hidden.get("index") else ""
    return words + (f", until {hidden['until']}" if hidden.get("until") else "")


def _objects(told: Told, key: str) -> list[Told]:
    listed = told.get(key)
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
