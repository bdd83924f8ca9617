"""An arriving file: whole whatever the pieces, the disk kept busy early, nothing left behind."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from services.upload.spool import BATCH_BYTES, Spool
from tests.support.archives import payload


async def _fed(spool: Spool, data: bytes, piece: int) -> None:
    for start in range(0, len(data), piece):
        spool.feed(memoryview(data)[start : start + piece])
        await spool.drain()


@pytest.mark.parametrize("piece", [100_000, BATCH_BYTES, 2 * BATCH_BYTES + 7])
@pytest.mark.parametrize("sync_bytes", [1, BATCH_BYTES + 1, 1 << 40])
async def test_a_file_arrives_whole(tmp_path: Path, piece: int, sync_bytes: int) -> None:
    """In small, even and huge pieces, whether the disk is told at each batch, now and then, or at the end alone."""
    data = payload(2 * BATCH_BYTES + 12_345)
    spool = Spool(tmp_path, sync_bytes)
    await _fed(spool, data, piece)
    spooled = await spool.finish()
    assert spooled.path.read_bytes() == data
    assert (spooled.length, spooled.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert spooled.md5 == hashlib.md5(data).hexdigest()
    assert spooled.blake2b_256 == hashlib.blake2b(data, digest_size=32).hexdigest()


async def test_a_file_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    """Neither a file nor an open descriptor, while batches are written and the disk is busy."""
    data, before = payload(2 * BATCH_BYTES), len(os.listdir("/dev/fd"))
    for _ in range(5):
        spool = Spool(tmp_path, 1)
        await _fed(spool, data, 500_000)
        await spool.discard()
    assert list(tmp_path.iterdir()) == []
    async with asyncio.timeout(10):
        # A thread that waits for the disk goes on to its end.
        while len(os.listdir("/dev/fd")) > before:
            await asyncio.sleep(0.01)
