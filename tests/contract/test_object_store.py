"""What every object store keeps, run on each adapter: a folder, and a real S3 server without and with TLS."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.metrics import Metrics
from shared.objects.filesystem import CHUNK, FolderStore
from shared.objects.interface import (
    ByteRange,
    IfMatch,
    Key,
    LocalFile,
    ObjectExists,
    ObjectInfo,
    ObjectNotFound,
    ObjectStore,
    PreconditionFailed,
    Put,
    RangeNotSatisfiable,
)
from shared.objects.keys import InvalidKey
from shared.objects.metered import metered
from shared.objects.s3_buffers import PART
from tests.support.s3_server import S3Server


@dataclass(frozen=True)
class Place:
    """A store and a part of it that is this test's alone.

    Attributes:
        atomic: whether of puts on one condition at the same time exactly one writes. The S3 server of these tests looks
            first and writes then, so that several may (decision record 0019); AWS does it in one step.
    """

    store: ObjectStore
    prefix: str
    atomic: bool

    def key(self, name: str) -> Key:
        """Return a key of this test."""
        return Key(f"{self.prefix}{name}")


@pytest.fixture(params=["folder", "metered", "plain_s3", "s3"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """Each adapter in turn, empty."""
    if request.param in ("folder", "metered"):
        store: ObjectStore = FolderStore(tmp_path / "objects")
        if request.param == "metered":
            store = metered(store, Metrics())
        yield Place(store, "", atomic=True)
        await store.close()
        return
    server: S3Server = request.getfixturevalue(request.param)
    async with server.connect() as connection:
        yield Place(connection.store(server.make_bucket()), "test/", atomic=False)


def _same(found: ObjectInfo | None, told: ObjectInfo) -> bool:
    """Whether a store says of an object what it said when it took it; a bucket's clock may be read a moment later."""
    assert found is not None
    near = abs(found.modified - told.modified) <= timedelta(seconds=5)
    return (found.key, found.etag, found.length, near) == (told.key, told.etag, told.length, True)


async def read(store: ObjectStore, key: Key, byte_range: ByteRange | None = None) -> bytes:
    """Return all bytes of an object or of a range of it."""
    async with store.open(key, byte_range) as opened:
        return b"".join([chunk async for chunk in opened.chunks])


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


async def test_nothing_is_there(place: Place) -> None:
    """An absent object has no head, cannot be opened, and removing it does nothing."""
    key = place.key("absent")
    assert await place.store.head(key) is None
    with pytest.raises(ObjectNotFound):
        async with place.store.open(key):
            pass
    await place.store.delete(key)


async def test_a_folder_of_objects_is_no_object(place: Place) -> None:
    """The beginning of other keys names nothing by itself, nor does an object's key go on."""
    await place.store.put(place.key("a/b"), b"x")
    assert await place.store.head(place.key("a")) is None
    assert await place.store.head(place.key("a/b/c")) is None
    with pytest.raises(ObjectNotFound):
        async with place.store.open(place.key("a")):
            pass
    with pytest.raises(ObjectNotFound):
        async with place.store.open(place.key("a/b/c")):
            pass


@pytest.mark.parametrize("length", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
async def test_chunks_are_bounded(place: Place, length: int) -> None:
    """Objects of any length come in chunks of at most 256 KiB, none of them empty."""
    body = os.urandom(length)
    await place.store.put(place.key("x"), body)
    async with place.store.open(place.key("x")) as opened:
        chunks = [chunk async for chunk in opened.chunks]
    assert all(0 < len(chunk) <= CHUNK for chunk in chunks)
    assert b"".join(chunks) == body


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


@pytest.mark.parametrize(
    ("byte_range", "expected"),
    [
        (ByteRange(0), b"0123456789"),
        (ByteRange(0, 1), b"0"),
        (ByteRange(3, 7), b"3456"),
        (ByteRange(9), b"9"),
        (ByteRange(5, 10), b"56789"),
        (ByteRange(8, 1000), b"89"),
    ],
)
async def test_ranges(place: Place, byte_range: ByteRange, expected: bytes) -> None:
    """A range gives its bytes and the facts of the whole object."""
    await place.store.put(place.key("x"), b"0123456789")
    async with place.store.open(place.key("x"), byte_range) as opened:
        assert b"".join([chunk async for chunk in opened.chunks]) == expected
        assert opened.info.length == 10
        assert opened.info == await place.store.head(place.key("x"))


async def test_long_range(place: Place) -> None:
    """A range of more than one chunk that begins within one is exact."""
    body = os.urandom(4 * CHUNK)
    await place.store.put(place.key("x"), body)
    assert await read(place.store, place.key("x"), ByteRange(1000, 3 * CHUNK + 1)) == body[1000 : 3 * CHUNK + 1]


@pytest.mark.parametrize(("length", "start"), [(10, 10), (10, 11), (0, 0)])
async def test_range_beyond_the_end(place: Place, length: int, start: int) -> None:
    """A range that begins at the end or later is refused, of an empty object every range."""
    await place.store.put(place.key("x"), b"y" * length)
    with pytest.raises(RangeNotSatisfiable):
        async with place.store.open(place.key("x"), ByteRange(start)):
            pass


@pytest.mark.parametrize(("start", "stop"), [(-1, None), (5, 5), (5, 4)])
def test_ranges_without_sense_are_refused(start: int, stop: int | None) -> None:
    """A range begins at 0 or later and holds at least one byte."""
    with pytest.raises(ValueError, match="range"):
        ByteRange(start, stop)


async def test_list_is_in_key_order(place: Place) -> None:
    """Listing yields keys in the order of their characters, over folders that would sort otherwise, with facts."""
    names = ["a/x", "a-b", "a.b/y", "a0", "b/c/d/e", "b/c-d", "A/z"]
    for name in names:
        await place.store.put(place.key(name), name.encode())
    found = [info async for info in place.store.list(place.prefix)]
    assert [info.key for info in found] == sorted(place.key(name) for name in names)
    for info in found:
        head = await place.store.head(info.key)
        assert head is not None
        assert (info.key, info.length, info.etag) == (head.key, head.length, head.etag)
        assert abs(info.modified - head.modified) < timedelta(seconds=1)


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [("ab", ["ab", "ab/c", "abc/d"]), ("ab/", ["ab/c"]), ("abc", ["abc/d"]), ("x", []), ("ab/c/d/", [])],
)
async def test_list_by_prefix(place: Place, prefix: str, expected: list[str]) -> None:
    """A prefix selects by the key's characters; it need not end at a slash."""
    for name in ("a", "abc/d", "b"):
        await place.store.put(place.key(name), b"")
    # A folder cannot hold both `ab` and `ab/c`: the two are tried one after the other.
    for name in ("ab", "ab/c"):
        await place.store.put(place.key(name), b"")
        found = [info.key async for info in place.store.list(place.prefix + prefix)]
        others = {"ab", "ab/c"} - {name}
        assert found == [place.key(each) for each in expected if each not in others]
        await place.store.delete(place.key(name))


async def test_list_of_many(place: Place) -> None:
    """A listing longer than one page is complete and in order."""
    keys = [place.key(f"n/{number:04}") for number in range(1100)]
    async with asyncio.TaskGroup() as group:
        for key in keys:
            group.create_task(place.store.put(key, b""))
    assert [info.key async for info in place.store.list(place.prefix)] == keys


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


async def test_half_read_objects_hold_nothing(place: Place) -> None:
    """Leaving an object unread, half-way or by an error frees what it held: more follow than there are connections."""
    await place.store.put(place.key("x"), b"z" * (8 * CHUNK))
    async with asyncio.timeout(30):
        for _ in range(6):
            async with place.store.open(place.key("x")):
                pass
            async with place.store.open(place.key("x")) as opened:
                await anext(opened.chunks)
            with contextlib.suppress(ZeroDivisionError):
                async with place.store.open(place.key("x")) as opened:
                    await anext(opened.chunks)
                    raise ZeroDivisionError
        assert len(await read(place.store, place.key("x"))) == 8 * CHUNK


async def test_readers_keep_what_they_opened(place: Place) -> None:
    """A reader of a small object gets one version of it whole while it is replaced."""
    key = place.key("x")
    await place.store.put(key, b"a" * 1000)

    async def replace() -> None:
        for letter in b"bcdefgh" * 4:
            await place.store.put(key, bytes([letter]) * 1000, Put.REPLACE)

    replacing = asyncio.create_task(replace())
    while not replacing.done():
        body = await read(place.store, key)
        assert len(body) == 1000
        assert len(set(body)) == 1
    await replacing


@pytest.mark.parametrize(
    "text",
    [
        *("", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", ".incoming/x", "a/.b", "-a"),
        *("a\\b", "a\0b", "a\nb", "ä", "a b", "a%2fb", "a/" + "b" * 256, "/".join(["a" * 200] * 6)),
    ],
)
async def test_keys_that_name_nothing_here(place: Place, text: str) -> None:
    """A text that is no key is refused by every method before anything is touched."""
    key = Key(text)
    with pytest.raises(InvalidKey):
        await place.store.put(key, b"")
    with pytest.raises(InvalidKey):
        await place.store.head(key)
    with pytest.raises(InvalidKey):
        await place.store.delete(key)
    with pytest.raises(InvalidKey):
        async with place.store.open(key):
            pass
    if text and text != "a/":
        with pytest.raises(InvalidKey):
            await anext(aiter(place.store.list(text)))


async def test_names_of_the_published_tree(place: Place) -> None:
    """Every character that occurs in names of files, targets and metadata is kept."""
    keys = [
        place.key("files/ab/cd/pkg-1.0+local-py3-none-any.whl.metadata"),
        place.key("indexes/root/stable/metadata/1.b10-3ff.json"),
        place.key("indexes/root/stable/targets/pointers/pkg/0f.pkg-1.0~local!x.whl.pointer"),
        place.key("indexes/root/stable/targets/pointers/pkg/0f._simple.json"),
        place.key("indexes/root/stable/pointers/pkg/_simple.json"),
    ]
    for key in keys:
        await place.store.put(key, key.encode())
    assert [info.key async for info in place.store.list(place.prefix)] == sorted(keys)
    for key in keys:
        assert await read(place.store, key) == key.encode()


async def test_ping(place: Place) -> None:
    """A store that can be written to answers, and the probe leaves nothing behind."""
    before = [info.key async for info in place.store.list(place.prefix)]
    await place.store.ping()
    assert [info.key async for info in place.store.list(place.prefix)] == before
