"""Signing events as they are shown and judged: an event, its signatures, and the files and keys that it is judged by.

Reads only. Source: trust contract section 2.5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from securesystemslib.signer import Signature
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.ceremony.documents import SigningEvent, Submitted
from countermark.core.ceremony.key_lists import key_lists
from countermark.core.ceremony.payload import metadata_bytes, read_published
from countermark.core.ceremony.standing import NEW, Standing, standing
from countermark.core.ceremony.tree import DELEGATOR
from services.signing.ceremonies.rules import first_steps_left
from shared.catalogue import signing_events, trust
from shared.catalogue.signing_events import EXPIRED, EventId, StoredEvent, StoredSignature
from shared.catalogue.trust import StoredTrustFile
from shared.trust.roles import Role

OPEN, READY = "open", "ready"


@dataclass(frozen=True, slots=True)
class EventView:
    """An event with what belongs to it.

    Attributes:
        standing: of its signatures; None when it is closed.
        previous: the published file of the version before.
        delegator: the file whose keys it needs, as published or, before the first, as proposed.
        holders: key id -> name, of all keys that have one.
        state: one of the document's states.
    """

    event: StoredEvent
    signatures: Sequence[StoredSignature]
    standing: Standing | None
    previous: bytes | None
    delegator: bytes | None
    holders: Mapping[str, str]
    state: str

    def document(self) -> SigningEvent:
        """Return the document that travels."""
        event = self.event
        return SigningEvent(
            id=str(event.id),
            role=event.role,
            version=event.version,
            payload=event.payload,
            previous=self.previous,
            delegator=self.delegator,
            reason=event.reason,
            proposed_by=event.proposed_by,
            proposed_at=event.proposed_at,
            expires_at=event.expires_at,
            state=self.state,
            signatures=tuple(
                Submitted(Signature(one.keyid, one.signature), one.submitted_by, one.submitted_at)
                for one in self.signatures
            ),
            missing={} if self.standing is None else self.standing.missing,
            holders=self.holders,
        )


@dataclass(frozen=True, slots=True)
class SharedFiles:
    """The shared files that are published, the events that wait for signatures, and the names of holders."""

    files: Mapping[str, StoredTrustFile]
    waiting: Mapping[str, StoredEvent]
    signatures: Mapping[EventId, Sequence[StoredSignature]]
    holders: Mapping[str, str]

    @classmethod
    async def read(cls, connection: AsyncConnection) -> Self:
        """Return what the catalogue holds."""
        files = await trust.newest_trust_files(connection)
        waiting = await signing_events.open_events(connection)
        signatures = await signing_events.signatures(connection, [event.id for event in waiting.values()])
        return cls(files, waiting, signatures, await signing_events.holder_names(connection))

    @property
    def is_complete(self) -> bool:
        """Whether there is a file of each shared role, so that indexes can be published."""
        return trust.is_complete(self.files)

    def published(self, role: str) -> bytes | None:
        """Return the newest published file of a shared role."""
        return self.files[role].content if role in self.files else None

    def proposed(self, role: str) -> bytes | None:
        """Return what waits for signatures as it would be published now."""
        event = self.waiting.get(role)
        return None if event is None else metadata_bytes(event.payload, as_signatures(self.signatures[event.id]))

    def delegator(self, role: str) -> bytes | None:
        """Return the file whose keys a role needs; for root itself the version before."""
        if role == Role.ROOT:
            return self.published(role)
        return self.published(DELEGATOR[role]) or self.proposed(DELEGATOR[role])

    def standing(self, event: StoredEvent, signatures: Sequence[Signature]) -> Standing:
        """Judge signatures by the keys that are asked for now."""
        delegator = self.delegator(event.role)
        return standing(event.role, event.payload, signatures, [] if delegator is None else [delegator])

    def acceptable(self, event: StoredEvent, signatures: Sequence[Signature]) -> Standing:
        """Judge signatures by the keys that are asked for now, and by those that are proposed to be.

        So a role can be signed by old and new holders before its delegator names the new ones (trust contract 2.8).
        """
        now = self.standing(event, signatures)
        proposed = None if event.role == Role.ROOT else self.proposed(DELEGATOR[event.role])
        if proposed is None:
            return now
        soon = standing(event.role, event.payload, signatures, [proposed])
        valid = dict.fromkeys((*now.valid, *soon.valid))
        wrong = tuple(keyid for keyid in dict.fromkeys((*now.wrong, *soon.wrong)) if keyid not in valid)
        unknown = tuple(keyid for keyid in now.unknown if keyid in soon.unknown)
        return Standing(tuple(valid), now.missing, unknown, wrong, now.repeated or soon.repeated)

    def view(
        self, event: StoredEvent, signatures: Sequence[StoredSignature], previous: bytes | None, now: datetime
    ) -> EventView:
        """Return an event as it is shown.

        Args:
            previous: the published file of the version before.
        """
        found = None
        state = event.outcome or (EXPIRED if event.expires_at <= now else OPEN)
        if state == OPEN:
            found = self.standing(event, as_signatures(signatures))
            state = READY if found.is_ready else OPEN
        return EventView(event, signatures, found, previous, self.delegator(event.role), self.holders, state)

    def threshold(self, event: StoredEvent) -> int:
        """Return how many of the keys that are asked for must sign an event."""
        content = self.proposed(event.role) if event.role == Role.ROOT else self.delegator(event.role)
        assert content is not None, "nothing is proposed before its delegator"
        return key_lists(read_published(DELEGATOR[event.role], content))[event.role].threshold


async def first_ceremony(connection: AsyncConnection) -> list[str]:
    """Return in words what is missing of the deployment's first ceremony; empty when it is done or was never begun."""
    shared = await SharedFiles.read(connection)
    if shared.is_complete or not (shared.files or shared.waiting):
        return []
    counts = {}
    for role, event in shared.waiting.items():
        needs = shared.threshold(event)
        missing = shared.standing(event, as_signatures(shared.signatures[event.id])).missing
        counts[role] = (needs - missing[NEW], needs)
    return first_steps_left(shared.files, counts)


def as_signatures(stored: Sequence[StoredSignature]) -> list[Signature]:
    """Return signatures as metadata have them."""
    return [Signature(one.keyid, one.signature) for one in stored]
