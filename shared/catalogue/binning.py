"""What is known of the bins of every index that was ever published. Reads only; writer of the rows: signing."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.names import IndexName
from shared.catalogue.tables import IndexRow, TufFile, TufHead
from shared.ids import IndexId


@dataclass(frozen=True, slots=True)
class BinnedIndex:
    """An index with the registry version its snapshot names; deleted ones count, since their signatures live on."""

    id: IndexId
    name: IndexName
    registry_version: int


@dataclass(frozen=True, slots=True)
class BinSizes:
    """How many bins there are of one name prefix, how many bytes they are together, and how many the largest is."""

    bins: int
    total: int
    largest: int


async def binned_indexes(connection: AsyncConnection) -> list[BinnedIndex]:
    """Return every index that has a head, by name."""
    rows = await connection.execute(
        select(IndexRow.id, IndexRow.owner, IndexRow.name, TufHead.registry_version)
        .join(TufHead, TufHead.index_id == IndexRow.id)
        .order_by(IndexRow.owner, IndexRow.name)
    )
    return [BinnedIndex(IndexId(row.id), IndexName(row.owner, row.name), row.registry_version) for row in rows]


async def bin_sizes(connection: AsyncConnection, index_id: IndexId) -> dict[str, BinSizes]:
    """Return the current bins of an index by their name prefix, and its snapshot under `snapshot`."""
    prefix = func.split_part(TufFile.role, "-", 1)
    rows = await connection.execute(
        select(prefix.label("prefix"), func.count(), func.sum(TufFile.length), func.max(TufFile.length))
        .where(TufFile.index_id == index_id, TufFile.current)
        .group_by(prefix)
    )
    return {row.prefix: BinSizes(row[1], int(row[2]), int(row[3])) for row in rows}
