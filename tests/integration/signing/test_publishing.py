"""Publication on a real Postgres and a real folder, read back by stock python-tuf."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import event, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine
from tuf.api.exceptions import ExpiredMetadataError

from countermark.core.digest import sha256_of
from countermark.core.pointer import parse_latest, parse_pointer
from services.signing.ceremonies.trust_root import CeremonyNeeded, ensure_trust
from services.signing.jobs import RefreshLoop
from services.signing.publication.usecases import Publisher
from services.signing.upkeep.rebuilding import rebuild
from shared.catalogue import audit, marks, releases
from shared.catalogue.leases import LeaseLost
from shared.catalogue.publication_rows import STATUS_CHANGE
from shared.catalogue.tables import Audit, File, Intent, Lease, Outbox, TufFile
from shared.catalogue.unit_of_work import UnitOfWork
from shared.ids import new_uuid
from shared.jobs.messages import PublishIndex, RefreshIndex
from shared.objects.filesystem import FolderStore
from shared.objects.interface import ByteRange, Key, ObjectStoreError, OpenObject, Put
from shared.objects.keys import file_key
from shared.resources import Resources
from tests.integration.signing.changes import enqueue, upload
from tests.support.clock import SettableClock
from tests.support.factories import MadeFile, MadeIndex, make_index
from tests.support.hooked_store import HookedStore
from tests.support.resources import service_resources, with_public_store
from tests.support.tuf_reader import TreeReader


@pytest.fixture
async def index(resources: Resources) -> MadeIndex:
    """A stage index whose first publication waits."""
    made = await make_index(resources.engine)
    await enqueue(resources, PublishIndex(made.id))
    return made


async def open_jobs(engine: AsyncEngine) -> int:
    """Count the changes that still wait."""
    async with engine.connect() as connection:
        query = select(func.count()).where(
            Outbox.done_at.is_(None), Outbox.dead_at.is_(None), Outbox.kind == PublishIndex.kind
        )
        return await connection.scalar(query) or 0


async def test_the_first_publication_is_a_whole_repository(
    resources: Resources, index: MadeIndex, tmp_path: Path
) -> None:
    """An index without files can be refreshed by any TUF client, and its bins share one signature."""
    await Publisher(resources).publish(index.id)
    tree = tmp_path / "public/indexes/root/stable"
    reader = TreeReader(tree, tmp_path / "cache")
    assert reader.versions() == {"timestamp": 1, "snapshot": 1}
    bins = sorted(tree.glob("metadata/1.b8-*.json"))
    assert len(bins) == 256
    assert len({path.read_bytes() for path in bins}) == 1
    assert reader.target("pointers/widget/_latest.pointer") is None


async def test_an_upload_becomes_a_signed_pointer_and_page(
    resources: Resources, index: MadeIndex, tmp_path: Path
) -> None:
    """Pointer, latest and page are targets, name the index, and bind the file by digest and length."""
    file = await upload(resources, index, "widget-1.0-py3-none-any.whl")
    await Publisher(resources).publish(index.id)
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    pointer = parse_pointer(reader.target("pointers/widget/widget-1.0-py3-none-any.whl.pointer") or b"")
    assert (pointer.file.digest, pointer.file.length) == (file.sha256, 5)
    assert pointer.index == index.name
    assert (tmp_path / "public" / pointer.file.uri[1:]).read_bytes() == b"bytes"
    assert parse_latest(reader.target("pointers/widget/_latest.pointer") or b"").file == file.file_name
    page = reader.target("pointers/widget/_simple.json") or b""
    assert b'"_index":"root/stable"' in page
    assert file.sha256.encode() in page
    plain = tmp_path / "public/indexes/root/stable/pointers/widget/widget-1.0-py3-none-any.whl.pointer"
    assert plain.read_bytes() == pointer.to_bytes()
    assert await open_jobs(resources.engine) == 0


async def test_what_waits_goes_into_one_batch(resources: Resources, index: MadeIndex) -> None:
    """Thirty uploads and the first publication are one serial, one snapshot, one timestamp."""
    for number in range(30):
        await upload(resources, index, f"p{number}-1.0-py3-none-any.whl")
    await Publisher(resources).publish(index.id)
    await resources.heads.wake("")
    head = resources.heads.get(index.id)
    assert head is not None
    assert (head.serial, head.timestamp_version) == (1, 1)
    assert await open_jobs(resources.engine) == 0


async def test_bytes_that_changed_in_the_store_are_never_signed(
    resources: Resources, index: MadeIndex, tmp_path: Path
) -> None:
    """The changed file is refused with its reason and the others of the batch are published."""
    bad = await upload(resources, index, "widget-1.0-py3-none-any.whl", b"as uploaded")
    gone = await upload(resources, index, "widget-1.1-py3-none-any.whl", b"lost")
    good = await upload(resources, index, "widget-1.2-py3-none-any.whl", b"fine")
    store = resources.objects.public
    await store.put(file_key(bad.sha256, bad.file_name), b"tampered!!!", Put.REPLACE)
    await store.delete(file_key(gone.sha256, gone.file_name))
    await Publisher(resources).publish(index.id)
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    assert reader.target(f"pointers/widget/{bad.file_name}.pointer") is None
    assert reader.target(f"pointers/widget/{good.file_name}.pointer") is not None
    assert bad.sha256.encode() not in (reader.target("pointers/widget/_simple.json") or b"")
    async with resources.engine.connect() as connection:
        states = [await releases.progress(connection, file.id) for file in (bad, gone, good)]
    now = resources.clock.now()
    assert [state.state(now) for state in states if state] == ["failed", "failed", "published"]
    assert states[0] is not None
    assert "other bytes" in (states[0].error or "")


async def test_an_overtaken_signer_commits_nothing(resources: Resources, index: MadeIndex, tmp_path: Path) -> None:
    """A signer that was paused and replaced while it wrote its snapshot cannot make its batch current."""
    await Publisher(resources).publish(index.id)
    file = await upload(resources, index, "widget-1.0-py3-none-any.whl")

    async def overtake() -> None:
        async with resources.engine.begin() as connection:
            await connection.execute(text("update lease set until = now() - interval '1 second'"))
        await Publisher(resources).publish(index.id)

    store = HookedStore(tmp_path / "public", "snapshot.json", overtake)
    with pytest.raises(LeaseLost):
        await Publisher(with_public_store(resources, store)).publish(index.id)
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    assert reader.target(f"pointers/widget/{file.file_name}.pointer") is not None
    await resources.heads.wake("")
    head = resources.heads.get(index.id)
    assert head is not None
    assert head.serial == 2, "the batch was published once"
    assert reader.versions() == {"timestamp": 3, "snapshot": 3}, "the loser's number 2 is never used"


@pytest.mark.parametrize("part", ["_simple.json", ".b8-", "snapshot.json", "timestamp.json"])
async def test_a_store_that_fails_at_any_write_leaves_readers_whole(
    resources: Resources, index: MadeIndex, tmp_path: Path, part: str
) -> None:
    """After a failure readers see the old state or the new one, and the next try completes it."""
    await Publisher(resources).publish(index.id)
    file = await upload(resources, index, "widget-1.0-py3-none-any.whl")

    async def fail() -> None:
        raise ObjectStoreError("the disk is full")

    publisher = Publisher(with_public_store(resources, HookedStore(tmp_path / "public", part, fail)))
    with pytest.raises((ObjectStoreError, ExceptionGroup)):
        await publisher.publish(index.id)
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    assert reader.target(f"pointers/widget/{file.file_name}.pointer") is None
    await upload(resources, index, "widget-1.1-py3-none-any.whl", b"more")
    await publisher.publish(index.id)
    for version in ("1.0", "1.1"):
        assert reader.target(f"pointers/widget/widget-{version}-py3-none-any.whl.pointer") is not None
    async with resources.engine.connect() as connection:
        assert await connection.scalar(select(Lease.holder)) is None


async def test_many_publishers_at_once_lose_nothing(resources: Resources, index: MadeIndex, tmp_path: Path) -> None:
    """Eight publishers and forty uploads in disorder: everything is published, numbers only grow."""
    publishers = [Publisher(resources) for _ in range(8)]

    async def one(number: int) -> None:
        await upload(resources, index, f"p{number}-1.0-py3-none-any.whl")
        await publishers[number % 8].publish(index.id)

    await asyncio.gather(*(one(number) for number in range(40)))
    assert await open_jobs(resources.engine) == 0
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    for number in range(40):
        assert reader.target(f"pointers/p{number}/_latest.pointer") is not None


async def test_a_job_that_comes_while_a_batch_is_signed_is_not_lost(
    resources: Resources, index: MadeIndex, tmp_path: Path
) -> None:
    """It returns at once without touching the lease, and whoever is at work publishes its change too."""
    await upload(resources, index, "widget-1.0-py3-none-any.whl")
    publisher: Publisher

    async def meanwhile() -> None:
        await upload(resources, index, "widget-1.1-py3-none-any.whl", b"late")
        async with resources.engine.connect() as connection:
            before = await connection.scalar(select(Lease.requested))
            await publisher.publish(index.id)
            assert await connection.scalar(select(Lease.requested)) == before
        assert await open_jobs(resources.engine) > 0, "nothing was published in between"

    store = HookedStore(tmp_path / "public", "_simple.json", meanwhile)
    publisher = Publisher(with_public_store(resources, store))
    await publisher.publish(index.id)
    assert await open_jobs(resources.engine) == 0
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    assert reader.target("pointers/widget/widget-1.1-py3-none-any.whl.pointer") is not None


async def test_every_intent_is_stored_and_settled(resources: Resources, index: MadeIndex) -> None:
    """What a batch was about to sign is on record, with the serial it became."""
    await upload(resources, index, "widget-1.0-py3-none-any.whl")
    await Publisher(resources).publish(index.id)
    async with resources.engine.connect() as connection:
        rows = (await connection.execute(select(Intent.path, Intent.operation, Intent.serial))).all()
    assert {(row.path.rpartition("/")[2], row.operation, row.serial) for row in rows} == {
        ("_latest.pointer", "set", 1),
        ("_simple.json", "set", 1),
        ("widget-1.0-py3-none-any.whl.pointer", "set", 1),
    }


async def test_signatures_are_renewed_long_before_they_expire(
    resources: Resources, index: MadeIndex, clock: SettableClock, tmp_path: Path
) -> None:
    """A new timestamp after an hour, a new snapshot after half its life, and bins a seventh at a time."""
    publisher, loop = Publisher(resources), RefreshLoop(resources)
    await upload(resources, index, "widget-1.0-py3-none-any.whl")
    await publisher.publish(index.id)
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    assert await loop.look() == 0
    await publisher.publish(index.id)
    assert reader.versions() == {"timestamp": 1, "snapshot": 1}
    clock.advance(timedelta(hours=2))
    assert await loop.look() == 1
    await publisher.publish(index.id)
    assert reader.versions() == {"timestamp": 2, "snapshot": 1}
    clock.advance(timedelta(days=4))
    await publisher.publish(index.id)
    assert reader.versions() == {"timestamp": 3, "snapshot": 3}
    clock.advance(timedelta(days=4))
    await publisher.publish(index.id)
    async with resources.engine.connect() as connection:
        again = await connection.scalar(
            select(func.count()).where(TufFile.current, TufFile.role.like("b8-%"), TufFile.version == 4)
        )
    assert again == 37
    assert reader.target("pointers/widget/_latest.pointer") is not None
    await resources.heads.wake("")
    head = resources.heads.get(index.id)
    assert head is not None
    assert head.serial == 1, "a refresh is no change"


async def test_a_snapshot_says_of_which_index_it_is(
    resources: Resources, index: MadeIndex, clock: SettableClock, tmp_path: Path
) -> None:
    """Its index is signed in it; one from before that is made anew with the next refresh, changes or none."""
    publisher = Publisher(resources)
    await publisher.publish(index.id)
    tree = tmp_path / "public/indexes/root/stable"

    def signed(version: int) -> dict[str, Any]:
        document: dict[str, Any] = orjson.loads((tree / f"metadata/{version}.snapshot.json").read_bytes())
        return document

    first = signed(1)
    assert first["signed"].pop("x-countermark-index") == "root/stable"
    async with UnitOfWork(resources.engine) as work:
        of_index = TufFile.role == "snapshot"
        await work.connection.execute(update(TufFile).where(of_index).values(content=orjson.dumps(first)))
        await work.commit()
    reader = TreeReader(tree, tmp_path / "cache")
    assert reader.versions() == {"timestamp": 1, "snapshot": 1}
    clock.advance(timedelta(hours=2))
    await publisher.publish(index.id)
    versions = reader.versions()
    assert signed(versions["snapshot"])["signed"]["x-countermark-index"] == "root/stable"
    assert versions["snapshot"] > 1


async def test_trust_and_publications_are_on_record(resources: Resources, index: MadeIndex) -> None:
    """Which keys the deployment began with, and each publication with its serial; a refresh changes nothing."""
    publisher = Publisher(resources)
    await upload(resources, index, "widget-1.0-py3-none-any.whl")
    await publisher.publish(index.id)
    await publisher.publish(index.id)
    async with resources.engine.connect() as connection:
        rows = await connection.execute(
            select(Audit.actor, Audit.action, Audit.subject, Audit.detail).order_by(Audit.id)
        )
        made, published = rows.all()
    assert (made.actor, made.action, made.subject) == ("init", "trust.create", "deployment")
    assert made.detail["profile"] == "development"
    assert all(len(keyid) == 64 for keyid in made.detail["keyids"])
    assert (published.actor, published.action, published.subject) == ("signing", "index.publish", "root/stable")
    assert {"serial": 1, "version": 1, "fence": 1, "changes": 2}.items() <= published.detail.items()


async def test_a_rebuilt_tree_is_the_tree_that_was(
    resources: Resources, index: MadeIndex, clock: SettableClock, tmp_path: Path
) -> None:
    """Everything a client asks for comes back byte for byte, and a client that was warm goes on."""
    publisher = Publisher(resources)
    for version in ("1.0", "1.1", "2.0rc1"):
        await upload(resources, index, f"widget-{version}-py3-none-any.whl", version.encode())
        await upload(resources, index, f"gadget-{version}.tar.gz", version.encode())
        await publisher.publish(index.id)
    tree = tmp_path / "public/indexes/root/stable"
    reader = TreeReader(tree, tmp_path / "cache")
    before = {path.relative_to(tree): path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    assert reader.target("pointers/widget/_latest.pointer") is not None
    shutil.rmtree(tree)
    report = await rebuild(resources, index.id)
    assert report is not None
    assert report.differing == ()
    after = {path.relative_to(tree): path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    assert after.items() <= before.items()
    assert before.keys() - after.keys() == {name for name in before if superseded(name, before)}
    for path, content in before.items():
        if path.parts[0] == "pointers":
            assert reader.target(str(path)) == content


async def test_a_rebuild_reports_rows_that_were_changed(resources: Resources, index: MadeIndex, tmp_path: Path) -> None:
    """A digest altered in the catalogue makes another pointer than the one signed: it is not written."""
    file = await upload(resources, index, "widget-1.0-py3-none-any.whl")
    await Publisher(resources).publish(index.id)
    async with resources.engine.begin() as connection:
        await connection.execute(text("update file set sha256 = repeat('0', 64)"))
    report = await rebuild(resources, index.id)
    assert report is not None
    assert f"pointers/widget/{file.file_name}.pointer" in report.differing
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    assert reader.target("pointers/widget/_simple.json") is not None


async def test_what_is_kept_between_batches_signs_what_all_rows_say(
    resources: Resources, index: MadeIndex, tmp_path: Path
) -> None:
    """Adds, yanks, removals, quarantine, a failure, another signer: each target is what a rebuild renders."""
    ours, theirs = Publisher(resources), Publisher(resources)
    files = [await upload(resources, index, f"widget-1.{number}.tar.gz", b"%d" % number) for number in range(4)]
    await ours.publish(index.id)
    steps: list[tuple[Publisher, str, MadeFile, dict[str, object]]] = [
        (ours, "release.yank", files[0], {"yanked_at": func.now(), "yanked_reason": "bad"}),
        (theirs, "file.remove", files[1], {"removed_at": func.now()}),
        (ours, "release.unyank", files[0], {"yanked_at": None}),
        (ours, "release.yank", files[2], {"yanked_at": func.now()}),
    ]
    for number, (publisher, action, file, changes) in enumerate(steps):
        await ask(resources, index, file, action, **changes)
        await upload(resources, index, f"widget-2.{number}.tar.gz", b"new")
        await publisher.publish(index.id)
        assert await differing(resources, index) == ()
    for status in ("quarantined", "active"):
        await set_status(resources, index, files[0], status)
        await ours.publish(index.id)
        assert await differing(resources, index) == ()
    await upload(resources, index, "widget-3.0.tar.gz", b"3.0")

    async def fail() -> None:
        raise ObjectStoreError("the disk is full")

    failing = HookedStore(tmp_path / "public", "snapshot.json", fail)
    broken = Publisher(with_public_store(resources, failing))
    with pytest.raises((ObjectStoreError, ExceptionGroup)):
        await broken.publish(index.id)
    await upload(resources, index, "widget-3.1.tar.gz", b"3.1")
    await broken.publish(index.id)
    assert await differing(resources, index) == ()
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    page = orjson.loads(reader.target("pointers/widget/_simple.json") or b"")
    assert {file["filename"]: file["yanked"] for file in page["files"]} == {
        "widget-1.0.tar.gz": False,
        "widget-1.2.tar.gz": True,
        "widget-1.3.tar.gz": False,
        **{f"widget-2.{number}.tar.gz": False for number in range(4)},
        "widget-3.0.tar.gz": False,
        "widget-3.1.tar.gz": False,
    }


async def test_a_batch_reads_the_files_it_changes_and_no_others(resources: Resources, index: MadeIndex) -> None:
    """The tenth file of a project costs as many rows as the third: what is listed already is not read again."""
    publisher = Publisher(resources)
    counts = []
    with rows_of_files_read(resources.engine) as read:
        for number in range(10):
            await upload(resources, index, f"widget-1.{number}.tar.gz", b"%d" % number)
            read.clear()
            await publisher.publish(index.id)
            counts.append(sum(read))
    assert counts == [1] * 10


async def test_the_list_of_bins_is_read_after_others_only(resources: Resources, index: MadeIndex) -> None:
    """A batch after one of this process knows which bins are current; one after another signer's asks."""
    ours, theirs = Publisher(resources), Publisher(resources)
    await upload(resources, index, "widget-1.0.tar.gz", b"0")
    await ours.publish(index.id)
    for publisher, known in ((ours, True), (theirs, False), (ours, False), (ours, True)):
        await upload(resources, index, f"widget-1.{new_uuid().int}.tar.gz", b"more")
        with statements_of(resources.engine) as sent:
            await publisher.publish(index.id)
        lists = [
            statement for statement in sent if statement.startswith("SELECT") and "tuf_file.expires_at" in statement
        ]
        assert (lists == []) is known
    assert await differing(resources, index) == ()


@contextmanager
def statements_of(engine: AsyncEngine) -> Iterator[list[str]]:
    """Note every statement that is sent."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        sent.append(statement)

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", note)


async def ask(resources: Resources, index: MadeIndex, file: MadeFile, action: str, **changes: object) -> None:
    """Mark a file as the upload service does when somebody asks for it."""
    async with UnitOfWork(resources.engine) as work:
        await work.connection.execute(update(File).where(File.id == file.id).values(**changes))
        detail = {"version": file.version, "file": file.file_name}
        at = resources.clock.now()
        asked = await audit.record(work.connection, at=at, actor="root", action=action, subject="widget", **detail)
        await work.enqueue(PublishIndex(index.id, file.project_id, audit_id=asked))
        await work.commit()


async def set_status(resources: Resources, index: MadeIndex, file: MadeFile, status: str) -> None:
    """Change a project's status as the upload service does."""
    async with UnitOfWork(resources.engine) as work:
        await marks.set_status(work.connection, file.project_id, status, None)
        at, action = resources.clock.now(), STATUS_CHANGE
        asked = await audit.record(work.connection, at=at, actor="root", action=action, subject="widget", status=status)
        await work.enqueue(PublishIndex(index.id, file.project_id, audit_id=asked))
        await work.commit()


async def differing(resources: Resources, index: MadeIndex) -> tuple[str, ...]:
    """Return the targets that all rows render otherwise than they were signed."""
    report = await rebuild(resources, index.id)
    assert report is not None
    return report.differing


@contextmanager
def rows_of_files_read(engine: AsyncEngine) -> Iterator[list[int]]:
    """Note how many rows each query returned that reads what files are."""
    read: list[int] = []

    def note(_connection: object, cursor: Any, statement: str, *_rest: object) -> None:
        if "core_metadata_sha256" in statement and statement.startswith("SELECT"):
            read.append(cursor.rowcount)

    event.listen(engine.sync_engine, "after_cursor_execute", note)
    try:
        yield read
    finally:
        event.remove(engine.sync_engine, "after_cursor_execute", note)


async def test_without_refresh_clients_stop(
    resources: Resources, index: MadeIndex, clock: SettableClock, tmp_path: Path
) -> None:
    """A timestamp made a day ago is refused by a stock client: what the refresh is for."""
    clock.advance(timedelta(days=-2))
    await Publisher(resources).publish(index.id)
    with pytest.raises(ExpiredMetadataError):
        TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache").refreshed()


async def test_keys_are_private_and_made_once(resources: Resources, tmp_path: Path) -> None:
    """Key files are readable by their owner alone, and a second start makes none."""
    files = sorted((tmp_path / "keys").iterdir())
    assert len(files) == 13
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert not await ensure_trust(resources)
    assert sorted((tmp_path / "keys").iterdir()) == files


async def test_without_a_trust_root_nothing_is_signed(engine: AsyncEngine, tmp_path: Path) -> None:
    """The error says what to run, and the work stays."""
    async with service_resources(engine, tmp_path) as bare:
        index = await make_index(engine)
        await enqueue(bare, PublishIndex(index.id))
        with pytest.raises(CeremonyNeeded, match="countermark-server init"):
            await Publisher(bare).publish(index.id)
        assert await open_jobs(engine) == 1


def superseded(name: Path, tree: dict[Path, bytes]) -> bool:
    """Whether a file of a tree is an older version of another one there: a rebuild writes what is current."""
    if name.parts[0] == "metadata":
        number, _, role = name.name.partition(".")
        return any(
            other.name.partition(".")[2] == role and int(other.name.partition(".")[0]) > int(number)
            for other in tree
            if other.parts[0] == "metadata" and other.name[0].isdigit()
        )
    if name.parent == Path("targets"):
        # What people signed has no plain copy, and was not replaced.
        return False
    current = {sha256_of(tree[path]) for path in tree if path.parts[0] == "pointers"}
    return name.parts[0] == "targets" and name.name.partition(".")[0] not in current


class StallingStore(FolderStore):
    """Notes which files are opened; the one whose name has a text is not readable for a long time, once."""

    def __init__(self, root: Path, part: str) -> None:
        super().__init__(root)
        self.opened: list[str] = []
        self.stalled = asyncio.Event()
        self._part = part

    @asynccontextmanager
    async def open(self, key: Key, byte_range: ByteRange | None = None) -> AsyncIterator[OpenObject]:
        """Open, or wait."""
        if key.startswith("files/"):
            self.opened.append(key.rsplit("/", 1)[1])
        if self._part in key and not self.stalled.is_set():
            self.stalled.set()
            await asyncio.sleep(60)
        async with super().open(key, byte_range) as opened:
            yield opened


async def test_a_batch_that_was_cut_short_goes_on_where_it_stopped(
    resources: Resources, index: MadeIndex, tmp_path: Path
) -> None:
    """Bytes that were found right before a job ran out of time are not read again, so that any batch ends some time."""
    store = StallingStore(tmp_path / "public", "late")
    publisher = Publisher(with_public_store(resources, store))
    for number in range(3):
        await upload(resources, index, f"widget-{number}.0-py3-none-any.whl")
    await upload(resources, index, "late-1.0-py3-none-any.whl", b"longer than the others")
    cut = asyncio.create_task(publisher.publish(index.id))
    async with asyncio.timeout(20):
        while not store.stalled.is_set() or len(store.opened) < 4:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
    cut.cancel()
    await asyncio.gather(cut, return_exceptions=True)
    store.opened.clear()
    await publisher.publish(index.id)
    assert store.opened == ["late-1.0-py3-none-any.whl"]
    assert await open_jobs(resources.engine) == 0


async def test_a_long_job_leaves_between_two_batches(resources: Resources, index: MadeIndex) -> None:
    """When its time is up it begins no further batch that would be cut, frees the lease and has another job go on."""
    signing = resources.settings.signing.model_copy(update={"batch": 1})
    settings = resources.settings.model_copy(update={"signing": signing})
    publisher = Publisher(replace(resources, settings=settings), leave_after=0.0)
    await upload(resources, index, "widget-1.0-py3-none-any.whl")
    for left in (1, 0):
        await publisher.publish(index.id)
        assert await open_jobs(resources.engine) == left
        async with resources.engine.connect() as connection:
            assert await connection.scalar(select(Lease.holder)) is None
            asked = select(func.count()).where(Outbox.kind == RefreshIndex.kind, Outbox.index_id == index.id)
            assert await connection.scalar(asked) == 2 - left
