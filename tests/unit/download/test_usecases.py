"""Streaming: what is read ahead, and what is held back until it is known to be right."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime

import pytest

from countermark.core.digest import Length, sha256_of
from services.download.entries import Entry, Stored, make_entry
from services.download.usecases import BrokenOff, ahead, checked
from shared.objects.interface import Key, ObjectStoreError

MOMENT = datetime(2026, 11, 20, tzinfo=UTC)
CHUNKS = [b"first", b"second", b"third"]
KEY = Key("files/00/11/thing-1.0.tar.gz")


async def body(*chunks: bytes) -> AsyncGenerator[bytes, None]:
    """Yield chunks as a store does."""
    for chunk in chunks:
        await asyncio.sleep(0)
        yield chunk


def entry_of(content: bytes) -> Entry:
    """Return the entry of a large file."""
    stored = Stored(None, KEY, True, sha256_of(content), Length(len(content)), MOMENT)
    return make_entry(stored, None, (), open_=True)


async def received(entry: Entry, *chunks: bytes) -> bytes:
    """Return what a client gets of a file that lies in these chunks in the store."""
    got = b""
    try:
        async for chunk in checked(entry, body(*chunks)):
            got += chunk
    except BrokenOff:
        got += b" (broken off)"
    return got


async def test_a_good_file_comes_whole() -> None:
    """Nothing is missing of a file that is what was uploaded."""
    assert await received(entry_of(b"".join(CHUNKS)), *CHUNKS) == b"".join(CHUNKS)


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([b"first", b"second", b"thirD"], b"firstsecond (broken off)"),
        ([b"First", b"second", b"third"], b"Firstsecond (broken off)"),
        ([b"first", b"second"], b"firstsecond (broken off)"),
        ([b"first", b"second", b"third", b"!"], b"firstsecondthird (broken off)"),
        ([b"first", b"second", b"third!"], b"firstsecond (broken off)"),
        ([], b" (broken off)"),
    ],
    ids=["last", "first", "short", "longer", "last longer", "nothing"],
)
async def test_a_damaged_file_never_comes_whole(chunks: list[bytes], expected: bytes) -> None:
    """Other bytes end before the last chunk; more or fewer bytes never end well."""
    assert await received(entry_of(b"".join(CHUNKS)), *chunks) == expected


async def test_the_next_chunk_is_read_while_one_is_sent() -> None:
    """While the client takes a chunk, the store reads the one after it, and no further."""
    read = []

    async def store() -> AsyncGenerator[bytes, None]:
        for chunk in CHUNKS:
            read.append(chunk)
            yield chunk

    async with aclosing(ahead(store())) as chunks:
        assert await anext(chunks) == b"first"
        await asyncio.sleep(0.01)
        assert read == CHUNKS[:2]


async def test_leaving_half_way_leaves_the_body_free() -> None:
    """Who stops reading can close the store's body at once: no read is under way any more."""
    closed = False

    async def store() -> AsyncGenerator[bytes, None]:
        nonlocal closed
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            closed = True

    source = store()
    async with aclosing(ahead(source)) as chunks:
        assert await anext(chunks) == b"first"
        await asyncio.sleep(0.01)
    await source.aclose()
    assert closed


async def test_a_store_that_fails_half_way_is_heard() -> None:
    """A failure of the store while reading reaches the sender, after what came before it."""

    async def store() -> AsyncGenerator[bytes, None]:
        yield b"first"
        raise ObjectStoreError("the store is away")

    async with aclosing(ahead(store())) as chunks:
        assert await anext(chunks) == b"first"
        with pytest.raises(ObjectStoreError):
            await anext(chunks)
