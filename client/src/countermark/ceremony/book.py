"""Signing events kept in memory: what a server does with them, for rehearsals, which need none.

Source: trust contract section 2.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from countermark.ceremony.words import missing_words
from countermark.core.ceremony import rules
from countermark.core.ceremony.changes import Change, build
from countermark.core.ceremony.documents import SignatureFile, SigningEvent, Submitted
from countermark.core.ceremony.faults import CeremonyFault
from countermark.core.ceremony.payload import canonical_payload, metadata_bytes, read_published
from countermark.core.ceremony.standing import Standing, standing
from countermark.core.ceremony.tree import DELEGATOR, WINDOWS, check_role

_SIGNABLE = timedelta(days=30)
"""How long an event takes signatures."""


@dataclass(slots=True)
class Book:
    """The events and the published shared files of a deployment.

    Attributes:
        files: shared role -> its published files, version 1 first.
        events: by their ids.
        holders: key id -> who is said to hold it.
    """

    files: dict[str, list[bytes]] = field(default_factory=dict)
    events: dict[str, SigningEvent] = field(default_factory=dict)
    holders: dict[str, str] = field(default_factory=dict)

    def newest(self, role: str) -> bytes | None:
        """Return the newest published file of a role."""
        return self.files[role][-1] if self.files.get(role) else None

    def propose(
        self, role: str, change: Change, reason: str, by: str, now: datetime, holders: Mapping[str, str] | None = None
    ) -> SigningEvent:
        """Open an event for the next version of a role.

        Raises:
            CeremonyFault: it breaks a rule, or the role has an open event.
        """
        if any(event.role == check_role(role) and event.state in {"open", "ready"} for event in self.events.values()):
            raise CeremonyFault(f"there is an open event of {role}: finalise or withdraw it first")
        previous, delegator = self.newest(role), self.newest(DELEGATOR[role])
        if delegator is None and role != DELEGATOR[role]:
            raise CeremonyFault(f"there is no file of {DELEGATOR[role]} yet, which lists the keys of {role}")
        current = None if previous is None else read_published(role, previous)
        signed = build(role, current, change, now, WINDOWS[role][1])
        payload = canonical_payload(signed)
        rules.check(role, payload, previous, WINDOWS[role], now)
        self.holders.update(holders or {})
        event = SigningEvent(
            id=f"event-{len(self.events) + 1}",
            role=role,
            version=signed.version,
            payload=payload,
            previous=previous,
            delegator=delegator,
            reason=reason,
            proposed_by=by,
            proposed_at=now,
            expires_at=now + _SIGNABLE,
            state="open",
            holders=dict(self.holders),
        )
        return self._keep(event)

    def submit(self, file: SignatureFile, by: str, now: datetime) -> SigningEvent:
        """Take signatures, all or none; those that are there already are fine.

        Raises:
            CeremonyFault: one is not good, or the event is another or closed.
        """
        event = self._open(file.event)
        if file.payload_sha256 != event.payload_sha256:
            raise CeremonyFault(f"the payload of {event.id} has another sha256 than what was signed")
        found = standing(event.role, event.payload, file.signatures, self._delegators(event))
        if found.wrong or found.unknown:
            raise CeremonyFault(f"the signature by key {(found.wrong + found.unknown)[0]} does not count")
        there = {each.signature.keyid for each in event.signatures}
        new = tuple(Submitted(each, by, now) for each in file.signatures if each.keyid not in there)
        return self._keep(replace(event, signatures=event.signatures + new))

    def withdraw(self, event: str) -> SigningEvent:
        """Close an event without its payload being used."""
        return self._keep(replace(self._open(event), state="withdrawn"))

    def finalise(self, event: str) -> SigningEvent:
        """Publish an event's payload with its signatures.

        Raises:
            CeremonyFault: signatures are missing, or it is closed.
        """
        found = self._open(event)
        if not self.standing(found).is_ready:
            raise CeremonyFault(f"{event} lacks signatures: {missing_words(self.standing(found).missing)}")
        content = metadata_bytes(found.payload, [each.signature for each in found.signatures])
        self.files.setdefault(found.role, []).append(content)
        return self._keep(replace(found, state="final"))

    def standing(self, event: SigningEvent) -> Standing:
        """Count the signatures of an event."""
        signatures = [each.signature for each in event.signatures]
        return standing(event.role, event.payload, signatures, self._delegators(event))

    def _delegators(self, event: SigningEvent) -> list[bytes]:
        content = event.previous if event.role == DELEGATOR[event.role] else event.delegator
        return [] if content is None else [content]

    def _open(self, event: str) -> SigningEvent:
        found = self.events.get(event)
        if found is None or found.state not in {"open", "ready"}:
            raise CeremonyFault(f"there is no open event {event}")
        return found

    def _keep(self, event: SigningEvent) -> SigningEvent:
        if event.state in {"open", "ready"}:
            counted = self.standing(event)
            event = replace(event, missing=counted.missing, state="ready" if counted.is_ready else "open")
        self.events[event.id] = event
        return event
