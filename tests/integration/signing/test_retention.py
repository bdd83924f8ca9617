"""Superseded files stay for readers in flight and then go; what a head names never goes."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from sqlalchemy import func, select, text

from services.signing.ceremonies.trust_root import ensure_registry
from services.signing.publication.usecases import Publisher
from services.signing.upkeep.rebinning import rebin
from services.signing.upkeep.retention import remove_superseded
from services.signing.upkeep.tidying import TidyLoop
from shared.catalogue import audit, leases, marks, publications
from shared.catalogue.publication_rows import STATUS_CHANGE, IndexFacts
from shared.catalogue.tables import Intent, Outbox, TufFile
from shared.catalogue.unit_of_work import UnitOfWork
from shared.jobs.messages import PublishIndex, RefreshIndex
from shared.objects.filesystem import FolderStore
from shared.objects.interface import Key, ObjectStoreError
from shared.resources import Resources
from tests.integration.signing.changes import published_index, upload
from tests.support import tree_audit
from tests.support.clock import SettableClock
from tests.support.factories import MadeFile, MadeIndex
from tests.support.hooked_store import HookedStore
from tests.support.resources import with_public_store
from tests.support.tree_audit import folder_reader
from tests.support.tuf_reader import TreeReader

KEPT = timedelta(hours=48)
STEP = timedelta(hours=6)


@pytest.fixture
async def index(resources: Resources) -> MadeIndex:
    """A stage index that was published once, empty."""
    return await published_index(resources)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The index's tree."""
    return tmp_path / "public/indexes/root/stable"


async def facts(resources: Resources, index: MadeIndex) -> IndexFacts:
    """Return the index as signing knows it."""
    async with resources.engine.connect() as connection:
        found = await publications.index_facts(connection, index.id)
    assert found is not None
    return found


async def published(resources: Resources, index: MadeIndex, name: str) -> MadeFile:
    """Upload and publish a file."""
    file = await upload(resources, index, name, name.encode())
    await Publisher(resources).publish(index.id)
    return file


async def hide(resources: Resources, index: MadeIndex, file: MadeFile, *, hidden: bool) -> None:
    """Quarantine a file's project, or end that, and publish it."""
    status = "quarantined" if hidden else "active"
    async with UnitOfWork(resources.engine) as work:
        await marks.set_status(work.connection, file.project_id, status, None)
        at, action = resources.clock.now(), STATUS_CHANGE
        asked = await audit.record(work.connection, at=at, actor="root", action=action, subject="widget", status=status)
        await work.enqueue(PublishIndex(index.id, file.project_id, audit_id=asked))
        await work.commit()
    await Publisher(resources).publish(index.id)


def versions(tree: Path, role: str) -> set[int]:
    """Return the stored versions of a role."""
    return {int(path.name.split(".")[0]) for path in (tree / "metadata").glob(f"*.{role}.json")}


def named_and_missing(tree: Path) -> list[str]:
    """Return what stored snapshots name and the folder does not hold."""
    missing = []
    for path in (tree / "metadata").glob("*.snapshot.json"):
        for name, meta in orjson.loads(path.read_bytes())["signed"]["meta"].items():
            if not (tree / "metadata" / f"{meta['version']}.{name}").is_file():
                missing.append(f"{path.name}: {meta['version']}.{name}")
    return missing


async def test_metadata_is_kept_for_its_time_and_then_goes_with_its_rows(
    resources: Resources, index: MadeIndex, clock: SettableClock, tree: Path, tmp_path: Path
) -> None:
    """Over twelve days of uploads, every stored snapshot is whole at each step, none older than 48 hours stays, and a
    client that keeps its cache never notices."""
    reader = TreeReader(tree, tmp_path / "cache")
    superseded: dict[int, float] = {}
    for number in range(16):
        before = max(versions(tree, "snapshot"))
        await published(resources, index, f"widget-1.{number}-py3-none-any.whl")
        superseded[before] = clock.now().timestamp()
        await remove_superseded(resources, await facts(resources, index))
        assert named_and_missing(tree) == []
        limit = (clock.now() - KEPT).timestamp()
        kept = {version for version, since in superseded.items() if since > limit}
        assert versions(tree, "snapshot") == kept | {max(versions(tree, "snapshot"))}
        reader.refreshed()
        clock.advance(STEP)
    async with resources.engine.connect() as connection:
        rows = await connection.execute(select(TufFile.role, TufFile.version))
        files = {f"{row.version}.{row.role}.json" for row in rows}
    stored = {path.name for path in (tree / "metadata").iterdir()}
    shared = {"timestamp.json", "1.root.json", "1.targets.json", "1.trust.json", "1.registry.json"}
    assert stored == files | shared
    assert tree_audit.audit(folder_reader(tmp_path / "public", "root/stable")).faults == []


async def test_a_superseded_target_goes_and_one_that_is_named_again_stays(
    resources: Resources, index: MadeIndex, clock: SettableClock, tree: Path, tmp_path: Path
) -> None:
    """Page documents of the past go after 48 hours; a pointer that was unset and came back has one object, which
    stays, whatever its earlier lines say."""
    file = await published(resources, index, "widget-1.0-py3-none-any.whl")
    await hide(resources, index, file, hidden=True)
    clock.advance(timedelta(hours=40))
    await hide(resources, index, file, hidden=False)
    folder = tree / "targets/pointers/widget"
    pages = {path.name for path in folder.glob("*._simple.json")}
    assert len(pages) == 3
    clock.advance(timedelta(hours=7))
    await remove_superseded(resources, await facts(resources, index))
    assert {path.name for path in folder.glob("*._simple.json")} == pages, "not 48 hours yet"
    clock.advance(timedelta(hours=2))
    assert (await remove_superseded(resources, await facts(resources, index))).targets > 0
    assert len(list(folder.glob("*._simple.json"))) == 2
    clock.advance(timedelta(hours=48))
    removed = await remove_superseded(resources, await facts(resources, index))
    assert not removed.more
    assert len(list(folder.glob("*._simple.json"))) == 1
    assert len(list(folder.glob("*.whl.pointer"))) == 1
    assert tree_audit.audit(folder_reader(tmp_path / "public", "root/stable")).faults == []
    async with resources.engine.connect() as connection:
        paths = (await connection.execute(select(Intent.path, func.count()).group_by(Intent.path))).all()
    assert {count for _, count in paths} == {1}, "one line for each path that ever was"
    assert (await remove_superseded(resources, await facts(resources, index))).targets == 0


async def test_a_run_is_bounded_and_the_next_ones_do_the_rest(
    resources: Resources, index: MadeIndex, clock: SettableClock, tree: Path
) -> None:
    """A run removes no more than it may and says that there is more; the loop comes back for it without waiting."""
    for number in range(6):
        await published(resources, index, f"widget-1.{number}-py3-none-any.whl")
    clock.advance(KEPT + timedelta(hours=1))
    count = len(list((tree / "targets").rglob("*.*")))
    one = await remove_superseded(resources, await facts(resources, index), most=2)
    assert (one.metadata, one.targets, one.more) == (2, 2, True)
    assert len(list((tree / "targets").rglob("*.*"))) == count - 2
    loop = TidyLoop(resources)
    assert await loop.look() == 1
    assert await loop.look() == 0, "an hour has not passed"
    assert versions(tree, "snapshot") == {max(versions(tree, "snapshot"))}
    assert len(list((tree / "targets/pointers/widget").glob("*._simple.json"))) == 1
    assert len(list((tree / "targets/pointers/widget").glob("*._latest.pointer"))) == 1


async def test_a_store_that_fails_in_the_middle_leaves_work_and_no_damage(
    resources: Resources, index: MadeIndex, clock: SettableClock, tree: Path, tmp_path: Path
) -> None:
    """Objects go before their rows: after a failure at any delete the next run removes what is left."""

    class Failing(FolderStore):
        left = 3

        async def delete(self, key: Key) -> None:
            if self.left == 0:
                raise ObjectStoreError("the disk is away")
            self.left -= 1
            await super().delete(key)

    for number in range(3):
        await published(resources, index, f"widget-1.{number}-py3-none-any.whl")
    clock.advance(KEPT + timedelta(hours=1))
    here = await facts(resources, index)
    for left in (1, 4, 7, 9, 11):
        store = Failing(tmp_path / "public")
        store.left = left
        try:
            await remove_superseded(with_public_store(resources, store), here)
        except* ObjectStoreError:
            pass
        assert tree_audit.audit(folder_reader(tmp_path / "public", "root/stable")).faults == []
        assert named_and_missing(tree) == []
        # The lease is let go of: a publication does not wait for its end.
        await published(resources, index, f"other{left}-1.0-py3-none-any.whl")
    assert not (await remove_superseded(resources, here)).more
    assert len(list((tree / "targets/pointers/widget").glob("*._simple.json"))) == 1


async def test_targets_of_a_batch_that_never_was_published_go_after_a_day(
    resources: Resources, index: MadeIndex, clock: SettableClock, tree: Path, tmp_path: Path
) -> None:
    """Its targets, its metadata and its lines go; what the batch that took its place has put again stays."""

    async def fail() -> None:
        # Files of a batch are put side by side: this one fails when another one is there.
        while not list((tree / "metadata").glob("2.*.json")):
            await asyncio.sleep(0.01)
        raise ObjectStoreError("killed")

    lost = await upload(resources, index, "lost-1.0-py3-none-any.whl")
    store = HookedStore(tmp_path / "public", "snapshot.json", fail)
    with pytest.raises(ExceptionGroup):
        await Publisher(with_public_store(resources, store)).publish(index.id)
    async with UnitOfWork(resources.engine) as work:
        await work.connection.execute(text("update file set removed_at = now() where id = :id"), {"id": lost.id})
        await work.commit()
    await published(resources, index, "widget-1.0-py3-none-any.whl")
    folder = tree / "targets/pointers/lost"
    pointers = list(folder.glob("*.whl.pointer"))
    assert len(pointers) == 1
    orphans = set((tree / "metadata").glob("2.*.json"))
    assert orphans
    loop = TidyLoop(resources)
    await loop.look()
    assert pointers[0].is_file(), "a day has not passed"
    assert all(path.is_file() for path in orphans)
    clock.advance(timedelta(hours=25))
    await loop.look()
    assert not any(path.is_file() for path in [*pointers, *orphans])
    async with resources.engine.connect() as connection:
        assert await connection.scalar(select(func.count()).where(Intent.serial.is_(None))) == 0
    assert tree_audit.audit(folder_reader(tmp_path / "public", "root/stable")).faults == []


async def test_retention_beside_publications_of_the_same_bytes(
    resources: Resources, index: MadeIndex, clock: SettableClock, tmp_path: Path
) -> None:
    """While two processes tidy without a pause, a file comes and goes whose pointer is always the same bytes: what a
    head names is there after each publication, and no publication is lost."""
    file = await published(resources, index, "widget-1.0-py3-none-any.whl")
    here, ends = await facts(resources, index), asyncio.Event()

    async def tidy() -> None:
        while not ends.is_set():
            await remove_superseded(resources, here)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(tidy())
        for number in range(8):
            clock.advance(KEPT + timedelta(hours=1))
            await hide(resources, index, file, hidden=number % 2 == 0)
            async with asyncio.timeout(20):
                while await waiting(resources):
                    await Publisher(resources).publish(index.id)
            assert tree_audit.audit(folder_reader(tmp_path / "public", "root/stable")).faults == []
        ends.set()
    found = tree_audit.audit(folder_reader(tmp_path / "public", "root/stable"))
    assert (found.faults, found.listed("widget")) == ([], {file.file_name})


async def waiting(resources: Resources) -> int:
    """Count the changes that wait."""
    async with resources.engine.connect() as connection:
        query = select(func.count()).where(Outbox.done_at.is_(None), Outbox.kind == PublishIndex.kind)
        return await connection.scalar(query) or 0


async def test_who_was_turned_away_is_called_back(
    resources: Resources, index: MadeIndex, clock: SettableClock, tmp_path: Path
) -> None:
    """A publication that finds the lease with the retention leaves its change, and is asked for again at once."""
    await published(resources, index, "widget-1.0-py3-none-any.whl")
    await published(resources, index, "widget-1.1-py3-none-any.whl")
    clock.advance(KEPT + timedelta(hours=1))

    class Slow(FolderStore):
        async def delete(self, key: Key) -> None:
            if "/targets/" in key and not changed.is_set():
                changed.set()
                await upload(resources, index, "late-1.0-py3-none-any.whl")
                await Publisher(resources).publish(index.id)
            await super().delete(key)

    changed = asyncio.Event()
    await remove_superseded(with_public_store(resources, Slow(tmp_path / "public")), await facts(resources, index))
    assert changed.is_set()
    assert await waiting(resources) == 1
    async with resources.engine.connect() as connection:
        query = select(func.count()).where(Outbox.done_at.is_(None), Outbox.kind == RefreshIndex.kind)
        assert await connection.scalar(query) == 1


async def test_whoever_was_paused_removes_nothing_more(
    resources: Resources, index: MadeIndex, clock: SettableClock, tree: Path, tmp_path: Path
) -> None:
    """Half a term after it took the lease, and when it lost it, a process leaves objects and lines to the next run."""
    for number in range(3):
        await published(resources, index, f"widget-1.{number}-py3-none-any.whl")
    clock.advance(KEPT + timedelta(hours=1))
    before = len(list((tree / "targets").rglob("*.*")))

    class Paused(FolderStore):
        pauses = 1

        async def delete(self, key: Key) -> None:
            if "/targets/" in key and self.pauses:
                self.pauses = 0
                await asyncio.sleep(leases.TERM.total_seconds() / 2 + 0.1)
                async with resources.engine.begin() as connection:
                    await connection.execute(text("update lease set fence = fence + 1, holder = 'another'"))
            await super().delete(key)

    slow = with_public_store(resources, Paused(tmp_path / "public"))
    removed = await remove_superseded(slow, await facts(resources, index))
    assert (removed.targets, removed.more) == (0, True)
    assert len(list((tree / "targets").rglob("*.*"))) == before - 1, "the one that was under way"
    assert "countermark_fence_conflicts_total 1.0" in slow.metrics.text().decode()
    async with resources.engine.begin() as connection:
        await connection.execute(text("update lease set holder = null, until = null"))
    assert not (await remove_superseded(resources, await facts(resources, index))).more
    assert len(list((tree / "targets/pointers/widget").glob("*._simple.json"))) == 1
    assert tree_audit.audit(folder_reader(tmp_path / "public", "root/stable")).faults == []


async def test_after_a_move_to_other_bins_the_old_ones_go_and_their_last_versions_stay(
    resources: Resources, index: MadeIndex, clock: SettableClock, tree: Path, tmp_path: Path
) -> None:
    """Names of the earlier count stay listed, as empty bins; what they said before goes after its time."""
    reader = TreeReader(tree, tmp_path / "cache")
    await published(resources, index, "widget-1.0-py3-none-any.whl")
    reader.refreshed()
    await ensure_registry(resources, 5)
    await rebin(resources, index.id)
    here = await facts(resources, index)
    clock.advance(timedelta(hours=47))
    # A bin that the first upload changed was superseded with it; the move supersedes all others.
    await remove_superseded(resources, here)
    assert len(list((tree / "metadata").glob("*.b8-*.json"))) == 256 + 256 + 3
    clock.advance(timedelta(hours=2))
    await remove_superseded(resources, here)
    assert len(list((tree / "metadata").glob("*.b8-*.json"))) == 256
    assert named_and_missing(tree) == []
    await Publisher(resources).publish(index.id)
    reader.refreshed(clock.now())
    assert tree_audit.audit(folder_reader(tmp_path / "public", "root/stable")).faults == []
