"""Writes on release approval. Writer: signing; each in the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.digest import Sha256
from shared.catalogue.approvals import APPROVED, OPEN, WHOLE_INDEX, Demand, counted
from shared.catalogue.tables import ApprovalDemand, ApprovalGiven, ApprovalKey, ApprovalRequest, File, Outbox, Project
from shared.ids import FileId, IndexId, OutboxId, ProjectId, new_uuid

_LOCK = 0x636D6B03
"""Advisory lock of the catalogue, with the index: who opens requests and who changes demands take turns."""


@dataclass(frozen=True, slots=True)
class NewRequest:
    """A file that is to wait; the fields are those of the table."""

    file_id: FileId
    index_id: IndexId
    project_id: ProjectId
    group_id: UUID
    round: int
    needed: int
    people: Sequence[str] | None
    own: bool
    pointer: bytes
    pointer_sha256: Sha256
    asked_by: str
    opened_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class LockedRequest:
    """A request that nobody else changes until the transaction ends."""

    file_id: FileId
    project_id: ProjectId
    group_id: UUID
    round: int
    state: str
    needed: int
    people: tuple[str, ...] | None
    own: bool
    pointer: bytes
    pointer_sha256: Sha256
    asked_by: str
    expires_at: datetime
    removed: bool


@dataclass(frozen=True, slots=True)
class RegisteredKey:
    """A key of a person."""

    keyid: str
    account: str
    kind: str
    public_key: str
    label: str
    registered_at: datetime
    revoked_at: datetime | None
    revoked_by: str | None


@dataclass(frozen=True, slots=True)
class KeptApproval:
    """An approval with the key that made it."""

    account: str
    keyid: str
    kind: str
    public_key: str
    signature: str
    given_at: datetime
    revoked_at: datetime | None


async def take_turn(connection: AsyncConnection, index_id: IndexId) -> None:
    """Wait until no other transaction opens requests of an index or changes its demands; held until this one ends."""
    key = index_id.int & 0x7FFFFFFF
    await connection.execute(text("select pg_advisory_xact_lock(:lock, :key)"), {"lock": _LOCK, "key": key})


async def open_requests(connection: AsyncConnection, new: Sequence[NewRequest]) -> None:
    """Let files wait, also those that waited before: then in a new round."""
    # In the order of `_locked`: whoever approves a group locks the same rows.
    for one in sorted(new, key=lambda one: one.file_id):
        values = {name: getattr(one, name) for name in one.__slots__}
        values |= {"people": None if one.people is None else list(one.people), "state": OPEN}
        values |= {"decided_at": None, "decided_by": None}
        row = upsert(ApprovalRequest).values(**values)
        await connection.execute(row.on_conflict_do_update(index_elements=["file_id"], set_=values))


async def created_at(connection: AsyncConnection, ids: Collection[OutboxId]) -> dict[OutboxId, datetime]:
    """Return when jobs were asked for: those of one transaction at the same moment."""
    rows = await connection.execute(select(Outbox.id, Outbox.created_at).where(Outbox.id.in_(ids)))
    return {OutboxId(row.id): row.created_at for row in rows}


async def locked_group(
    connection: AsyncConnection, index_id: IndexId, life: int, file_id: FileId
) -> list[LockedRequest]:
    """Return the request of a file and those that came with it, locked; nothing when there is none in this life."""
    of_life = select(Project.id).where(Project.index_id == index_id, Project.life == life)
    group = select(ApprovalRequest.group_id).where(
        ApprovalRequest.file_id == file_id, ApprovalRequest.index_id == index_id
    )
    found = await _locked(connection, ApprovalRequest.group_id == group.scalar_subquery(), of_life)
    return found if any(one.file_id == file_id for one in found) else []


async def locked_one(connection: AsyncConnection, file_id: FileId) -> list[LockedRequest]:
    """Return the request of a file, locked, in a list; an empty one without a request."""
    return await _locked(connection, ApprovalRequest.file_id == file_id, select(Project.id))


async def locked_open(connection: AsyncConnection, index_id: IndexId, life: int) -> list[LockedRequest]:
    """Return the open requests of an index, locked."""
    of_life = select(Project.id).where(Project.index_id == index_id, Project.life == life)
    wanted = (ApprovalRequest.index_id == index_id) & (ApprovalRequest.state == OPEN)
    return await _locked(connection, wanted, of_life)


async def locked_to_settle(connection: AsyncConnection, index_id: IndexId, life: int) -> list[LockedRequest]:
    """Return the open requests of an index, and those of removed files that are not withdrawn, locked."""
    of_life = select(Project.id).where(Project.index_id == index_id, Project.life == life)
    unsettled = or_(ApprovalRequest.state == OPEN, (ApprovalRequest.state == APPROVED) & File.removed_at.is_not(None))
    return await _locked(connection, (ApprovalRequest.index_id == index_id) & unsettled, of_life)


async def _locked(connection: AsyncConnection, wanted: Any, projects: Any) -> list[LockedRequest]:
    names = ("file_id", "project_id", "group_id", "round", "state", "needed", "people", "own")
    more = ("pointer", "pointer_sha256", "asked_by", "expires_at")
    rows = await connection.execute(
        select(
            *(getattr(ApprovalRequest, name) for name in (*names, *more)),
            File.removed_at.is_not(None).label("removed"),
        )
        .join(File, File.id == ApprovalRequest.file_id)
        .where(wanted, ApprovalRequest.project_id.in_(projects))
        # In one order for all, so that no two wait for each other.
        .order_by(ApprovalRequest.file_id)
        .with_for_update(of=ApprovalRequest)
    )
    found = [LockedRequest(**row._mapping) for row in rows]
    return [replace(one, people=None if one.people is None else tuple(one.people)) for one in found]


async def complete(
    connection: AsyncConnection, requests: Sequence[LockedRequest], by: str, now: datetime
) -> list[LockedRequest]:
    """Approve the groups of which every file has what it needs; returns their requests.

    Args:
        requests: locked, whole groups.
    """
    given = await counted(connection, {one.file_id: (one.round, one.people) for one in requests})
    groups: dict[UUID, list[LockedRequest]] = {}
    for one in requests:
        if not one.removed:
            groups.setdefault(one.group_id, []).append(one)
    done = [
        one
        for group in groups.values()
        if all(
            one.state == APPROVED
            or (one.state == OPEN and one.expires_at > now and len(given.get(one.file_id, ())) >= one.needed)
            for one in group
        )
        for one in group
        if one.state == OPEN
    ]
    await decide(connection, done, APPROVED, by, now)
    return done


async def decide(
    connection: AsyncConnection, requests: Sequence[LockedRequest], state: str, by: str, now: datetime
) -> None:
    """Set the state of requests."""
    ids = [one.file_id for one in requests]
    if ids:
        await connection.execute(
            update(ApprovalRequest)
            .where(ApprovalRequest.file_id.in_(ids))
            .values(state=state, decided_at=now, decided_by=by)
        )


async def set_needs(
    connection: AsyncConnection, requests: Sequence[LockedRequest], demand: Demand | None
) -> list[LockedRequest]:
    """Let what waits need what is demanded now, nothing when that is None; returns the requests as they are then."""
    needed, people, own = (0, None, True) if demand is None else (demand.needed, demand.people, demand.own)
    ids = [one.file_id for one in requests]
    if ids:
        kept = None if people is None else list(people)
        await connection.execute(
            update(ApprovalRequest).where(ApprovalRequest.file_id.in_(ids)).values(needed=needed, people=kept, own=own)
        )
    return [replace(one, needed=needed, people=people, own=own) for one in requests]


async def give(
    connection: AsyncConnection, request: LockedRequest, account: str, keyid: str, signature: str, now: datetime
) -> bool:
    """Keep a person's approval; returns False when there is one in this round already."""
    row = upsert(ApprovalGiven).values(
        file_id=request.file_id,
        round=request.round,
        account=account,
        keyid=keyid,
        signature=signature,
        given_at=now,
    )
    added = await connection.execute(row.on_conflict_do_nothing().returning(ApprovalGiven.account))
    return added.first() is not None


async def kept_approvals(connection: AsyncConnection, file_id: FileId, number: int) -> list[KeptApproval]:
    """Return the approvals of a round of a file, oldest first."""
    columns = (ApprovalGiven.account, ApprovalGiven.keyid, ApprovalKey.kind, ApprovalKey.public_key)
    rows = await connection.execute(
        select(*columns, ApprovalGiven.signature, ApprovalGiven.given_at, ApprovalKey.revoked_at)
        .join(ApprovalKey, ApprovalKey.keyid == ApprovalGiven.keyid)
        .where(ApprovalGiven.file_id == file_id, ApprovalGiven.round == number)
        .order_by(ApprovalGiven.given_at, ApprovalGiven.account)
    )
    return [KeptApproval(**row._mapping) for row in rows]


async def put_demand(  # noqa: PLR0913 - the columns of a row
    connection: AsyncConnection,
    index_id: IndexId,
    life: int,
    demand: Demand | None,
    *,
    place: str,
    by: str,
    at: datetime,
) -> bool:
    """Demand approvals of an index or project in place of what was demanded there, or lift that; returns whether there
    was something before."""
    lifted = await connection.execute(
        update(ApprovalDemand)
        .where(ApprovalDemand.index_id == index_id, ApprovalDemand.life == life, ApprovalDemand.project == place)
        .where(ApprovalDemand.lifted_at.is_(None))
        .values(lifted_at=at, lifted_by=by)
    )
    if demand is not None:
        people = None if demand.people is None else list(demand.people)
        values = {"needed": demand.needed, "people": people, "own": demand.own, "set_at": at, "set_by": by}
        row = {"id": new_uuid(), "index_id": index_id, "life": life, "project": demand.project or WHOLE_INDEX}
        await connection.execute(insert(ApprovalDemand).values(**row, **values))
    return lifted.rowcount > 0


async def project_names(connection: AsyncConnection, ids: Collection[ProjectId]) -> Mapping[ProjectId, str]:
    """Return the names of projects."""
    rows = await connection.execute(select(Project.id, Project.name).where(Project.id.in_(ids)))
    return {ProjectId(row.id): row.name for row in rows}


_KEY = tuple(getattr(ApprovalKey, name) for name in RegisteredKey.__slots__)


async def add_key(connection: AsyncConnection, key: RegisteredKey) -> bool:
    """Register a key; returns False when it is or was registered, by whomever."""
    row = upsert(ApprovalKey).values(**{name: getattr(key, name) for name in key.__slots__})
    added = await connection.execute(row.on_conflict_do_nothing().returning(ApprovalKey.keyid))
    return added.first() is not None


async def find_key(connection: AsyncConnection, keyid: str, *, lock: bool = False) -> RegisteredKey | None:
    """Return a key, None without one.

    Args:
        lock: nobody revokes it until the transaction ends.
    """
    query = select(*_KEY).where(ApprovalKey.keyid == keyid)
    row = (await connection.execute(query.with_for_update(read=True) if lock else query)).first()
    return None if row is None else RegisteredKey(**row._mapping)


async def keys_of(connection: AsyncConnection, account: str) -> list[RegisteredKey]:
    """Return the keys of an account, oldest first, the revoked ones as well."""
    rows = await connection.execute(
        select(*_KEY).where(ApprovalKey.account == account).order_by(ApprovalKey.registered_at, ApprovalKey.keyid)
    )
    return [RegisteredKey(**row._mapping) for row in rows]


async def count_living_keys(connection: AsyncConnection, account: str) -> int:
    """Return how many keys of an account were not revoked."""
    living = (ApprovalKey.account == account, ApprovalKey.revoked_at.is_(None))
    return await connection.scalar(select(func.count()).where(*living)) or 0


async def revoke_key(connection: AsyncConnection, keyid: str, by: str, at: datetime) -> bool:
    """End a key; returns False when it was ended before."""
    done = await connection.execute(
        update(ApprovalKey)
        .where(ApprovalKey.keyid == keyid, ApprovalKey.revoked_at.is_(None))
        .values(revoked_at=at, revoked_by=by)
    )
    return done.rowcount > 0
