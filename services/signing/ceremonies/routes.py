"""The signing service's routes: the shared roles and their ceremonies, below `/api/v1/trust`.

Reached through the gateway alone. Administrators propose, withdraw and finalise. Whoever is signed in reads and hands
in signatures: a signature carries its own authority.
Source: trust contract section 2.5; architecture sections 4 and 5.8.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from countermark.core.ceremony.changes import parse_change
from countermark.core.ceremony.faults import CeremonyFault
from services.signing.ceremonies import schemas
from services.signing.ceremonies.events import Ceremonies, Proposal
from services.signing.ceremonies.trust_state import trust_state
from shared.auth.access import credentials_in, decided, is_administrator, writer
from shared.auth.principal import Principal
from shared.auth.verifier import Verifier
from shared.catalogue.signing_events import EventId
from shared.errors import ErrorKind, ServiceError
from shared.http import bind_principal
from shared.paging import DEFAULT_LIMIT, After, Limit, Page, cursor_text, decode_cursor, page_of
from shared.resources import Resources

State = Annotated[
    Literal["open", "final", "withdrawn", "expired"] | None,
    Query(description="open ones are those that can be signed, also when they have signatures enough"),
]


class EventRoutes:
    """`/api/v1/trust`."""

    def __init__(self, resources: Resources, verifier: Verifier) -> None:
        self._resources = resources
        self._verifier = verifier
        self._ceremonies = Ceremonies(resources)
        self.router = router = APIRouter(prefix="/api/v1/trust", tags=["trust"])
        router.get("")(self.state)
        router.get("/events")(self.events)
        router.post("/events", status_code=201)(self.propose)
        router.get("/events/{event_id}")(self.event)
        router.post(
            "/events/{event_id}/signatures",
            status_code=201,
            responses={200: {"model": schemas.EventDocument, "description": "it had all of them"}},
        )(self.submit)
        router.post("/events/{event_id}/withdraw")(self.withdraw)
        router.post("/events/{event_id}/finalise")(self.finalise)

    async def state(self, request: Request) -> schemas.TrustState:
        """Tell the shared roles: versions, expiries, thresholds, keys and who is said to hold them."""
        await self._known(request)
        missing, lines = await trust_state(self._resources)
        roles = [schemas.RoleState.model_validate(asdict(line)) for line in lines]
        return schemas.TrustState(profile=self._resources.settings.signing.profile, missing=missing, roles=roles)

    async def events(
        self, request: Request, state: State = None, limit: Limit = DEFAULT_LIMIT, after: After = None
    ) -> Page[schemas.EventSummary]:
        """List signing events, the newest first, without the files they are about."""
        await self._known(request)
        last = None if after is None else _event_id(cursor_text(decode_cursor(after), "id"))
        views = await self._ceremonies.events(state, last, limit + 1)
        return page_of(views, limit, schemas.EventSummary.of, lambda view: {"id": str(view.event.id)})

    async def propose(
        self, payload: schemas.ProposalBody, request: Request, response: Response
    ) -> schemas.EventDocument:
        """Propose the next version of a shared role: the answer holds the exact bytes to sign."""
        principal = await self._administrator(request)
        try:
            change = parse_change(payload.change)
        except CeremonyFault as error:
            detail = f"The change cannot be read: {error}.".encode("ascii", "backslashreplace").decode()
            raise ServiceError(ErrorKind.INVALID, detail) from error
        proposal = Proposal(payload.role, change, payload.reason, payload.holders)
        view = await self._ceremonies.propose(_name(principal), proposal)
        response.headers["location"] = f"/api/v1/trust/events/{view.event.id}"
        return schemas.EventDocument.of(view)

    async def event(self, event_id: str, request: Request) -> schemas.EventDocument:
        """Return a signing event as key holders take it to their machines."""
        await self._known(request)
        return schemas.EventDocument.of(await self._ceremonies.event(_event_id(event_id)))

    async def submit(
        self, event_id: str, payload: schemas.SignaturesBody, request: Request, response: Response
    ) -> schemas.EventDocument:
        """Hand in signatures; 201 when one of them is new."""
        principal = await self._known(request)
        given = [one.signature() for one in payload.signatures]
        view, new = await self._ceremonies.submit(_name(principal), _event_id(event_id), payload.payload_sha256, given)
        if not new:
            response.status_code = 200
        return schemas.EventDocument.of(view)

    async def withdraw(self, event_id: str, payload: schemas.ReasonBody, request: Request) -> schemas.EventDocument:
        """Close a signing event without its file being used."""
        principal = await self._administrator(request)
        view = await self._ceremonies.withdraw(_name(principal), _event_id(event_id), payload.reason)
        return schemas.EventDocument.of(view)

    async def finalise(self, event_id: str, request: Request) -> schemas.EventDocument:
        """Publish the role's next version in every index, once it has signatures enough."""
        principal = await self._administrator(request)
        return schemas.EventDocument.of(await self._ceremonies.finalise(_name(principal), _event_id(event_id)))

    async def _known(self, request: Request) -> Principal:
        principal = await writer(self._verifier, credentials_in(request.headers))
        bind_principal(principal)
        return principal

    async def _administrator(self, request: Request) -> Principal:
        async def decide() -> Principal:
            principal = await self._known(request)
            if not is_administrator(self._resources.directory, principal):
                raise ServiceError(
                    ErrorKind.FORBIDDEN, "This is for administrators: for those who may configure the default index."
                )
            return principal

        return await decided(self._resources.directory, decide)


def _event_id(text: str) -> EventId:
    try:
        if len(text) > 36:
            raise ValueError
        return EventId(UUID(text))
    except ValueError as error:
        raise ServiceError(ErrorKind.NOT_FOUND, "There is no signing event of this id.") from error


def _name(principal: Principal) -> str:
    assert principal.account is not None, "the caller was asked for credentials"
    return principal.account
