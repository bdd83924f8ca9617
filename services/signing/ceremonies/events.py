"""Ceremonies in the server: what is proposed, signed by its holders, withdrawn, and finalised at its threshold.

The server builds the exact bytes and checks them; the key holders sign them on machines that trust nothing it says;
the server verifies what comes back, and again everything when the file is finalised, from rows alone.

Source: trust contract sections 2.5 and 2.8.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from securesystemslib.signer import Signature
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.ceremony import rules
from countermark.core.ceremony.changes import Change, build
from countermark.core.ceremony.faults import CeremonyFault
from countermark.core.ceremony.payload import canonical_payload, metadata_bytes, read_published
from countermark.core.ceremony.standing import NEW, OLD, Standing
from countermark.core.ceremony.tree import DELEGATOR, SHARED_ROLES, WINDOWS
from countermark.core.digest import sha256_of
from services.signing.ceremonies.material import check_trust
from services.signing.ceremonies.rules import check_children, check_online_keys
from services.signing.ceremonies.views import EventView, SharedFiles, as_signatures
from shared.catalogue import audit, publications, rotation, signing_events, trust
from shared.catalogue.signing_events import EXPIRED, FINAL, WITHDRAWN, EventId, Holder, StoredEvent, StoredSignature
from shared.catalogue.trust import StoredTrustFile
from shared.catalogue.unit_of_work import UnitOfWork
from shared.clock import whole_seconds
from shared.errors import ErrorKind, ServiceError
from shared.ids import new_uuid
from shared.jobs.messages import RefreshIndex
from shared.resources import Resources
from shared.trust.metadata import verify_with
from shared.trust.roles import PROFILES, Role

log = structlog.get_logger()

EVENT_LIFETIME = timedelta(days=30)
"""How long an event can be signed: time to gather people, and short of every role's window (trust contract 2.3)."""

_LONGEST_DENIAL = 1000
"""Characters that an audit row keeps of why something was refused: ten bad signatures and more."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What somebody wants a shared role to say next; `holders` are names of keys, key id -> name."""

    role: str
    change: Change
    reason: str
    holders: Mapping[str, str]


class Ceremonies:
    """The signing events of the deployment."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._profile = PROFILES[resources.settings.signing.profile]

    async def propose(self, actor: str, proposal: Proposal) -> EventView:
        """Build the next version of a shared role and open an event for it.

        Raises:
            ServiceError: INVALID, it breaks a rule; CONFLICT, the role has an open event or its delegator no file yet.
        """
        async with UnitOfWork(self._resources.engine) as work:
            await trust.lock_ceremony(work.connection)
            event = await self.open_event(work.connection, actor, proposal)
            view = await self._view(work.connection, event)
            await work.commit()
        log.info("event_proposed", event_id=str(event.id), role=event.role, version=event.version)
        return view

    async def open_event(self, connection: AsyncConnection, actor: str, proposal: Proposal) -> StoredEvent:
        """Open an event in a transaction that holds the ceremony's lock; otherwise as `propose`."""
        role, now = _shared_role(proposal.role), whole_seconds(self._resources.clock.now())
        if role == Role.REGISTRY and self._profile.registry_is_online:
            raise ServiceError(
                ErrorKind.INVALID,
                f"In the profile {self._profile.name} the server itself signs registry: countermark-server bins "
                "changes the count of bins.",
            )
        added = {key.keyid: key for _, key in proposal.change.add}
        stray = sorted(proposal.holders.keys() - added.keys())
        if stray:
            raise ServiceError(
                ErrorKind.INVALID, f"Names are given to keys that are added, and {stray[0][:64]} is not."
            )
        shared = await SharedFiles.read(connection)
        earlier = shared.waiting.get(role)
        if earlier is not None and earlier.expires_at > now:
            detail = f"Event {earlier.id} of {role} is open: finalise or withdraw it first."
            raise ServiceError(ErrorKind.CONFLICT, detail, facts={"event": str(earlier.id)})
        if earlier is not None:
            await self._expire(connection, earlier, now)
        if role != Role.ROOT and shared.delegator(role) is None:
            raise ServiceError(ErrorKind.CONFLICT, f"Propose {DELEGATOR[role]} first: it lists the keys of {role}.")
        previous = shared.published(role)
        payload = self._payload(role, previous, proposal.change, now)
        await self._refuse_unsignable(connection, role, payload)
        event = StoredEvent(
            id=EventId(new_uuid()),
            role=role,
            version=1 if previous is None else shared.files[role].version + 1,
            payload=payload,
            payload_sha256=sha256_of(payload),
            reason=proposal.reason,
            proposed_by=actor,
            proposed_at=now,
            expires_at=now + EVENT_LIFETIME,
        )
        await signing_events.insert_event(connection, event)
        await signing_events.keep_targets(connection, proposal.change.targets.values(), at=now)
        if role == Role.TRUST:
            try:
                await check_trust(self._resources.verifying, connection, previous, metadata_bytes(payload, []))
            except (CeremonyFault, LookupError) as error:
                raise _invalid(error) from error
        named = [Holder(keyid, name, added[keyid].to_dict()) for keyid, name in proposal.holders.items()]
        await signing_events.set_holders(connection, named, at=now, by=actor)
        await _record(connection, event, "trust.propose", actor, now, reason=event.reason)
        return event

    def _payload(self, role: str, previous: bytes | None, change: Change, now: datetime) -> bytes:
        try:
            current = None if previous is None else read_published(role, previous)
            lifetime = self._profile.roles[Role(role)].lifetime
            payload = canonical_payload(build(role, current, change, now, lifetime))
            rules.check(role, payload, previous, WINDOWS[role], now)
        except CeremonyFault as error:
            raise _invalid(error) from error
        return payload

    async def _refuse_unsignable(self, connection: AsyncConnection, role: str, payload: bytes) -> None:
        """Refuse a payload that lists no key with which this server signs, or is about to: nobody is to sign in vain.

        Which of them have signed everything is asked when it is finalised.
        """
        keys: dict[Role, list[str]] = {name: [] for name in self._profile.server_roles}
        living = await trust.living_keys(connection)
        if not living:
            raise ServiceError(
                ErrorKind.CONFLICT,
                "countermark-server trust bootstrap begins the first ceremony: it makes the keys of this server.",
            )
        for key in living:
            if (name := Role(key.role)) in keys:
                keys[name].append(key.keyid)
        try:
            check_online_keys(role, metadata_bytes(payload, []), keys, self._profile)
        except CeremonyFault as error:
            raise _invalid(error) from error

    async def event(self, event_id: EventId) -> EventView:
        """Return an event.

        Raises:
            ServiceError: NOT_FOUND.
        """
        async with self._resources.engine.connect() as connection:
            return await self._view(connection, await _found(connection, event_id))

    async def events(self, state: str | None, after: EventId | None, limit: int) -> list[EventView]:
        """Return events, the newest first.

        Args:
            state: `open` (also those that are ready), `final`, `withdrawn` or `expired`; None for all.
        """
        now = self._resources.clock.now()
        async with self._resources.engine.connect() as connection:
            found = await signing_events.events(connection, state=state, now=now, after=after, limit=limit)
            shared = await SharedFiles.read(connection)
            signatures = await signing_events.signatures(connection, [event.id for event in found])
        return [shared.view(event, signatures[event.id], None, now) for event in found]

    async def submit(
        self, actor: str, event_id: EventId, payload_sha256: str, given: Sequence[Signature]
    ) -> tuple[EventView, bool]:
        """Keep signatures, each verified before; all or none. Returns the event, and whether one of them was new.

        Raises:
            ServiceError: NOT_FOUND; CONFLICT, it is closed or its payload is another; INVALID, a signature is not good.
        """
        async with self._denials(actor, event_id, "sign"):
            return await self._submit(actor, event_id, payload_sha256, given)

    async def _submit(
        self, actor: str, event_id: EventId, payload_sha256: str, given: Sequence[Signature]
    ) -> tuple[EventView, bool]:
        now = whole_seconds(self._resources.clock.now())
        async with UnitOfWork(self._resources.engine) as work:
            await trust.lock_ceremony(work.connection)
            event = await _found(work.connection, event_id)
            _refuse_closed(event, now)
            if payload_sha256 != event.payload_sha256:
                detail = f"The payload of event {event.id} has the sha256 {event.payload_sha256}: sign that one."
                raise ServiceError(ErrorKind.CONFLICT, detail)
            shared = await SharedFiles.read(work.connection)
            _refuse_bad(event, shared.acceptable(event, given))
            added = []
            for one in given:
                kept = StoredSignature(one.keyid, one.signature, actor, now)
                if await signing_events.insert_signature(work.connection, event.id, kept):
                    added.append(one.keyid)
            if added:
                await _record(work.connection, event, "trust.sign", actor, now, keyids=added)
            view = await self._view(work.connection, event)
            await work.commit()
        return view, bool(added)

    async def withdraw(self, actor: str, event_id: EventId, reason: str) -> EventView:
        """Close an event without its file being used.

        Raises:
            ServiceError: NOT_FOUND; CONFLICT, it is closed.
        """
        now = whole_seconds(self._resources.clock.now())
        async with UnitOfWork(self._resources.engine) as work:
            await trust.lock_ceremony(work.connection)
            event = await _found(work.connection, event_id)
            _refuse_closed(event, now)
            await signing_events.close_event(work.connection, event.id, WITHDRAWN, at=now, by=actor, reason=reason)
            await _record(work.connection, event, "trust.withdraw", actor, now, reason=reason)
            view = await self._view(work.connection, await _found(work.connection, event_id))
            await work.commit()
        return view

    async def finalise(self, actor: str, event_id: EventId) -> EventView:
        """Make a role's next version the newest, at its threshold, and have every index published with it.

        Everything is verified again, from rows, under the ceremony's lock: of two at once one wins.

        Raises:
            ServiceError: NOT_FOUND; CONFLICT, it is closed, lacks signatures, was overtaken, or cannot be used yet.
        """
        async with self._denials(actor, event_id, "finalise"):
            return await self._finalise(actor, event_id)

    async def _finalise(self, actor: str, event_id: EventId) -> EventView:
        now = whole_seconds(self._resources.clock.now())
        async with UnitOfWork(self._resources.engine) as work:
            await trust.lock_ceremony(work.connection)
            event = await _found(work.connection, event_id)
            _refuse_closed(event, now)
            shared = await SharedFiles.read(work.connection)
            content = await self._checked(work.connection, event, shared, now)
            expires = read_published(event.role, content).expires
            await trust.insert_trust_file(work.connection, StoredTrustFile(event.role, event.version, expires, content))
            await signing_events.close_event(work.connection, event.id, FINAL, at=now, by=actor)
            keyids = [one.keyid for one in shared.signatures[event.id]]
            await _record(work.connection, event, "trust.finalise", actor, now, keyids=keyids)
            if shared.files.keys() | {event.role} == set(SHARED_ROLES):
                for _, index_id in await publications.index_names(work.connection):
                    await work.enqueue(RefreshIndex(index_id))
            view = await self._view(work.connection, await _found(work.connection, event_id))
            await work.commit()
        log.info("event_finalised", event_id=str(event.id), role=event.role, version=event.version)
        return view

    async def _checked(
        self, connection: AsyncConnection, event: StoredEvent, shared: SharedFiles, now: datetime
    ) -> bytes:
        """Return the file to publish, when it may be."""
        previous, delegator = shared.published(event.role), shared.published(DELEGATOR[event.role])
        if event.version != (shared.files[event.role].version if previous is not None else 0) + 1:
            raise ServiceError(ErrorKind.CONFLICT, f"Another version {event.version} of {event.role} was finalised.")
        if event.role != Role.ROOT and delegator is None:
            raise ServiceError(ErrorKind.CONFLICT, f"Finalise {DELEGATOR[event.role]} first: it lists the keys.")
        signatures = as_signatures(shared.signatures[event.id])
        try:
            rules.check(event.role, event.payload, previous, WINDOWS[event.role], now)
            found = shared.standing(event, signatures)
            if not found.is_ready:
                raise _short(event, found)
            content = metadata_bytes(event.payload, signatures)
            verify_with(content if delegator is None or event.role == Role.ROOT else delegator, event.role, content)
            if previous is not None and event.role == Role.ROOT:
                verify_with(previous, event.role, content)
            if event.role == Role.TRUST:
                await check_trust(self._resources.verifying, connection, previous, content)
            check_online_keys(event.role, content, await self._signing_keys(connection), self._profile)
            check_children(event.role, content, {role: file.content for role, file in shared.files.items()})
            if event.role == Role.TARGETS:
                # Indexes that were not moved to the newest count of bins are published with an older registry.
                for file in await rotation.registries_in_use(connection):
                    check_children(event.role, content, {file.role: file.content})
        except (CeremonyFault, LookupError) as error:
            raise ServiceError(ErrorKind.CONFLICT, f"Event {event.id} cannot be finalised: {_plain(error)}.") from error
        return content

    async def _signing_keys(self, connection: AsyncConnection) -> dict[Role, list[str]]:
        """Return the keys that this deployment signs with by itself and that have signed all there is, role -> ids."""
        living = sorted(await trust.keys_in_use(connection), key=lambda key: key.since)
        keys: dict[Role, list[str]] = {}
        for role in self._profile.server_roles:
            of_role = [key.keyid for key in living if key.role == role]
            # The oldest has; of those that came into use beside it that has to be seen.
            done = [keyid for keyid in of_role[1:] if not await rotation.unsigned_by(connection, role, keyid)]
            keys[role] = [*of_role[:1], *done]
        return keys

    @asynccontextmanager
    async def _denials(self, actor: str, event_id: EventId, what: str) -> AsyncIterator[None]:
        """Leave an audit row when what is asked of an event is refused: somebody tried. Source: trust contract 2.9."""
        try:
            yield
        except ServiceError as refused:
            if refused.kind in {ErrorKind.INVALID, ErrorKind.CONFLICT}:
                now = whole_seconds(self._resources.clock.now())
                async with UnitOfWork(self._resources.engine) as work:
                    event = await _found(work.connection, event_id)
                    words = refused.detail[:_LONGEST_DENIAL]
                    await _record(work.connection, event, "trust.deny", actor, now, asked=what, words=words)
                    await work.commit()
            raise

    async def _expire(self, connection: AsyncConnection, event: StoredEvent, now: datetime) -> None:
        await signing_events.close_event(connection, event.id, EXPIRED, at=now, by="signing")
        await _record(connection, event, "trust.expire", "signing", now)

    async def _view(self, connection: AsyncConnection, event: StoredEvent) -> EventView:
        shared = await SharedFiles.read(connection)
        signatures = (await signing_events.signatures(connection, [event.id]))[event.id]
        before = await trust.trust_file(connection, event.role, event.version - 1)
        previous = None if before is None else before.content
        return shared.view(event, signatures, previous, self._resources.clock.now())


def _shared_role(role: str) -> str:
    if role not in SHARED_ROLES:
        detail = f"There is no role {role[:40]!r} that people sign: name {', '.join(SHARED_ROLES)}."
        raise ServiceError(ErrorKind.INVALID, detail)
    return role


async def _found(connection: AsyncConnection, event_id: EventId) -> StoredEvent:
    event = await signing_events.event(connection, event_id)
    if event is None:
        raise ServiceError(ErrorKind.NOT_FOUND, f"There is no signing event {event_id}.")
    return event


def _refuse_closed(event: StoredEvent, now: datetime) -> None:
    outcome = event.outcome or (EXPIRED if event.expires_at <= now else None)
    if outcome is not None:
        words = {FINAL: "is final", WITHDRAWN: "was withdrawn", EXPIRED: "has expired: propose it again"}[outcome]
        raise ServiceError(ErrorKind.CONFLICT, f"Event {event.id} {words}.")


def _refuse_bad(event: StoredEvent, found: Standing) -> None:
    lines = [f"Key {keyid} is not among the keys of {event.role}." for keyid in found.unknown]
    lines += [f"The signature of key {keyid} does not verify over the payload." for keyid in found.wrong]
    lines += [f"Key {keyid} is there twice." for keyid in found.repeated]
    if lines:
        raise ServiceError(ErrorKind.INVALID, "\n".join(lines))


def _short(event: StoredEvent, found: Standing) -> ServiceError:
    whose = {OLD: "of the version before", NEW: "of its keys"}
    lacking = [f"{count} {whose[label]}" for label, count in found.missing.items() if count]
    facts = {f"missing_{label}": str(count) for label, count in found.missing.items()}
    return ServiceError(ErrorKind.CONFLICT, f"Event {event.id} lacks signatures: {', '.join(lacking)}.", facts=facts)


def _invalid(error: Exception) -> ServiceError:
    return ServiceError(ErrorKind.INVALID, f"This cannot be proposed: {_plain(error)}.")


def _plain(error: Exception) -> str:
    """Return the words of a fault in ASCII: they may quote what somebody sent."""
    return str(error).encode("ascii", "backslashreplace").decode()


async def _record(
    connection: AsyncConnection, event: StoredEvent, action: str, actor: str, at: datetime, **more: object
) -> None:
    """Leave an audit row."""
    await audit.record(
        connection,
        at=at,
        actor=actor,
        action=action,
        subject="deployment",
        event=str(event.id),
        role=event.role,
        version=event.version,
        payload_sha256=event.payload_sha256,
        **more,
    )
