"""Publications that take longer than a job may: nothing is done twice, and another job goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from sqlalchemy import func, select

from services.signing.publication.usecases import Publisher
from shared.catalogue.tables import Lease, Outbox
from shared.jobs.messages import RefreshIndex
from shared.objects.filesystem import FolderStore
from shared.objects.interface import ByteRange, Key, OpenObject
from shared.resources import Resources
from tests.integration.signing.changes import open_jobs, upload
from tests.support.factories import MadeIndex
from tests.support.resources import with_public_store


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
