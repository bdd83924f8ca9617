"""Which bytes of upstreams are kept in the object store, and when they were last used. Writer: the download service.

Bytes come before their row, and go before it: what is in the store without a row is fetched again, or found when it
cannot be, and a row without bytes is noticed when they are asked for. Neither makes a wrong answer.
Source: architecture section 11.6; ADR 0028.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import CTE, ColumnElement, Select, bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.digest import Length, Sha256
from shared.catalogue.fetches import RELAXED, Looking, Place, Turn, ending, looking
from shared.catalogue.gathered import NUMBER, Gathered
from shared.catalogue.prepared import Found, Prepared
from shared.catalogue.tables import MirrorFile
from shared.objects.interface import Key

USE_NOTED = timedelta(hours=1)
"""How much later than the last time a use is written down: reads are to cost no writes."""

_AT_ONCE = 500
"""Files that are marked for removal in one transaction."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes that are kept; `evicting` when they are about to be removed."""

    sha256: Sha256
    length: Length
    evicting: bool = False


async def kept_file(connection: AsyncConnection, key: Key) -> Kept | None:
    """Return what is known of kept bytes."""
    rows = await _KEPT.rows(connection, {"of": key})
    return kept_of(rows[0]) if rows else None


def unless_kept(key: Key) -> Looking:
    """Return how a turn to fetch bytes is taken only where nothing is known of them."""
    return Looking(_UNLESS_KEPT, {"of": key})


def kept_of(row: Found) -> Kept | None:
    """Return what is known of kept bytes by the row of `unless_kept`."""
    if row["sha256"] is None:
        return None
    return Kept(Sha256(row["sha256"]), Length(row["length"]), row["evicting_at"] is not None)


async def note_stored(connection: AsyncConnection, key: Key, kept: Kept, now: datetime) -> None:
    """Note that bytes are in the store and in use; a removal that is under way ends with the row still there.

    This does not wait for the disk: bytes without a row are fetched again at the worst.
    """
    await _STORED.rows(connection, [_values(key, kept, now)])


async def note_fetched(at: Place, key: Key, kept: Kept, now: datetime, turn: Turn) -> None:
    """As `note_stored`, and end the turn in which the bytes were fetched."""
    await turn.end(at, _FETCHED, _values(key, kept, now))


async def note_used(connection: AsyncConnection, keys: Collection[Key], now: datetime) -> None:
    """Note that bytes were used, where the last note of that is old; they are not removed for a while."""
    statement = update(MirrorFile).where(MirrorFile.key.in_(keys), MirrorFile.used_at < now - USE_NOTED)
    await connection.execute(statement.values(used_at=now, evicting_at=None))


async def forget(connection: AsyncConnection, key: Key) -> None:
    """Drop the row of bytes that are not in the store, or are not the right ones."""
    await connection.execute(delete(MirrorFile).where(MirrorFile.key == key))


async def kept_bytes(connection: AsyncConnection) -> int:
    """Return how many bytes are kept, without those that are being removed."""
    total = select(func.coalesce(func.sum(MirrorFile.length), 0)).where(MirrorFile.evicting_at.is_(None))
    return int(await connection.scalar(total) or 0)


async def mark_oldest(connection: AsyncConnection, excess: int, now: datetime) -> int:
    """Mark what was used longest ago for removal, until that is `excess` bytes or a batch; returns how many bytes."""
    oldest = (
        select(MirrorFile.key, MirrorFile.length)
        .where(MirrorFile.evicting_at.is_(None))
        .order_by(MirrorFile.used_at)
        .limit(_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    keys, freed = [], 0
    for row in await connection.execute(oldest):
        if freed >= excess:
            break
        keys.append(row.key)
        freed += row.length
    await connection.execute(update(MirrorFile).where(MirrorFile.key.in_(keys)).values(evicting_at=now))
    return freed


async def mark(connection: AsyncConnection, keys: Sequence[Key], now: datetime) -> None:
    """Mark bytes for removal, as far as they are kept; whoever uses them before that keeps them."""
    for at in range(0, len(keys), _AT_ONCE):
        some = MirrorFile.key.in_(keys[at : at + _AT_ONCE])
        await connection.execute(update(MirrorFile).where(some).values(evicting_at=now))


async def marked(connection: AsyncConnection, before: datetime) -> list[Key]:
    """Return some of what was marked for removal before a moment."""
    rows = select(MirrorFile.key).where(MirrorFile.evicting_at < before).order_by(MirrorFile.evicting_at)
    return [Key(key) for key in await connection.scalars(rows.limit(_AT_ONCE))]


async def note_removed(connection: AsyncConnection, keys: Collection[Key]) -> None:
    """Drop the rows of bytes that were removed; one that is in use again since stays."""
    await connection.execute(delete(MirrorFile).where(MirrorFile.key.in_(keys), MirrorFile.evicting_at.is_not(None)))


def _values(key: Key, kept: Kept, now: datetime) -> dict[str, object]:
    return {"new_key": key, "new_sha256": kept.sha256, "new_length": kept.length, "new_stored_at": now}


def _storing(asked: CTE) -> Sequence[ColumnElement[Any]]:
    told = {name: asked.c[f"new_{name}"] for name in _NEW}
    rows = select(*told.values(), told["stored_at"]).order_by(told["key"])
    new = insert(MirrorFile).from_select([*told, "used_at"], rows, include_defaults=False)
    changed = {name: new.excluded[name] for name in ("sha256", "length", "stored_at", "used_at", "evicting_at")}
    kept = new.on_conflict_do_update(index_elements=[MirrorFile.key], set_=changed)
    count = select(func.count()).select_from(kept.returning(MirrorFile.key).cte("kept"))
    return count.scalar_subquery(), RELAXED


def _stored(asked: CTE) -> Select[*tuple[Any, ...]]:
    return select(asked.c[NUMBER], *_storing(asked)).order_by(asked.c[NUMBER])


def _kept(key: ColumnElement[str]) -> Select[*tuple[Any, ...]]:
    return select(MirrorFile.sha256, MirrorFile.length, MirrorFile.evicting_at).where(MirrorFile.key == key)


_COLUMNS = MirrorFile.__table__.columns
_NEW = ("key", "sha256", "length", "stored_at")
_TYPES = {f"new_{name}": _COLUMNS[name].type for name in _NEW}
_KEPT = Prepared(_kept(bindparam("of")))
_UNLESS_KEPT = looking({"of": _COLUMNS["key"].type}, lambda asked: _kept(asked.c.of))
_STORED, _FETCHED = Gathered(_TYPES, _stored), ending(_TYPES, _storing)
