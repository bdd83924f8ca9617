"""Queries whose cost must not grow with the catalogue: Postgres is asked how it would answer them."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from packaging.utils import NormalizedName
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from countermark.core.names import FileName
from shared.catalogue import approvals, merged, provenance_due, releases
from shared.ids import FileId
from tests.support.factories import make_file, make_index, now


async def plan_of(engine: AsyncEngine, query: Callable[[AsyncConnection], Awaitable[object]]) -> str:
    """Return how Postgres answers the last statement of a query when it may choose any index."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        sent.append((statement, parameters))

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    try:
        async with engine.connect() as connection:
            await query(connection)
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", note)
    statement, parameters = sent[-1]
    async with engine.connect() as connection:
        # The tables of a test are so small that reading them whole is cheaper. They are not analysed: a plan must not
        # depend on whether Postgres came to that yet.
        await connection.execute(text("set local enable_seqscan = off"))
        rows = await connection.exec_driver_sql(f"explain {statement}", parameters)
        return "\n".join(rows.scalars())


async def test_a_new_project_is_compared_with_others_by_an_index(engine: AsyncEngine) -> None:
    """However many projects an index has, the first upload of one more looks at those that look alike."""
    index = await make_index(engine)
    await make_file(engine, index, "widget-1.0.tar.gz")
    more = (
        "insert into project select gen_random_uuid(), index_id, life, format, 'p' || n, 'p', status, null, created_at"
    )
    async with engine.begin() as connection:
        await connection.execute(text(f"{more} from project, generate_series(1, 3000) as n"))

    async def query(connection: AsyncConnection) -> None:
        alike = await releases.confusable_project(connection, index.id, 1, "python", NormalizedName("w1dget"))
        assert alike == "widget"

    assert "ix_project_alike" in await plan_of(engine, query)


async def test_the_refusal_of_a_file_is_found_by_an_index(engine: AsyncEngine) -> None:
    """However many jobs were ever done, a file's status looks at those that were given up."""
    index = await make_index(engine)
    file = await make_file(engine, index, "widget-1.0.tar.gz")

    async def query(connection: AsyncConnection) -> None:
        assert await releases.progress(connection, FileId(UUID(int=0))) is None
        assert await releases.progress(connection, file.id) is not None

    assert "ix_outbox_dead" in await plan_of(engine, query)


async def test_a_merged_view_is_looked_up_by_indexes(engine: AsyncEngine) -> None:
    """Who knows a project, who shows a file of a name, what is held: never a look at all rows, with any members."""
    made = [await make_index(engine, f"a/i{number}") for number in range(3)]
    for index in made:
        await make_file(engine, index, "widget-1.0.tar.gz", str(index.name).encode())
    async with engine.begin() as connection:
        await connection.execute(text("update file set held_at = :at"), {"at": now()})
        shown = "insert into published_file (index_id, file_id, project_id, from_serial, to_serial)"
        await connection.execute(text(f"{shown} select index_id, id, project_id, 1, 2 from file"))
    ids, name, file_name = [index.id for index in made], NormalizedName("widget"), FileName("widget-1.0.tar.gz")

    async def known(connection: AsyncConnection) -> None:
        assert set(await merged.standings(connection, ids, name)) == set(ids)

    async def named(connection: AsyncConnection) -> None:
        files = await merged.files_named(connection, ids, ids[0], file_name)
        assert [(index_id, facts.visible) for index_id, facts in files] == [(ids[0], False)]

    async def held(connection: AsyncConnection) -> None:
        assert await merged.held_names(connection, ids[0], name) == {file_name}

    for query in (known, named, held):
        assert "Seq Scan" not in await plan_of(engine, query)


async def test_what_a_file_waits_for_is_found_by_indexes(engine: AsyncEngine) -> None:
    """However many files wait anywhere, an upload and a batch look at their own."""
    index = await make_index(engine)
    file = await make_file(engine, index, "widget-1.0.tar.gz")

    async def batch(connection: AsyncConnection) -> None:
        assert await approvals.verdicts(connection, index.id, [file.id]) == {}

    async def upload(connection: AsyncConnection) -> None:
        assert await approvals.standing(connection, file.id) is None

    async def removal(connection: AsyncConnection) -> None:
        assert not await approvals.any_to_settle(connection, [file.project_id])

    for query in (batch, upload):
        plan = await plan_of(engine, query)
        assert "Seq Scan" not in plan, plan
        assert "pk_approval_request" in plan, plan
    assert "ix_approval_request_project" in await plan_of(engine, removal)


async def test_what_is_due_of_attestations_is_found_by_indexes(engine: AsyncEngine) -> None:
    """However many attested files a project has, laying looks at those that changed."""
    index = await make_index(engine)
    await make_file(engine, index, "widget-1.0.tar.gz")
    async with engine.begin() as connection:
        shown = (
            "insert into published_file (index_id, file_id, project_id, from_serial) select index_id, id, project_id"
        )
        await connection.execute(text(f"{shown}, 1 from file"))

    async def due(connection: AsyncConnection) -> None:
        assert await provenance_due.names_due(connection, index.id, NormalizedName("widget"), since=0) == []

    plan = await plan_of(engine, due)
    assert "Seq Scan" not in plan, plan
    for name in ("ix_published_file_from", "ix_published_file_to", "ix_provenance_due_project"):
        assert name in plan, plan
