"""What is left to do while a key of an online role is being replaced. Reads only; writer of the rows: signing."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, bindparam, exists, func, select
from sqlalchemy.dialects.postgresql import BYTEA
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.names import IndexName
from shared.catalogue.binning import BinnedIndex
from shared.catalogue.tables import IndexRow, TufFile, TufHead
from shared.ids import IndexId


async def without_timestamp_of(connection: AsyncConnection, keyid: str) -> list[BinnedIndex]:
    """Return the indexes whose timestamp does not have a signature of a key."""
    return await _indexes(connection, keyid, ~_names_key(TufHead.timestamp))


async def without_snapshot_of(connection: AsyncConnection, keyid: str) -> list[BinnedIndex]:
    """Return the indexes whose snapshot does not have a signature of a key."""
    return await _indexes(connection, keyid, _some_file(TufFile.role == "snapshot"))


async def without_bins_of(connection: AsyncConnection, keyid: str, prefixes: Sequence[str]) -> list[BinnedIndex]:
    """Return the indexes of which a bin does not have a signature of a key.

    Args:
        prefixes: what the names of bins begin with; only such bins are looked at. An index may have bins of an earlier
            count besides, which nobody asks for: they count as well, where their prefix is among these.
    """
    named = func.split_part(TufFile.role, "-", 1).in_(prefixes)
    return await _indexes(connection, keyid, _some_file(named))


async def behind(connection: AsyncConnection, *, root: int) -> list[BinnedIndex]:
    """Return the indexes that have not published a version of root yet, or a newer one."""
    return await _indexes(connection, "", TufHead.root_version < root)


def _some_file(which: ColumnElement[bool]) -> ColumnElement[bool]:
    mine = TufFile.index_id == TufHead.index_id
    return exists().where(mine, TufFile.current, which, ~_names_key(TufFile.content))


def _names_key(content: object) -> ColumnElement[bool]:
    """Whether a file names a key: key ids are digests, and only signatures hold them in these files."""
    return func.position(bindparam("keyid", type_=BYTEA).op("in")(content)) > 0


async def _indexes(connection: AsyncConnection, keyid: str, which: ColumnElement[bool]) -> list[BinnedIndex]:
    rows = await connection.execute(
        select(IndexRow.id, IndexRow.owner, IndexRow.name, TufHead.registry_version)
        .join(TufHead, TufHead.index_id == IndexRow.id)
        .where(which)
        .order_by(IndexRow.owner, IndexRow.name),
        {"keyid": keyid.encode()} if keyid else {},
    )
    return [BinnedIndex(IndexId(row.id), IndexName(row.owner, row.name), row.registry_version) for row in rows]
