"""The audit chain on a real Postgres: chained once and for all, published, and loud when it was touched."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from structlog.testing import capture_logs

from countermark.core.audit import HEAD_TARGET, ChainReader, parse_head
from countermark.core.names import parse_target_path
from services.signing.publication.auditing import BATCH, ChainLoop
from services.signing.publication.usecases import Publisher
from services.signing.upkeep.rebuilding import rebuild
from shared.catalogue import audit, audit_chain, gauges
from shared.catalogue.engine import open_engine
from shared.catalogue.tables import Audit, AuditChain, AuditHead, Outbox
from shared.jobs.messages import RefreshIndex
from shared.resources import Resources
from tests.integration.signing.changes import upload
from tests.support.clock import SettableClock
from tests.support.factories import MadeIndex, make_default, make_index
from tests.support.resources import service_resources
from tests.support.tuf_reader import TreeReader


@pytest.fixture
async def index(resources: Resources) -> MadeIndex:
    """The default index of a deployment."""
    made = await make_index(resources.engine)
    await make_default(resources.engine, made)
    return made


async def note(engine: AsyncEngine, count: int = 1, at: datetime | None = None) -> None:
    """Write audit rows, in one commit."""
    async with engine.begin() as connection:
        for number in range(count):
            await audit.record(
                connection,
                at=at or datetime.now(UTC),
                actor="ann",
                action="token.create",
                subject=f"t{number}",
                n=number,
            )


async def chain(engine: AsyncEngine) -> list[tuple[int, int]]:
    """Return position and audit number of every link, after hashing all of it again."""
    reader, links = ChainReader(), []
    async with engine.connect() as connection:
        while taken := await audit_chain.follow(connection, reader, 100):
            links += taken
    return [(link.position, link.row.id) for link in links]


@asynccontextmanager
async def without_triggers(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Yield a connection of somebody who owns the database and has put its guards aside."""
    async with engine.begin() as connection:
        await connection.execute(text("set local session_replication_role = replica"))
        yield connection


async def test_rows_are_chained_once_whoever_is_at_it(resources: Resources, database: str, tmp_path: Path) -> None:
    """Two signers, each with connections of its own, and a writer at once: each row has one place, places have no gap,
    and the hashes hold."""
    beside = open_engine(database, pool=2)
    async with service_resources(beside, tmp_path / "beside") as other:
        await chain_at_once(resources, other)
    await beside.dispose()


async def chain_at_once(resources: Resources, other: Resources) -> None:
    """Write and chain on both sides, then look at all of it."""
    loops = [ChainLoop(resources), ChainLoop(other)]

    async def write() -> None:
        for _ in range(20):
            await note(resources.engine, 40)

    async def look(loop: ChainLoop) -> None:
        for _ in range(15):
            await loop.look()

    await asyncio.gather(write(), *(look(loop) for loop in loops))
    await loops[0].look()
    links = await chain(resources.engine)
    assert [position for position, _ in links] == list(range(1, len(links) + 1))
    assert len({number for _, number in links}) == len(links) >= 800
    async with resources.engine.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(Audit)) == len(links)


async def test_a_row_that_commits_after_its_followers_is_chained_after_them(resources: Resources) -> None:
    """Its number is smaller and its position larger; nothing that was chained before changes."""
    loop = ChainLoop(resources)
    await loop.look()
    async with resources.engine.connect() as late:
        fields = {"at": datetime.now(UTC), "actor": "bob", "action": "grant.set", "subject": "s"}
        number = await audit.record(late, **fields)  # type: ignore[arg-type]
        await note(resources.engine, 3)
        await loop.look()
        before = await chain(resources.engine)
        assert number < before[-1][1]
        await late.commit()
    assert await loop.look() == 1
    assert await chain(resources.engine) == [*before, (len(before) + 1, number)]


async def test_a_row_far_behind_is_found_by_the_sweep_and_reported(resources: Resources) -> None:
    """A look at the newest rows misses it, the hourly sweep chains it, and an old one is an alarm."""
    loop = ChainLoop(resources)
    await loop.look()
    async with resources.engine.connect() as late:
        an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
        number = await audit.record(late, at=an_hour_ago, actor="bob", action="grant.set", subject="s")
        await note(resources.engine, 1001)
        await loop.look()
        await late.commit()
    assert await loop.look() == 0
    with capture_logs() as logged:
        assert await ChainLoop(resources).look() == 1, "a loop that begins sweeps first"
    assert [(line["oldest"], line["rows"]) for line in logged if line["event"] == "audit_chained_late"] == [(number, 1)]
    assert b"countermark_audit_late_rows_total 1.0" in resources.metrics.text()


async def test_a_row_with_a_number_far_ahead_holds_nobody_up(resources: Resources) -> None:
    """Whoever can write to the catalogue cannot keep the chain busy with a gap that it would take years to go through;
    what comes after it is found by the sweep."""
    await note(resources.engine, 3)
    at = datetime.now(UTC)
    far = {"id": 2**62, "at": at, "actor": "ann", "action": "token.create", "subject": "t", "detail": {}}
    async with resources.engine.begin() as connection:
        await connection.execute(insert(Audit), far)
    loop = ChainLoop(resources)
    async with asyncio.timeout(20):
        await loop.look()
    links = await chain(resources.engine)
    assert links[-1][1] == 2**62
    await note(resources.engine, 2)
    async with asyncio.timeout(20):
        await ChainLoop(resources).look()
    assert len(await chain(resources.engine)) == len(links) + 2


async def test_every_process_that_looks_tells_how_long_nobody_has_chained(resources: Resources) -> None:
    """The age of the first row after the chained ones, and nothing once all are."""
    await ChainLoop(resources).look()
    await note(resources.engine, at=datetime.now(UTC) - timedelta(minutes=7))
    async with resources.engine.connect() as connection:
        assert 420 <= await gauges.unchained_age(connection) < 480
    await ChainLoop(resources).look()
    async with resources.engine.connect() as connection:
        assert await gauges.unchained_age(connection) == 0


async def test_many_rows_are_chained_batch_by_batch(resources: Resources) -> None:
    """A catalogue that had an audit before it had a chain is chained in one look."""
    await note(resources.engine, 2 * BATCH + 1)
    assert await ChainLoop(resources).look() >= 2 * BATCH + 1
    assert await ChainLoop(resources).look() == 0


async def test_a_row_that_cannot_be_hashed_stops_the_chain_and_not_the_signer(resources: Resources) -> None:
    """Such a row is put in by hand alone: the loop says so and goes on looking."""
    bad = "insert into audit (at, actor, action, subject, detail) values (now(), 'm', 'x', 'y', '{\"n\": 1e5000}')"
    async with resources.engine.begin() as connection:
        await connection.exec_driver_sql(bad)
    with capture_logs() as logged:
        running = asyncio.create_task(ChainLoop(resources).run())
        async with asyncio.timeout(20):
            while "audit_row_unusable" not in {line["event"] for line in logged}:
                await asyncio.sleep(0.05)
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])


@pytest.mark.parametrize("table", ["audit", "audit_chain", "audit_head"])
@pytest.mark.parametrize(
    "statement", ["update {} set {column} = {column}", "delete from {}", "truncate {} cascade"], ids=lambda s: s[:6]
)
async def test_the_database_refuses_to_change_what_is_on_record(
    resources: Resources, table: str, statement: str
) -> None:
    """UPDATE, DELETE and TRUNCATE raise, also for the owner of the tables."""
    await note(resources.engine)
    await ChainLoop(resources).look()
    column = "actor" if table == "audit" else "sha256"
    with pytest.raises(DBAPIError, match="never changed or deleted"):
        async with resources.engine.begin() as connection:
            await connection.execute(text(statement.format(table, column=column)))
    assert await chain(resources.engine)


async def published(resources: Resources, index: MadeIndex, tmp_path: Path) -> dict[str, Any]:
    """Return the head as stock python-tuf reads it."""
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    content = reader.target(HEAD_TARGET)
    assert content is not None
    head = parse_head(content)
    assert head.index == index.name
    return {"position": head.position, "sha256": head.sha256, "at": head.at}


async def test_the_head_is_published_with_an_ordinary_batch(
    resources: Resources, index: MadeIndex, tmp_path: Path
) -> None:
    """Any TUF client reads it as a target of the default index, of its own kind, with the chain's end."""
    assert parse_target_path(HEAD_TARGET) == HEAD_TARGET
    await note(resources.engine, 3)
    await ChainLoop(resources).look()
    await upload(resources, index, "widget-1.0-py3-none-any.whl")
    await Publisher(resources).publish(index.id)
    async with resources.engine.connect() as connection:
        end = await connection.scalar(select(AuditHead.position))
        chained = await audit_chain.at_position(connection, end or 0)
    found = await published(resources, index, tmp_path)
    assert (found["position"], found["sha256"]) == (end, chained)
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    info = reader.refreshed().get_targetinfo(HEAD_TARGET)
    assert info is not None
    assert info.custom == {"kind": "note/v1"}
    assert reader.target("pointers/widget/_latest.pointer") is not None
    plain = tmp_path / "public/indexes/root/stable" / HEAD_TARGET
    assert parse_head(plain.read_bytes()).sha256 == chained


async def test_the_head_is_published_again_every_hour_that_it_has_grown(
    resources: Resources, index: MadeIndex, clock: SettableClock, tmp_path: Path
) -> None:
    """Not with every batch; after an hour the loop asks for a batch; and not at all while nothing was added."""
    loop, publisher = ChainLoop(resources), Publisher(resources)
    await note(resources.engine)
    await loop.look()
    await publisher.publish(index.id)
    first = await published(resources, index, tmp_path)
    await upload(resources, index, "widget-1.0-py3-none-any.whl")
    await publisher.publish(index.id)
    await loop.look()
    assert await published(resources, index, tmp_path) == first
    assert await asked(resources.engine) == 0
    clock.advance(timedelta(minutes=61))
    await loop.look()
    await loop.look()
    assert await asked(resources.engine) == 1
    await publisher.publish(index.id)
    second = await published(resources, index, tmp_path)
    assert second["position"] > first["position"]
    async with resources.engine.begin() as connection:
        await connection.execute(update(Outbox).values(done_at=datetime.now(UTC)))
    clock.advance(timedelta(minutes=61))
    await loop.look()
    assert await asked(resources.engine) == 0, "a head that has not grown is not published again"
    await publisher.publish(index.id)
    assert await published(resources, index, tmp_path) == second


async def asked(engine: AsyncEngine) -> int:
    """Count the refreshes that are asked for."""
    async with engine.connect() as connection:
        query = select(func.count()).where(Outbox.kind == RefreshIndex.kind, Outbox.done_at.is_(None))
        return await connection.scalar(query) or 0


async def test_only_the_default_index_shows_the_head(resources: Resources, index: MadeIndex, tmp_path: Path) -> None:
    """Another index is published without it."""
    other = await make_index(resources.engine, "root/dev")
    await note(resources.engine)
    await ChainLoop(resources).look()
    await Publisher(resources).publish(other.id)
    reader = TreeReader(tmp_path / "public/indexes/root/dev", tmp_path / "cache")
    assert reader.target(HEAD_TARGET) is None
    assert index.name != other.name


async def test_a_rebuilt_tree_has_the_head_again(resources: Resources, index: MadeIndex, tmp_path: Path) -> None:
    """It is rendered from its row, byte for byte."""
    await note(resources.engine)
    await ChainLoop(resources).look()
    await Publisher(resources).publish(index.id)
    before = await published(resources, index, tmp_path)
    for file in (tmp_path / "public/indexes/root/stable/targets").rglob("*.head.json"):
        file.unlink()
    done = await rebuild(resources, index.id)
    assert done is not None
    assert (done.targets, done.differing) == (1, ())
    assert await published(resources, index, tmp_path) == before


TAMPERING = {
    "altered": "update audit set actor = 'mallory' where id = (select max(id) from audit)",
    "source altered": "update audit set source = '192.0.2.1' where id = (select max(id) from audit)",
    "deleted": "delete from audit where id = (select min(id) + 1 from audit)",
    "link dropped": "delete from audit_chain where position = 2",
    "hash altered": "update audit_chain set sha256 = repeat('a', 64) where position = 2",
}


@pytest.mark.parametrize("how", TAMPERING)
async def test_a_chain_that_was_touched_is_an_alarm(resources: Resources, how: str) -> None:
    """With the triggers out of the way: the next check says where, in the log and as a metric, until it is mended."""
    await note(resources.engine, 4)
    loop = ChainLoop(resources)
    await loop.look()
    assert b"countermark_audit_chain_broken 0.0" in resources.metrics.text()
    async with without_triggers(resources.engine) as connection:
        await connection.execute(text(TAMPERING[how]))
    with capture_logs() as logged:
        fault = await loop.check()
    assert fault is not None
    alarms = [line for line in logged if line["event"] == "audit_chain_broken"]
    assert [(line["position"], line["log_level"]) for line in alarms] == [(fault.position, "error")]
    assert f"countermark_audit_chain_broken {fault.position}.0".encode() in resources.metrics.text()
    assert await loop.check() is not None


async def test_a_broken_place_is_not_forgotten_when_the_newest_rows_are_right(resources: Resources) -> None:
    """The old part is checked in turn, and what was found there stays an alarm while new rows come."""
    await note(resources.engine, 3)
    loop = ChainLoop(resources)
    await loop.look()
    await note(resources.engine, 2 * BATCH)
    await loop.look()
    async with without_triggers(resources.engine) as connection:
        await connection.execute(text("update audit set actor = 'mallory' where id = (select min(id) + 1 from audit)"))
    found = [await loop.check() for _ in range(6)]
    assert [fault.position for fault in found if fault is not None][-1:] == [2]
    assert found[-1] is not None, "once it was found it is looked at each time"


async def test_a_head_is_not_published_over_a_rewritten_chain(
    resources: Resources, index: MadeIndex, clock: SettableClock, tmp_path: Path
) -> None:
    """A chain hashed anew no longer holds what was published: the old head stays, and that is an alarm."""
    await note(resources.engine, 4)
    loop, publisher = ChainLoop(resources), Publisher(resources)
    await loop.look()
    await publisher.publish(index.id)
    before = await published(resources, index, tmp_path)
    async with without_triggers(resources.engine) as connection:
        await connection.execute(text("update audit set actor = 'mallory' where id = (select min(id) + 1 from audit)"))
        await connection.execute(text("delete from audit_chain"))
    await note(resources.engine, 4)
    await ChainLoop(resources).look()
    clock.advance(timedelta(minutes=61))
    with capture_logs() as logged:
        await publisher.publish(index.id)
    assert await published(resources, index, tmp_path) == before
    assert "audit_chain_broken" in {line["event"] for line in logged}
    fault = await loop.check()
    assert fault is not None
    assert fault.position == before["position"]
    async with resources.engine.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(AuditChain)) == await connection.scalar(
            select(func.count()).select_from(Audit)
        )
