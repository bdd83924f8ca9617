"""What is counted of an object store; that it stays one is the contract suite's to show."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.metrics import Metrics
from shared.objects.filesystem import FolderStore
from shared.objects.interface import Key, ObjectExists, ObjectNotFound, ObjectStoreError, Presigner
from shared.objects.metered import BucketStore, metered
from shared.objects.s3 import S3Store
from shared.objects.sweeping import PartsSweeper

KEY = Key("files/a")


async def test_answers_are_no_errors(tmp_path: Path) -> None:
    """A taken or a missing key is what the interface promises."""
    metrics = Metrics()
    store = metered(FolderStore(tmp_path / "store"), metrics)
    await store.put(KEY, b"bytes")
    with pytest.raises(ObjectExists):
        await store.put(KEY, b"other")
    with pytest.raises(ObjectNotFound):
        async with store.open(Key("files/b")):
            pass
    text = metrics.text().decode()
    assert 'countermark_store_seconds_count{operation="put"} 2.0' in text
    assert "countermark_store_errors_total{" not in text


async def test_a_store_that_fails_is_counted(tmp_path: Path) -> None:
    """Each kind of call by its name."""
    metrics = Metrics()
    store = metered(FolderStore(tmp_path / "store"), metrics)
    (tmp_path / "store").rename(tmp_path / "moved")
    (tmp_path / "store").write_text("no folder any more")
    for call in (store.put(KEY, b"bytes"), store.ping()):
        with suppress(ObjectStoreError):
            await call
    text = metrics.text().decode()
    for operation in ("put", "ping"):
        assert f'countermark_store_errors_total{{operation="{operation}"}} 1.0' in text


class _BucketLike(FolderStore):
    """A folder that can do what the store of a bucket can do."""

    async def presign(self, key: Key, lifetime: timedelta) -> str:
        return f"{key} for {lifetime}"

    async def sweep_parts(self, prefix: str, before: datetime) -> int:
        return len(prefix)


async def test_all_that_a_bucket_can_do_can_be_asked_of_it(tmp_path: Path) -> None:
    """Who wants URLs, or abandoned parts given up, asks what a store is: counting must not hide it."""
    assert issubclass(S3Store, BucketStore)
    store = metered(_BucketLike(tmp_path / "store"), Metrics())
    assert isinstance(store, Presigner)
    assert isinstance(store, PartsSweeper)
    assert await store.presign(KEY, timedelta(minutes=5)) == "files/a for 0:05:00"
    assert await store.sweep_parts("files/", datetime.now(UTC)) == 6


def test_a_folder_does_not_presign(tmp_path: Path) -> None:
    """Counting adds nothing that the store cannot do."""
    assert not isinstance(metered(FolderStore(tmp_path / "store"), Metrics()), Presigner)
