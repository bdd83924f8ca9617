"""What every process keeps of all indexes: what decides, and not what people wrote about them."""

from __future__ import annotations

import secrets
import tracemalloc
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import IndexName
from shared.auth.directory import Directory
from shared.catalogue.tables import IndexBase, IndexRow
from shared.ids import new_uuid
from tests.support.factories import make_account, now
from tests.support.reading import counted_queries


async def make_indexes(engine: AsyncEngine, number: int, **settings: Any) -> None:
    """Insert alice's indexes `i0`, `i1`, ..."""
    await make_account(engine, "alice")
    row = {
        "owner": "alice",
        "life": 1,
        "type": "stage",
        "visibility": "public",
        "volatile": True,
        "admission": "strict",
    }
    rows = [
        {**row, "id": new_uuid(), "name": f"i{one}", "settings": settings, "created_at": now()} for one in range(number)
    ]
    async with engine.begin() as connection:
        await connection.execute(insert(IndexRow), rows)


async def test_large_settings_stay_in_the_catalogue(engine: AsyncEngine) -> None:
    """Reading everything anew takes no memory for titles, descriptions and data of others."""
    await make_indexes(engine, 300, custom_data=secrets.token_hex(30_000), mirror_whitelist=["a"])
    directory = Directory(engine)
    await directory.refresh()
    async with engine.begin() as connection:
        await connection.execute(update(IndexRow).values(settings=IndexRow.settings))
    tracemalloc.start()
    await directory.refresh()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(directory.indexes()) == 300
    assert peak < 4_000_000


async def test_whitelists_follow_every_change(engine: AsyncEngine) -> None:
    """One that was set, changed, dropped or taken back is seen with the next look; what did not change is not read."""
    await make_indexes(engine, 3, mirror_whitelist=["a"], mirror_whitelist_inheritance="union")
    directory = Directory(engine)

    async def seen(**values: Any) -> tuple[frozenset[str], str]:
        async with engine.begin() as connection:
            await connection.execute(update(IndexRow).where(IndexRow.name == "i1").values(**values))
        await directory.refresh()
        record = directory.index(IndexName("alice", "i1"))
        assert record is not None
        return record.mirror_whitelist, record.whitelist_inheritance

    assert await seen(volatile=False) == (frozenset("a"), "union")
    assert await seen(settings={"mirror_whitelist": ["b", "*"]}) == (frozenset("b*"), "intersection")
    assert await seen(settings={}) == (frozenset(), "intersection")
    assert await seen(settings={"mirror_whitelist": ["a"], "mirror_whitelist_inheritance": "union"}) == (
        frozenset("a"),
        "union",
    )
    with counted_queries(engine) as queries:
        await directory.refresh()
    assert not [query for query in queries if "mirror_whitelist" in query or "settings" in query]
    async with engine.begin() as connection:
        await connection.execute(update(IndexRow).where(IndexRow.name == "i1").values(deleted_at=now()))
    await directory.refresh()
    assert directory.index(IndexName("alice", "i1")) is None
    assert await seen(deleted_at=None, settings={"mirror_whitelist": ["c"]}) == (frozenset("c"), "intersection")


async def test_a_public_index_has_no_private_base(engine: AsyncEngine) -> None:
    """Whatever its rows say: what everyone reads is not merged with what some may read; private indexes have both."""
    await make_indexes(engine, 3)
    bases = ("alice/i1", "alice/i2", "alice/none")
    async with engine.begin() as connection:
        await connection.execute(update(IndexRow).where(IndexRow.name == "i1").values(visibility="private"))
        ids = {row.name: row.id for row in await connection.execute(select(IndexRow.id, IndexRow.name))}
        for index in ("i0", "i1"):
            rows = [
                {
                    "index_id": ids[index],
                    "position": at,
                    "base_owner": "alice",
                    "base_name": base.removeprefix("alice/"),
                }
                for at, base in enumerate(bases)
            ]
            await connection.execute(insert(IndexBase), rows)
    directory = Directory(engine)
    await directory.refresh()
    found = {str(record.name): list(map(str, record.bases)) for record in directory.indexes()}
    assert found == {"alice/i0": ["alice/i2", "alice/none"], "alice/i1": list(bases), "alice/i2": []}
