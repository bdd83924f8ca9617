"""The server's side of ceremonies, over its API: what it answers is read as strictly as a file.

Source: architecture section 11.8; trust contract section 2.5.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from countermark.core.ceremony.changes import Change
from countermark.core.ceremony.documents import SignatureFile, SigningEvent, parse_event
from countermark.core.ceremony.faults import CeremonyFault
from countermark.core.errors import RegistryRefused, UsageFault
from countermark.registry import Registry

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_EVENTS = "/trust/events"


class Ceremonies:
    """Signing events of a deployment.

    Args:
        registry: its API.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def roles(self) -> tuple[list[Mapping[str, Any]], list[str]]:
        """Return what the server says of the published roles, and what is missing of a first ceremony.

        Raises:
            RegistryRefused: it answered something else.
        """
        answer = self._registry.get("/trust")
        roles, missing = answer.get("roles"), answer.get("missing")
        if (
            not _is_list(roles, dict)
            or not _is_list(missing, str)
            or not all(_is_list(r.get("keys"), dict) for r in roles)
        ):
            raise RegistryRefused("the registry did not say which roles are published", "Is it of this version?")
        return roles, missing

    def listed(self, state: str | None) -> Iterator[Mapping[str, object]]:
        """Yield events without their payloads, in one state or all."""
        return self._registry.items(_EVENTS, None if state is None else {"state": state}, limit=100)

    def event(self, event: str) -> SigningEvent:
        """Return an event; its payload has the digest, role and version that it says."""
        return _read(self._registry.get(_path(event)), event)

    def propose(self, role: str, change: Change, reason: str, holders: Mapping[str, str]) -> SigningEvent:
        """Have the server build the next version of a role."""
        body: dict[str, Any] = {"role": role, "change": change.to_document(), "reason": reason}
        return _read(self._registry.create(_EVENTS, body | ({"holders": dict(holders)} if holders else {})).document)

    def submit(self, file: SignatureFile) -> SigningEvent:
        """Hand in signatures; the same ones may be handed in again."""
        document = file.to_document()
        body = {"payload_sha256": document["payload_sha256"], "signatures": document["signatures"]}
        return _read(self._registry.change("POST", _path(file.event, "signatures"), body).document, file.event)

    def withdraw(self, event: str, reason: str) -> SigningEvent:
        """Close an event without its payload being used."""
        return _read(self._registry.create(_path(event, "withdraw"), {"reason": reason}).document, event)

    def finalise(self, event: str) -> SigningEvent:
        """Have the payload of an event published with its signatures."""
        return _read(self._registry.create(_path(event, "finalise"), {}).document, event)


def _is_list(value: object, kind: type) -> TypeGuard[list[Any]]:
    return isinstance(value, list) and all(isinstance(each, kind) for each in value)


def _path(event: str, *segments: str) -> str:
    if not _ID.match(event):
        raise UsageFault(
            f"{event[:80]!r} is neither a file nor the id of an event", "See `countermark ceremony status`."
        )
    return "/".join((_EVENTS, event, *segments))


def _read(document: Mapping[str, object], event: str | None = None) -> SigningEvent:
    try:
        found = parse_event(document)
    except CeremonyFault as error:
        raise RegistryRefused(
            f"the registry answered with no usable event: {error}", "Do not sign; tell the people who run it."
        ) from error
    if event is not None and found.id != event:
        raise RegistryRefused(f"the registry answered with event {found.id} where {event} was asked for")
    return found
