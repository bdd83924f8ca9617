"""What a signer keeps from one batch to the next: the same is signed as from all rows, and fewer rows are read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import event, func, update
from sqlalchemy.ext.asyncio import AsyncEngine

from services.signing.publication.usecases import Publisher
from services.signing.upkeep.rebuilding import rebuild
from shared.catalogue import audit, marks
from shared.catalogue.publication_rows import STATUS_CHANGE
from shared.catalogue.tables import File
from shared.catalogue.unit_of_work import UnitOfWork
from shared.ids import new_uuid
from shared.jobs.messages import PublishIndex
from shared.objects.interface import ObjectStoreError
from shared.resources import Resources
from tests.integration.signing.changes import upload
from tests.support.factories import MadeFile, MadeIndex
from tests.support.hooked_store import HookedStore
from tests.support.reading import counted_queries
from tests.support.resources import with_public_store
from tests.support.tuf_reader import TreeReader


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
        with counted_queries(resources.engine) as sent:
            await publisher.publish(index.id)
        lists = [
            statement for statement in sent if statement.startswith("SELECT") and "tuf_file.expires_at" in statement
        ]
        assert (lists == []) is known
    assert await differing(resources, index) == ()


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
