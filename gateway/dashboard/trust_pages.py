"""The page of the trust root: the shared roles, who holds their keys, and what waits for signatures.

View only: signing happens at the key, and the page shows the command for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.dashboard.desk import Desk, index_url
from gateway.dashboard.remote import Query, api_path
from gateway.dashboard.setup import Recipe
from gateway.dashboard.shapes import Shape

_EVENTS = 20

_SOON = timedelta(days=30)
"""When an expiry is pointed out: the alert of the offline roles (trust contract section 2.7)."""


class RoleKey(Shape):
    """A key of a role."""

    keyid: str
    scheme: str
    holder: str | None = None


class RoleState(Shape):
    """A role as the API tells it."""

    role: str
    version: int | None = None
    expires_at: datetime | None = None
    threshold: int
    keys: list[RoleKey]
    online: bool


class TrustState(Shape):
    """The shared roles."""

    profile: str
    missing: list[str] = Field(default_factory=list)
    roles: list[RoleState] = Field(default_factory=list)


class EventSignature(Shape):
    """Who signed an event."""

    keyid: str
    submitted_by: str
    submitted_at: datetime


class Event(Shape):
    """A signing event, as lists have it."""

    id: str
    role: str
    version: int
    payload_sha256: str
    reason: str
    proposed_by: str
    proposed_at: datetime
    expires_at: datetime
    state: str
    signatures: list[EventSignature] = Field(default_factory=list)
    missing: dict[str, int] = Field(default_factory=dict)
    holders: dict[str, str] = Field(default_factory=dict)

    @property
    def lacking(self) -> list[str]:
        """What is missing, in words."""
        return [_lacking(label, count, self.missing) for label, count in sorted(self.missing.items()) if count]

    def signed_by(self, signature: EventSignature) -> str:
        """Return who is said to hold the key of a signature, else the beginning of its id."""
        return self.holders.get(signature.keyid) or f"key {signature.keyid[:12]}"


class EventList(Shape):
    """One page of events."""

    items: list[Event]
    next: str | None = None


class TrustPages:
    """The page `/trust`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.routes: list[BaseRoute] = [Route("/trust", self.trust)]

    async def trust(self, request: Request) -> Response:
        """Show roles and open events; the counts renew themselves."""
        visitor = await self._desk.visitor(request)
        token = await self._desk.reading(visitor)
        state = await self._desk.remote.get(TrustState, api_path("trust"), token)
        query: Query = {"state": "open", "limit": _EVENTS}
        listed = await self._desk.remote.get(EventList, api_path("trust", "events"), token, query)
        now = self._desk.backing.clock.now()
        return self._desk.answer(
            "trust.html",
            visitor,
            state=state,
            events=[(event, self._recipes(event)) for event in listed.items],
            more=listed.next is not None,
            soon={role.role for role in state.roles if role.expires_at and role.expires_at - now < _SOON},
        )

    def _recipes(self, event: Event) -> list[Recipe]:
        directory = self._desk.directory
        default = None if directory.default_index is None else directory.index(directory.default_index)
        where = "" if default is None else f" --repository {index_url(self._desk.addresses, default)}"
        if event.state == "ready":
            return [Recipe("Finalise", "By an administrator", f"countermark ceremony finalise {event.id}{where}")]
        show = f"countermark ceremony show {event.id}{where}"
        sign = f"countermark ceremony sign {event.id}{where} --key URI --submit"
        return [
            Recipe("Look", "What it changes, worked out on your machine", show),
            Recipe("Sign", "At the machine that has your key", sign),
        ]


def _lacking(label: str, count: int, missing: Mapping[str, int]) -> str:
    of = {"old": " of the keys before", "new": " of the new keys"}[label] if "old" in missing else ""
    return f"{count} signature{'' if count == 1 else 's'}{of}"
