"""The use cases of release approval: who demands what, whose keys count, and the approval that lets a file through.

An approval counts when, in this order: the file waits, and not too long already; whoever gives it is named (or anybody
who may approve), and did not bring the file unless the demand allows it; the key is theirs and was not revoked; the
pointer of the file as the catalogue has it now is the one that was asked about; the signature is of that key over
exactly this statement. A person counts once. The request's row and those of its group are locked meanwhile, so that of
two at once each counts, and one of them completes it.

Source: architecture sections 11.1 and 11.7.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from packaging.utils import NormalizedName

from countermark.core.approval.keys import InvalidKey, parse_key
from countermark.core.approval.message import InvalidApproval, KeyRegistration, approval_of
from countermark.core.approval.signatures import BadSignature, verify
from countermark.core.digest import sha256_of
from services.signing.publication.approving import pointer_bytes
from shared.auth.access import require
from shared.auth.directory import IndexRecord
from shared.auth.permissions import Decision, authorize
from shared.auth.principal import Principal, Verb
from shared.catalogue import approval_writing as writing
from shared.catalogue import approvals, audit, file_states, publications
from shared.catalogue.approval_writing import KeptApproval, LockedRequest, RegisteredKey
from shared.catalogue.approvals import APPROVED, EXPIRED, OPEN, WHOLE_INDEX, WITHDRAWN, Demand, RequestLine
from shared.catalogue.unit_of_work import UnitOfWork
from shared.errors import ErrorKind, ServiceError
from shared.ids import FileId
from shared.jobs.messages import PublishIndex
from shared.reading.resolution import MIRROR
from shared.resources import Resources

log = structlog.get_logger()

MOST_KEYS = 20
"""Keys of one account that were not revoked."""

MOST_PEOPLE = 50
"""People whom a demand may name, and approvals that it may ask for."""

MOST_DEMANDS = 1000
"""Demands of one index."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with the approvals that were given in its round, also of people who do not count any more."""

    line: RequestLine
    given: Sequence[KeptApproval]


class Approvals:
    """Reads and changes approvals in the name of whoever calls; rights on the index were checked by the caller, but
    where it says so."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    async def page(
        self, index: IndexRecord, states: Collection[str], after: FileId | None, limit: int
    ) -> list[RequestLine]:
        """Return requests by file, at most `limit`; `states` as kept."""
        async with self._resources.engine.connect() as connection:
            return await approvals.request_lines(connection, index.id, index.life, states, after=after, limit=limit)

    async def one(self, index: IndexRecord, file_id: FileId) -> Asked:
        """Return the request of a file with its approvals.

        Raises:
            ServiceError: not-found.
        """
        async with self._resources.engine.connect() as connection:
            states = (OPEN, APPROVED, WITHDRAWN)
            found = await approvals.request_lines(connection, index.id, index.life, states, only=file_id)
            if not found:
                raise _not_asked(index)
            return Asked(found[0], await writing.kept_approvals(connection, file_id, found[0].round))

    async def approve(
        self, index: IndexRecord, principal: Principal, file_id: FileId, keyid: str, signature: str
    ) -> Asked:
        """Keep an approval, and ask for the publication when it completes the file and all that came with it.

        Raises:
            ServiceError: not-found; forbidden for whoever may not approve this; conflict when it is decided, expired or
                changed; invalid when the key or signature does not do.
        """
        account, now = principal.account or "", self._resources.clock.now()
        async with UnitOfWork(self._resources.engine) as work:
            group = await writing.locked_group(work.connection, index.id, index.life, file_id)
            request = _chosen(index, group, file_id)
            names = await writing.project_names(work.connection, [request.project_id])
            require(principal, Verb.APPROVE, index, NormalizedName(names[request.project_id]))
            _refuse_person(request, account)
            key = await writing.find_key(work.connection, keyid, lock=True)
            _refuse_key(key, account)
            given = await writing.kept_approvals(work.connection, file_id, request.round)
            if not any(one.account == account for one in given):
                _refuse_decided(request, now)
                await self._refuse_changed(work, index, request)
                assert key is not None
                _refuse_signature(key, request, signature)
                await writing.give(work.connection, request, account, keyid, signature, now)
                await self._record(work, principal, "approval.give", index, request, keyid=keyid)
                await self._publish(
                    work, index, await writing.complete(work.connection, group, account, now), principal
                )
                await work.commit()
        return await self.one(index, file_id)

    async def withdraw(self, index: IndexRecord, principal: Principal, file_id: FileId) -> Asked:
        """Let a file, and all that came with it, wait no more: by whoever brought it, or may configure the index.

        Raises:
            ServiceError: not-found, forbidden; conflict when it is approved.
        """
        now = self._resources.clock.now()
        async with UnitOfWork(self._resources.engine) as work:
            group = await writing.locked_group(work.connection, index.id, index.life, file_id)
            request = _chosen(index, group, file_id)
            names = await writing.project_names(work.connection, [request.project_id])
            project = NormalizedName(names[request.project_id])
            mine = request.asked_by == principal.account
            if not mine or authorize(principal, Verb.UPLOAD, index.resource(project)) is not Decision.ALLOWED:
                require(principal, Verb.CONFIGURE, index, project)
            if request.state == APPROVED:
                words = "It is approved already: yank or remove it instead."
                raise ServiceError(ErrorKind.CONFLICT, words)
            to_do = [one for one in group if one.state == OPEN]
            if to_do:
                await writing.decide(work.connection, to_do, WITHDRAWN, principal.account or "", now)
                for one in to_do:
                    await self._record(work, principal, "approval.withdraw", index, one)
                await work.commit()
        return await self.one(index, file_id)

    async def demands(self, index: IndexRecord) -> list[Demand]:
        """Return what is demanded in an index."""
        async with self._resources.engine.connect() as connection:
            return await approvals.demands(connection, index.id, index.life)

    async def demand(self, index: IndexRecord, principal: Principal, wanted: Demand) -> Demand:
        """Demand approvals of an index or of a project; what waits there needs these from now on.

        Raises:
            ServiceError: invalid, when it can never be met; conflict, when there are too many.
        """
        self._refuse_impossible(index, wanted)
        async with UnitOfWork(self._resources.engine) as work:
            await writing.take_turn(work.connection, index.id)
            place = wanted.project or WHOLE_INDEX
            known = await approvals.demands(work.connection, index.id, index.life)
            if len(known) >= MOST_DEMANDS and all(one.project != wanted.project for one in known):
                raise ServiceError(ErrorKind.CONFLICT, f"{index.name} has {MOST_DEMANDS} demands: lift some.")
            by = principal.account or ""
            await writing.put_demand(
                work.connection, index.id, index.life, wanted, place=place, by=by, at=wanted.set_at
            )
            told = {"needed": wanted.needed, "own": wanted.own}
            people = None if wanted.people is None else list(wanted.people)
            subject = f"{index.name}/{wanted.project}" if wanted.project else str(index.name)
            await audit.record(
                work.connection,
                at=wanted.set_at,
                actor=by,
                action="approval.demand",
                subject=subject,
                **told,
                people=people,
            )
            await self._again(work, index, principal)
            await work.commit()
        return wanted

    async def lift(self, index: IndexRecord, principal: Principal, project: NormalizedName | None) -> None:
        """Demand nothing there any more; what waited for it alone is published. Twice is no error."""
        now, by = self._resources.clock.now(), principal.account or ""
        async with UnitOfWork(self._resources.engine) as work:
            await writing.take_turn(work.connection, index.id)
            place = project or WHOLE_INDEX
            if await writing.put_demand(work.connection, index.id, index.life, None, place=place, by=by, at=now):
                subject = f"{index.name}/{project}" if project else str(index.name)
                await audit.record(work.connection, at=now, actor=by, action="approval.lift", subject=subject)
                await self._again(work, index, principal)
            await work.commit()

    async def register(self, principal: Principal, text: str, label: str, proof: str) -> RegisteredKey:
        """Register a key of whoever calls; the same again is no error.

        Args:
            proof: a signature of the key over `KeyRegistration`.

        Raises:
            ServiceError: invalid; conflict when it is somebody else's, was revoked, or there are too many.
        """
        account, now = principal.account or "", self._resources.clock.now()
        try:
            key = parse_key(text)
            verify(key, KeyRegistration(account, key.keyid), proof)
        except (InvalidKey, BadSignature, InvalidApproval) as error:
            raise ServiceError(ErrorKind.INVALID, _ascii(f"The key is not registered: {error}.")) from error
        new = RegisteredKey(key.keyid, account, key.kind, key.text, label, now, None, None)
        async with UnitOfWork(self._resources.engine) as work:
            if await writing.count_living_keys(work.connection, account) >= MOST_KEYS:
                raise ServiceError(ErrorKind.CONFLICT, f"You have {MOST_KEYS} keys: revoke some.")
            if not await writing.add_key(work.connection, new):
                known = await writing.find_key(work.connection, key.keyid)
                if known is None or known.account != account or known.revoked_at is not None:
                    words = "This key was registered before: by another account, or revoked. Make a new one."
                    raise ServiceError(ErrorKind.CONFLICT, words)
                return known
            told = {"kind": key.kind.value, "label": label, "fingerprint": key.fingerprint}
            await audit.record(
                work.connection, at=now, actor=account, action="approval.key-register", subject=key.keyid, **told
            )
            await work.commit()
        return new

    async def keys(self, account: str) -> list[RegisteredKey]:
        """Return the keys of an account."""
        async with self._resources.engine.connect() as connection:
            return await writing.keys_of(connection, account)

    async def revoke(self, principal: Principal, keyid: str, *, anybodys: bool) -> None:
        """End a key: it approves nothing any more. What it approved before stays approved. Twice is no error.

        Args:
            anybodys: whether the caller may end the keys of others.

        Raises:
            ServiceError: not-found, also for a key of somebody else.
        """
        by, now = principal.account or "", self._resources.clock.now()
        async with UnitOfWork(self._resources.engine) as work:
            key = await writing.find_key(work.connection, keyid)
            if key is None or not (anybodys or key.account == by):
                raise ServiceError(ErrorKind.NOT_FOUND, "You have no such key.")
            if await writing.revoke_key(work.connection, keyid, by, now):
                await audit.record(
                    work.connection, at=now, actor=by, action="approval.key-revoke", subject=keyid, account=key.account
                )
                await work.commit()

    async def _again(self, work: UnitOfWork, index: IndexRecord, principal: Principal) -> None:
        """Let what waits in an index need what is demanded now, and publish what has it."""
        waiting = await writing.locked_open(work.connection, index.id, index.life)
        names = await writing.project_names(work.connection, {one.project_id for one in waiting})
        demands = {one.project: one for one in await approvals.demands(work.connection, index.id, index.life)}
        changed: list[LockedRequest] = []
        for project_id, name in names.items():
            applies = demands.get(NormalizedName(name)) or demands.get(None)
            of_it = [one for one in waiting if one.project_id == project_id]
            changed += await writing.set_needs(work.connection, of_it, applies)
        done = await writing.complete(work.connection, changed, principal.account or "", self._resources.clock.now())
        await self._publish(work, index, done, principal)

    async def _publish(
        self, work: UnitOfWork, index: IndexRecord, done: Sequence[LockedRequest], principal: Principal
    ) -> None:
        """Ask for one publication of all files that were approved now."""
        await work.enqueue_all([PublishIndex(index.id, one.project_id, one.file_id) for one in done])
        for one in done:
            await self._record(work, principal, "approval.complete", index, one)

    async def _refuse_changed(self, work: UnitOfWork, index: IndexRecord, request: LockedRequest) -> None:
        facts = await publications.index_facts(work.connection, index.id)
        states = await publications.project_states(work.connection, [request.project_id])
        files = await file_states.changed_files(work.connection, [request.project_id], [request.file_id], [])
        if facts is None or not states or not files or request.removed:
            raise _not_asked(index)
        if sha256_of(pointer_bytes(facts, states[0].name, files[0])) != request.pointer_sha256:
            words = (
                "The file is not what was asked about any more. When an attestation of it was added just now, it is "
                "asked about anew within seconds: look at it again; else withdraw it and upload it again."
            )
            raise ServiceError(ErrorKind.CONFLICT, words)

    def _refuse_impossible(self, index: IndexRecord, wanted: Demand) -> None:
        if index.type == MIRROR:
            raise ServiceError(ErrorKind.INVALID, f"{index.name} is a mirror, and publishes nothing.")
        if not 1 <= wanted.needed <= MOST_PEOPLE:
            raise ServiceError(ErrorKind.INVALID, f"Demand 1 to {MOST_PEOPLE} approvals; to demand none, lift it.")
        if wanted.people is None:
            return
        if len(set(wanted.people)) != len(wanted.people) or len(wanted.people) > MOST_PEOPLE:
            raise ServiceError(ErrorKind.INVALID, f"Name at most {MOST_PEOPLE} people, each once.")
        if len(wanted.people) < wanted.needed:
            words = f"{wanted.needed} approvals of {len(wanted.people)} people can never be given: name more."
            raise ServiceError(ErrorKind.INVALID, words)
        unknown = [name for name in wanted.people if self._resources.directory.account(name) is None]
        if unknown:
            raise ServiceError(ErrorKind.INVALID, _ascii(f"There is no account {', '.join(unknown)}."))

    async def _record(
        self,
        work: UnitOfWork,
        principal: Principal,
        action: str,
        index: IndexRecord,
        request: LockedRequest,
        **told: str,
    ) -> None:
        token = {} if principal.token_id is None else {"token": str(principal.token_id)}
        about = approval_of(request.pointer, request.round)[0]
        await audit.record(
            work.connection,
            at=self._resources.clock.now(),
            actor=principal.account or "",
            action=action,
            subject=f"{index.name}/{about.project}/{about.version}/{about.file_name}",
            pointer_sha256=request.pointer_sha256,
            round=request.round,
            **told,
            **token,
        )


def _chosen(index: IndexRecord, group: Sequence[LockedRequest], file_id: FileId) -> LockedRequest:
    found = next((one for one in group if one.file_id == file_id and not one.removed), None)
    if found is None:
        raise _not_asked(index)
    return found


def _not_asked(index: IndexRecord) -> ServiceError:
    return ServiceError(ErrorKind.NOT_FOUND, f"No such file of {index.name} waits or waited for approvals.")


def _refuse_person(request: LockedRequest, account: str) -> None:
    if request.people is not None and account not in request.people:
        words = f"Approvals of {', '.join(request.people)} count here, not yours."
        raise ServiceError(ErrorKind.FORBIDDEN, words)
    if request.asked_by == account and not request.own:
        raise ServiceError(ErrorKind.FORBIDDEN, "You brought this file: others have to approve it.")


def _refuse_key(key: RegisteredKey | None, account: str) -> None:
    if key is None or key.account != account:
        raise ServiceError(ErrorKind.INVALID, "You have no such key: register it first.")
    if key.revoked_at is not None:
        raise ServiceError(ErrorKind.FORBIDDEN, "This key was revoked: approve with another one.")


def _refuse_decided(request: LockedRequest, now: datetime) -> None:
    state = EXPIRED if request.state == OPEN and request.expires_at <= now else request.state
    words = {
        APPROVED: "It is approved already.",
        WITHDRAWN: "It was withdrawn: whoever brought it may upload it again.",
        EXPIRED: "It waited too long: whoever brought it may upload it again.",
    }.get(state)
    if words is not None:
        raise ServiceError(ErrorKind.CONFLICT, words)


def _refuse_signature(key: RegisteredKey, request: LockedRequest, signature: str) -> None:
    try:
        verify(parse_key(key.public_key), approval_of(request.pointer, request.round)[0], signature)
    except (InvalidKey, InvalidApproval, BadSignature) as error:
        raise ServiceError(ErrorKind.INVALID, _ascii(f"This is no approval: {error}.")) from error


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()
