"""What every object store keeps of puts and their conditions, run on each adapter: a folder, and a real S3 server
without and with TLS."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.objects.interface import (
    ByteRange,
    IfMatch,
    LocalFile,
    ObjectExists,
    ObjectInfo,
    PreconditionFailed,
    Put,
)
from shared.objects.s3_buffers import PART
from tests.contract.object_store.places import Place, read


def _same(found: ObjectInfo | None, told: ObjectInfo) -> bool:
    """Whether a store says of an object what it said when it took it; a bucket's clock may be read a moment later."""
    assert found is not None
    near = abs(found.modified - told.modified) <= timedelta(seconds=5)
    return (found.key, found.etag, found.length, near) == (told.key, told.etag, told.length, True)


async def test_what_was_put_is_read(place: Place) -> None:
    """A stored object is read byte for byte, with the facts its put returned."""
    key = place.key("a/b.json")
    stored = await place.store.put(key, b"hello")
    async with place.store.open(key) as opened:
        assert opened.info.key == stored.key == key
        assert opened.info.length == stored.length == 5
        assert opened.info.etag == stored.etag
        assert '"' not in stored.etag
        assert abs(opened.info.modified - stored.modified) < timedelta(seconds=2)
        assert abs(datetime.now(UTC) - stored.modified) < timedelta(seconds=30)
        assert b"".join([chunk async for chunk in opened.chunks]) == b"hello"
    assert (await place.store.head(key)) == opened.info


async def test_what_need_not_be_durable_is_stored_all_the_same(place: Place) -> None:
    """A put that need not outlive a power cut keeps all else: it is whole, visible at once, under its condition."""
    key = place.key("copy")
    await place.store.put(key, b"one", durable=False)
    assert await read(place.store, key) == b"one"
    with pytest.raises(ObjectExists):
        await place.store.put(key, b"two", durable=False)
    replaced = await place.store.put(key, b"three", Put.REPLACE, durable=False)
    assert _same(await place.store.head(key), replaced)
    with pytest.raises(PreconditionFailed):
        await place.store.put(key, b"four", IfMatch("other"), durable=False)
    assert await read(place.store, key) == b"three"


async def test_absent_put_never_overwrites(place: Place) -> None:
    """A put on condition of absence leaves what is there, also when it is the default."""
    key = place.key("x")
    await place.store.put(key, b"first")
    with pytest.raises(ObjectExists):
        await place.store.put(key, b"second")
    with pytest.raises(ObjectExists):
        await place.store.put(key, b"second", Put.ABSENT)
    assert await read(place.store, key) == b"first"


async def test_of_concurrent_absent_puts_one_wins(place: Place) -> None:
    """Of many puts on condition of absence one writes, the others are told; what is there is its body."""
    key = place.key("deep/er/x")
    bodies = [os.urandom(2000) for _ in range(12)]
    results = await asyncio.gather(*(place.store.put(key, body) for body in bodies), return_exceptions=True)
    winners = [body for body, result in zip(bodies, results, strict=True) if not isinstance(result, BaseException)]
    assert len(winners) == 1 or (winners and not place.atomic)
    assert all(isinstance(result, ObjectExists) for result in results if isinstance(result, BaseException))
    assert await read(place.store, key) in winners


async def test_replace_always_writes(place: Place) -> None:
    """A replacing put writes over what is there and over nothing, and changes the ETag also for an equal length."""
    key = place.key("x")
    first = await place.store.put(key, b"first", Put.REPLACE)
    second = await place.store.put(key, b"other", Put.REPLACE)
    assert first.etag != second.etag
    assert await read(place.store, key) == b"other"


async def test_if_match_writes_over_that_object_only(place: Place) -> None:
    """A put on condition of an ETag writes once; the same ETag is refused afterwards and nothing is written."""
    key = place.key("timestamp.json")
    first = await place.store.put(key, b"1")
    second = await place.store.put(key, b"2", IfMatch(first.etag))
    with pytest.raises(PreconditionFailed):
        await place.store.put(key, b"3", IfMatch(first.etag))
    assert await read(place.store, key) == b"2"
    await place.store.put(key, b"4", IfMatch(second.etag))
    assert await read(place.store, key) == b"4"


async def test_if_match_needs_an_object(place: Place) -> None:
    """A put on condition of an ETag is refused when nothing is there."""
    with pytest.raises(PreconditionFailed):
        await place.store.put(place.key("x"), b"1", IfMatch("0123456789abcdef0123456789abcdef"))
    assert await place.store.head(place.key("x")) is None


async def test_of_concurrent_if_match_puts_one_wins(place: Place) -> None:
    """Of many puts on condition of the same ETag one writes, the others are told."""
    key = place.key("x")
    first = await place.store.put(key, b"0")
    bodies = [f"{number}".encode() for number in range(1, 9)]
    results = await asyncio.gather(
        *(place.store.put(key, body, IfMatch(first.etag)) for body in bodies), return_exceptions=True
    )
    winners = [body for body, result in zip(bodies, results, strict=True) if not isinstance(result, BaseException)]
    assert len(winners) == 1 or (winners and not place.atomic)
    assert all(isinstance(result, PreconditionFailed) for result in results if isinstance(result, BaseException))
    assert await read(place.store, key) in winners


async def test_deleted_objects_are_gone(place: Place) -> None:
    """A removed object is neither read nor listed, and its key is free again."""
    key = place.key("a/b/c")
    await place.store.put(key, b"1")
    await place.store.delete(key)
    assert await place.store.head(key) is None
    assert [info async for info in place.store.list(place.prefix)] == []
    await place.store.put(key, b"2")
    assert await read(place.store, key) == b"2"


async def test_puts_and_deletes_in_one_folder(place: Place) -> None:
    """Objects stored while their neighbours are removed are all there."""
    kept = [place.key(f"folder/k{number}") for number in range(40)]

    async def come_and_go(number: int) -> None:
        key = place.key(f"folder/g{number}")
        await place.store.put(key, b"")
        await place.store.delete(key)

    for key in kept:
        await asyncio.gather(come_and_go(1), come_and_go(2), place.store.put(key, b"x"), come_and_go(3))
    assert [info.key async for info in place.store.list(place.prefix)] == sorted(kept)


@pytest.mark.parametrize("length", [0, 5, PART, PART + 1, 2 * PART + 12345])
async def test_local_files(place: Place, tmp_path: Path, length: int) -> None:
    """A body from a file is stored whole, whatever its size, and stays when the caller removes the file."""
    source = tmp_path / "source"
    body = os.urandom(length)
    source.write_bytes(body)
    stored = await place.store.put(place.key("x"), LocalFile(source))
    assert source.read_bytes() == body
    source.unlink()
    assert stored.length == length
    assert await read(place.store, place.key("x")) == body
    assert (await place.store.head(place.key("x"))).etag == stored.etag  # type: ignore[union-attr]


@pytest.mark.parametrize("length", [5, PART + 1])
async def test_local_files_obey_conditions(place: Place, tmp_path: Path, length: int) -> None:
    """Conditions hold for bodies from files too, in one piece or in parts."""
    source = tmp_path / "source"
    source.write_bytes(b"a" * length)
    first = await place.store.put(place.key("x"), LocalFile(source))
    other = tmp_path / "other"
    other.write_bytes(b"b" * length)
    with pytest.raises(ObjectExists):
        await place.store.put(place.key("x"), LocalFile(other))
    with pytest.raises(PreconditionFailed):
        await place.store.put(place.key("x"), LocalFile(other), IfMatch("0123456789abcdef"))
    assert await read(place.store, place.key("x"), ByteRange(0, 1)) == b"a"
    await place.store.put(place.key("x"), LocalFile(other), IfMatch(first.etag))
    assert await read(place.store, place.key("x"), ByteRange(0, 1)) == b"b"
    await place.store.put(place.key("x"), LocalFile(source), Put.REPLACE)
    assert await read(place.store, place.key("x"), ByteRange(0, 1)) == b"a"


async def test_ping(place: Place) -> None:
    """A store that can be written to answers, and the probe leaves nothing behind."""
    before = [info.key async for info in place.store.list(place.prefix)]
    await place.store.ping()
    assert [info.key async for info in place.store.list(place.prefix)] == before
