"""Queries on what an index's tree holds beside what its head names: superseded and orphaned files. Writer: signing.

Source: trust contract section 2.6 (retention and sweeper).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any

from sqlalchemy import Row, delete, exists, func, literal, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from countermark.core.digest import Sha256
from countermark.core.names import TargetPath
from shared.catalogue.tables import Intent, Page, Publication, Tidying, TufFile, TufHead
from shared.ids import IndexId, ProjectId


@dataclass(frozen=True, slots=True)
class OldTarget:
    """A line of an intent that says nothing any more.

    Attributes:
        sha256: of the bytes it has set, None where it unset the path.
        wanted: whether another line has set the same path to the same bytes, and stays or goes later: they lie under
            one key.
    """

    version: int
    path: TargetPath
    sha256: Sha256 | None
    wanted: bool


async def claim(connection: AsyncConnection, now: datetime, before: datetime, limit: int) -> list[IndexId]:
    """Take the published indexes that were not looked at since a moment, those longest ago first, and note that they
    are looked at now. Several processes may ask: each index goes to one of them."""
    new = (
        select(TufHead.index_id, literal(0), literal(""))
        .where(~exists().where(Tidying.index_id == TufHead.index_id))
        .limit(limit)
    )
    rows = upsert(Tidying).from_select(["index_id", "version", "next_bin"], new)
    await connection.execute(rows.on_conflict_do_nothing())
    due = (
        select(Tidying.index_id)
        .where(or_(Tidying.at.is_(None), Tidying.at <= before))
        .order_by(Tidying.at.asc().nulls_first())
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    taken = update(Tidying).where(Tidying.index_id == due.c.index_id).values(at=now)
    return [IndexId(row.index_id) for row in await connection.execute(taken.returning(Tidying.index_id))]


async def ask_again(connection: AsyncConnection, index_id: IndexId) -> None:
    """Have an index looked at again soon: more is to be done in it than one look may take."""
    await connection.execute(update(Tidying).where(Tidying.index_id == index_id).values(at=None))


async def superseded_metadata(
    connection: AsyncConnection, index_id: IndexId, before: datetime, limit: int, *, snapshots: bool
) -> list[tuple[str, int]]:
    """Return (role, version) of snapshots, or of bins, that are not current since before a moment and that no snapshot
    names that is current or was at that moment or later.

    A snapshot names of each role the newest version up to its own: a version is named by none that stays when a newer
    one is no newer than the oldest snapshot that stays. So no clock decides what a snapshot names.
    """
    kept = or_(TufFile.current, TufFile.superseded_at > before)
    oldest = select(func.min(TufFile.version)).where(TufFile.index_id == index_id, TufFile.role == "snapshot", kept)
    newer = aliased(TufFile)
    replaced = exists().where(
        newer.index_id == TufFile.index_id,
        newer.role == TufFile.role,
        newer.version > TufFile.version,
        newer.version <= oldest.scalar_subquery(),
    )
    role = TufFile.role == "snapshot" if snapshots else TufFile.role != "snapshot"
    old = (TufFile.index_id == index_id, role, ~TufFile.current, TufFile.superseded_at <= before)
    query = select(TufFile.role, TufFile.version).where(*old, replaced).order_by(TufFile.superseded_at).limit(limit)
    return [(row.role, row.version) for row in await connection.execute(query)]


async def forget_metadata(connection: AsyncConnection, index_id: IndexId, files: Collection[tuple[str, int]]) -> None:
    """Remove rows of metadata whose objects are gone; a current one stays, whatever is asked."""
    those = tuple_(TufFile.role, TufFile.version).in_(list(files))
    await connection.execute(delete(TufFile).where(TufFile.index_id == index_id, ~TufFile.current, those))


async def next_publications(
    connection: AsyncConnection, index_id: IndexId, before: datetime, limit: int
) -> tuple[int, int] | None:
    """Return between which versions the oldest publications lie whose superseded targets may still be there: above the
    first, up to the second. None when all of before a moment are done with.

    One that is younger ends them, should clocks have been apart: what is stepped over is not looked at again.
    """
    done = await connection.scalar(select(Tidying.version).where(Tidying.index_id == index_id)) or 0
    rows = await connection.execute(
        select(Publication.version, Publication.committed_at)
        .where(Publication.index_id == index_id, Publication.version > done)
        .order_by(Publication.version)
        .limit(limit)
    )
    old = [row.version for row in takewhile(lambda row: row.committed_at <= before, rows)]
    return (done, old[-1]) if old else None


async def superseded_targets(
    connection: AsyncConnection, index_id: IndexId, after: int, upto: int, limit: int
) -> list[OldTarget]:
    """Return lines of earlier batches on the paths that some publications have set or unset.

    Args:
        after: the publications are of versions above this one.
        upto: and not above this one.
    """
    new, later = aliased(Intent), aliased(Intent)
    wanted = exists().where(
        later.index_id == Intent.index_id,
        later.path == Intent.path,
        later.sha256 == Intent.sha256,
        later.version > Intent.version,
    )
    query = (
        select(Intent.version, Intent.path, Intent.sha256, wanted.label("wanted"))
        .join(new, (new.index_id == Intent.index_id) & (new.path == Intent.path) & (new.version > Intent.version))
        .where(new.index_id == index_id, new.version > after, new.version <= upto, new.serial.is_not(None))
        .distinct()
        .order_by(Intent.path, Intent.version)
        .limit(limit)
    )
    return [_old_target(row) for row in await connection.execute(query)]


async def orphaned_targets(
    connection: AsyncConnection, index_id: IndexId, after: tuple[int, str], limit: int
) -> list[OldTarget]:
    """Return lines of batches that were never published and cannot be any more, in order, those behind `after`.

    Args:
        after: version and path.
    """
    head = select(TufHead.timestamp_version).where(TufHead.index_id == index_id).scalar_subquery()
    stays = aliased(Intent)
    wanted = exists().where(
        stays.index_id == Intent.index_id,
        stays.path == Intent.path,
        stays.sha256 == Intent.sha256,
        or_(stays.serial.is_not(None), stays.version > head),
    )
    query = (
        select(Intent.version, Intent.path, Intent.sha256, wanted.label("wanted"))
        .where(Intent.index_id == index_id, Intent.serial.is_(None), Intent.version < head)
        .where(tuple_(Intent.version, Intent.path) > after)
        .order_by(Intent.version, Intent.path)
        .limit(limit)
    )
    return [_old_target(row) for row in await connection.execute(query)]


def _old_target(row: Row[*tuple[Any, ...]]) -> OldTarget:
    sha256 = None if row.sha256 is None else Sha256(row.sha256)
    return OldTarget(row.version, TargetPath(row.path), sha256, row.wanted)


async def forget_targets(connection: AsyncConnection, index_id: IndexId, lines: Collection[OldTarget]) -> None:
    """Remove lines of intents whose objects are gone, or are not theirs alone."""
    those = tuple_(Intent.version, Intent.path).in_([(line.version, line.path) for line in lines])
    await connection.execute(delete(Intent).where(Intent.index_id == index_id, those))


async def note_publication(connection: AsyncConnection, index_id: IndexId, version: int) -> None:
    """Note that nothing is left of what a publication and those before it superseded."""
    row = upsert(Tidying).values(index_id=index_id, version=version, next_bin="")
    done = {"version": func.greatest(Tidying.version, version)}
    await connection.execute(row.on_conflict_do_update(index_elements=["index_id"], set_=done))


async def known_metadata(
    connection: AsyncConnection, index_id: IndexId, files: Collection[tuple[str, int]]
) -> set[tuple[str, int]]:
    """Return those of some (role, version) that were published and are kept."""
    those = tuple_(TufFile.role, TufFile.version).in_(list(files))
    rows = await connection.execute(select(TufFile.role, TufFile.version).where(TufFile.index_id == index_id, those))
    return {(row.role, row.version) for row in rows}


async def current_lengths(connection: AsyncConnection, index_id: IndexId) -> dict[tuple[str, int], int]:
    """Return (role, version) -> length in bytes of an index's current metadata, without the timestamp."""
    query = select(TufFile.role, TufFile.version, TufFile.length).where(TufFile.index_id == index_id, TufFile.current)
    return {(row.role, row.version): row.length for row in await connection.execute(query)}


async def contents(
    connection: AsyncConnection, index_id: IndexId, files: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], bytes]:
    """Return the bytes of some versions of metadata, as far as they are kept."""
    those = tuple_(TufFile.role, TufFile.version).in_(list(files))
    query = select(TufFile.role, TufFile.version, TufFile.content).where(TufFile.index_id == index_id, those)
    return {(row.role, row.version): row.content for row in await connection.execute(query)}


async def next_bin(connection: AsyncConnection, index_id: IndexId) -> str:
    """Return the bin to go on with, empty for the first one."""
    return await connection.scalar(select(Tidying.next_bin).where(Tidying.index_id == index_id)) or ""


async def note_bin(connection: AsyncConnection, index_id: IndexId, name: str) -> None:
    """Note the bin to go on with."""
    await connection.execute(update(Tidying).where(Tidying.index_id == index_id).values(next_bin=name))


async def newest_digests(
    connection: AsyncConnection, index_id: IndexId, paths: Collection[TargetPath]
) -> dict[TargetPath, Sha256 | None]:
    """Return what the newest publication has set each of some paths to, None where it unset one."""
    newest = (
        select(Intent.path, Intent.sha256)
        .where(Intent.index_id == index_id, Intent.path.in_(paths), Intent.serial.is_not(None))
        .ext(distinct_on(Intent.path))
        .order_by(Intent.path, Intent.version.desc())
    )
    rows = await connection.execute(newest)
    return {TargetPath(row.path): None if row.sha256 is None else Sha256(row.sha256) for row in rows}


async def shown_projects(
    connection: AsyncConnection, index_id: IndexId, names: Collection[str]
) -> dict[ProjectId, int]:
    """Return the projects of some names whose page documents are current, each with that page's serial."""
    newest = (
        select(Page.project_id, Page.serial)
        .where(Page.index_id == index_id, Page.project_name.in_(names))
        .ext(distinct_on(Page.project_name))
        .order_by(Page.project_name, Page.serial.desc())
    )
    return {ProjectId(row.project_id): row.serial for row in await connection.execute(newest)}
