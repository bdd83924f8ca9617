"""The beginning and the end of an index: made, deleted, made again as a new life of the same row.

Deleting publishes an index empty and keeps its rows, so that old addresses answer 410, and versions and serials of its
metadata go on when it is made again: else every client would see a rollback.
Source: architecture section 11.8.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Row, delete, exists, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.names import IndexName
from shared.auth.principal import ANONYMOUS, Grant, Verb
from shared.catalogue import outbox
from shared.catalogue.tables import Account, IndexBase, IndexRow, Outbox, PublishedFile
from shared.catalogue.tables import Grant as GrantRow
from shared.catalogue.unit_of_work import UnitOfWork
from shared.errors import ErrorKind, ServiceError
from shared.ids import IndexId, new_uuid
from shared.jobs.messages import PublishIndex
from shared.reading.resolution import MIRROR


@dataclass(frozen=True, slots=True)
class Birth:
    """An index to be made.

    Attributes:
        settings: see `shared.catalogue.tables.IndexRow`.
        grants: who may do what beside the owner, and beside everyone, who may read a public index.
        owner_verbs: what the owner may do: everything, unless devpi's lists of rights leave them out.
    """

    name: IndexName
    visibility: Literal["public", "private"] = "public"
    type: str = "stage"
    volatile: bool = False
    admission: Literal["strict", "devpi"] = "strict"
    settings: Mapping[str, Any] = field(default_factory=dict)
    bases: Sequence[IndexName] = ()
    grants: frozenset[Grant] = frozenset()
    owner_verbs: frozenset[Verb] = frozenset(Verb)

    def all_grants(self) -> set[Grant]:
        """Return every right on the new index."""
        own = {Grant(self.name.owner, verb) for verb in self.owner_verbs}
        everyone = {Grant(ANONYMOUS, Verb.READ)} if self.visibility == "public" else set()
        return own | everyone | self.grants


async def begin(work: UnitOfWork, birth: Birth, now: datetime, *, most: int | None = None) -> IndexId | None:
    """Make an index, or make a deleted one again; None when it is there. A stage's first publication is asked for.

    Args:
        most: indexes that its owner may have; None for as many as the operator makes.

    Raises:
        ServiceError: CONFLICT when it was another kind of index before, FORBIDDEN when its owner has too many,
            UNAVAILABLE while what it held is still shown.
    """
    values = {
        "type": birth.type,
        "visibility": birth.visibility,
        "volatile": birth.volatile,
        "admission": birth.admission,
        "settings": dict(birth.settings),
        "created_at": now,
    }
    name = birth.name
    row = pg_insert(IndexRow).values(id=new_uuid(), owner=name.owner, name=name.name, life=1, **values)
    made = await work.connection.scalar(row.on_conflict_do_nothing().returning(IndexRow.id))
    index_id = IndexId(made) if made is not None else await _revive(work.connection, birth, values)
    if index_id is None:
        return None
    if most is not None:
        await _check_number(work.connection, name.owner, most)
    grants = [{"index_id": index_id, "subject": one.subject, "verb": one.verb.value} for one in birth.all_grants()]
    await work.connection.execute(insert(GrantRow), grants)
    await set_bases(work.connection, index_id, birth.bases)
    if birth.type != MIRROR:
        await work.enqueue(PublishIndex(index_id))
    return index_id


async def _check_number(connection: AsyncConnection, owner: str, most: int) -> None:
    """Refuse the index that was made last when its owner has too many with it.

    Raises:
        ServiceError: FORBIDDEN.
    """
    # Those that are made at the same time count one after the other.
    await connection.execute(select(Account.name).where(Account.name == owner).with_for_update(key_share=True))
    living = (IndexRow.owner == owner, IndexRow.deleted_at.is_(None))
    number = await connection.scalar(select(func.count()).select_from(IndexRow).where(*living)) or 0
    if number > most:
        detail = (
            f"user {owner!r} has {number - 1} indexes, the most that one may have here: delete one first "
            "(setting indexes.per_owner)"
        )
        raise ServiceError(ErrorKind.FORBIDDEN, detail)


async def end(work: UnitOfWork, index_id: IndexId, life: int, now: datetime) -> None:
    """Delete a living index whose row the caller has locked: its projects are asked to be published empty."""
    await work.connection.execute(update(IndexRow).where(IndexRow.id == index_id).values(deleted_at=now))
    await outbox.insert_for_projects(work.connection, index_id, life)


async def set_bases(connection: AsyncConnection, index_id: IndexId, bases: Sequence[IndexName]) -> None:
    """Give an index its bases, in place of those it had."""
    await connection.execute(delete(IndexBase).where(IndexBase.index_id == index_id))
    if bases:
        rows = [
            {"index_id": index_id, "position": position, "base_owner": base.owner, "base_name": base.name}
            for position, base in enumerate(bases)
        ]
        await connection.execute(insert(IndexBase), rows)


async def is_emptied(connection: AsyncConnection, name: IndexName) -> bool:
    """Return whether nothing is shown any more of what an index held in an earlier life; also when it had none."""
    of_name = (IndexRow.owner == name.owner, IndexRow.name == name.name, IndexRow.deleted_at.is_not(None))
    index_id = await connection.scalar(select(IndexRow.id).where(*of_name))
    return index_id is None or await _is_empty(connection, IndexId(index_id))


async def _revive(connection: AsyncConnection, birth: Birth, values: Mapping[str, Any]) -> IndexId | None:
    """Begin another life of a deleted index, with nothing of the earlier ones."""
    row = await _deleted(connection, birth.name)
    if row is None:
        return None
    index_id = IndexId(row.id)
    if (row.type, row.visibility) != (birth.type, birth.visibility):
        # Its tree and its signed versions lie on one side of the store, and clients remember them.
        before = f"a {row.visibility} {row.type}"
        raise ServiceError(
            ErrorKind.CONFLICT, f"{birth.name} was {before} before: make that again, or take another name."
        )
    if not await _is_empty(connection, index_id):
        detail = f"{birth.name} was deleted a moment ago and is still being emptied. Try again shortly."
        raise ServiceError(ErrorKind.UNAVAILABLE, detail)
    await connection.execute(delete(GrantRow).where(GrantRow.index_id == index_id))
    again = update(IndexRow).where(IndexRow.id == index_id)
    await connection.execute(again.values(life=IndexRow.life + 1, deleted_at=None, **values))
    return index_id


async def _deleted(connection: AsyncConnection, name: IndexName) -> Row[uuid.UUID, str, str] | None:
    of_name = (IndexRow.owner == name.owner, IndexRow.name == name.name, IndexRow.deleted_at.is_not(None))
    query = select(IndexRow.id, IndexRow.type, IndexRow.visibility).where(*of_name).with_for_update()
    return (await connection.execute(query)).first()


async def _is_empty(connection: AsyncConnection, index_id: IndexId) -> bool:
    shown = exists().where(PublishedFile.index_id == index_id, PublishedFile.to_serial.is_(None))
    waiting = exists().where(
        Outbox.index_id == index_id,
        Outbox.kind == PublishIndex.kind,
        Outbox.ids["project_id"].astext.is_not(None),
        Outbox.done_at.is_(None),
        Outbox.dead_at.is_(None),
    )
    return not await connection.scalar(select(shown | waiting))
