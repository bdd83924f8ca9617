"""Stored bytes that are checked are read to their end, or it is an error: what a connection lost is no tampering."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from countermark.core.digest import sha256_of
from services.download.verification.stored import hash_object, read_object
from shared.objects.filesystem import FolderStore
from shared.objects.interface import ByteRange, Key, ObjectStoreError, OpenObject
from shared.objects.keys import check_key

KEY, BODY = check_key(f"files/ab/{'c' * 62}/thing-1.0.tar.gz"), b"x" * 1000


class CutShort(FolderStore):
    """A store over a connection that ends early."""

    @asynccontextmanager
    async def open(self, key: Key, byte_range: ByteRange | None = None) -> AsyncIterator[OpenObject]:
        """Open an object of which the last byte does not come."""
        async with super().open(key, byte_range) as opened:

            async def chunks() -> AsyncGenerator[bytes, None]:
                async for chunk in opened.chunks:
                    yield chunk[:-1]

            yield OpenObject(opened.info, chunks())


async def test_lengths(tmp_path: Path) -> None:
    """The whole of it, and one byte more than was to be there; nothing where there is nothing."""
    store = FolderStore(tmp_path)
    assert await hash_object(store, KEY, 3) is None
    assert await read_object(store, KEY, 3) is None
    await store.put(KEY, BODY)
    for most, length in ((1000, 1000), (2000, 1000), (10, 11)):
        read, hashed = await read_object(store, KEY, most), await hash_object(store, KEY, most)
        assert read is not None
        assert hashed is not None
        assert (read.length, hashed.length, read.sha256) == (length, length, hashed.sha256)
        assert read.sha256 == sha256_of(BODY[:length])


@pytest.mark.parametrize("most", [1000, 2000])
async def test_cut_short(tmp_path: Path, most: int) -> None:
    """The store's own length says that there is more."""
    store = CutShort(tmp_path)
    await store.put(KEY, BODY)
    for look in (read_object, hash_object):
        with pytest.raises(ObjectStoreError, match="cut short"):
            await look(store, KEY, most)
    assert await hash_object(store, KEY, 10) is not None, "enough came to see that there is more than is signed"
