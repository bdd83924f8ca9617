"""What the operator's commands about trusted publishers do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from countermark.core.names import InvalidName, parse_index_name, parse_project_name
from deploy.administration import Row, catalogue
from deploy.errors import UsageError
from gateway.trusted_publishing.identities import InvalidIdentity, parse_identity, parse_pins
from gateway.trusted_publishing.registry import NewPublisher, Publishers, Registered, publishers_of
from shared.clock import SystemClock
from shared.settings import Settings
from shared.strict_json import BadJson, read_json

_ACTOR = "cli"

_MOST = 10_000
"""Publishers that are listed."""


async def add_publisher(settings: Settings, index: str, project: str, wanted: Mapping[str, Any]) -> Row:
    """Register a trusted publisher and return it.

    Args:
        wanted: `user`, `kind`, `issuer`, `repository_id`, `owner_id`, `claims` (texts `name=value`), and the members of
            `identities.Pipeline`; None for what was not given.

    Raises:
        UsageError: a name cannot be used, or the identity is none.
        ServiceError: there is no such account or index, or the project has this publisher.
    """
    given = {name: value for name, value in wanted.items() if value is not None} | {"claims": _claims(wanted["claims"])}
    try:
        new = NewPublisher(
            parse_index_name(index),
            parse_project_name(project),
            parse_identity(wanted["kind"], wanted["issuer"], given),
            wanted["user"],
            parse_pins(wanted["kind"], {name: wanted[name] for name in ("repository_id", "owner_id")}),
        )
    except (InvalidName, InvalidIdentity) as error:
        raise UsageError(str(error)) from error
    async with catalogue(settings) as engine:
        made = await Publishers(engine, SystemClock(), actor=_ACTOR).add(new)
    return _row(made)


async def list_publishers(settings: Settings, index: str | None) -> list[Row]:
    """Return the living publishers of an index, or of all.

    Raises:
        UsageError: the name cannot be used.
    """
    try:
        name = None if index is None else parse_index_name(index)
    except InvalidName as error:
        raise UsageError(str(error)) from error
    async with catalogue(settings) as engine, engine.connect() as connection:
        found = await publishers_of(connection, None, limit=_MOST)
    return [_row(one) for one in found if name is None or one.index == name]


async def remove_publisher(settings: Settings, publisher_id: str) -> None:
    """Take a publisher away.

    Raises:
        UsageError: that is no id.
        ServiceError: there is no such publisher.
    """
    try:
        parsed = UUID(publisher_id)
    except ValueError as error:
        raise UsageError(f"{publisher_id[:50]!r} is no id: countermark-server publisher list prints them") from error
    async with catalogue(settings) as engine:
        await Publishers(engine, SystemClock(), actor=_ACTOR).remove(parsed)


def _claims(texts: list[str]) -> dict[str, Any]:
    """Read `name=value`; a value that is JSON of a number, true or false is that, everything else a text."""
    claims: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name in claims:
            raise UsageError(f"--claim {text[:100]}: write each claim once, as name=value")
        claims[name] = _value(value)
    return claims


def _value(text: str) -> Any:
    try:
        found = read_json(text.encode())
    except BadJson:
        return text
    return found if isinstance(found, bool | int) else text


def _row(one: Registered) -> Row:
    return {
        "id": str(one.id),
        "index": str(one.index),
        "project": one.project,
        "kind": one.identity.kind,
        "issuer": one.identity.issuer,
        "subject": one.identity.subject,
        "identity": one.identity.to_document(),
        "pinned": one.pinned,
        "user": one.account,
        "created_at": one.created_at.isoformat(timespec="seconds"),
        "pending_until": None if one.pending_until is None else one.pending_until.isoformat(timespec="seconds"),
        "used_at": None if one.used_at is None else one.used_at.isoformat(timespec="seconds"),
    }
