"""What every object store gives back: whole objects, ranges and lists, run on each adapter."""

from __future__ import annotations

import asyncio
import contextlib
import os
from datetime import timedelta

import pytest

from shared.objects.filesystem import CHUNK
from shared.objects.interface import (
    ByteRange,
    Key,
    ObjectNotFound,
    Put,
    RangeNotSatisfiable,
)
from shared.objects.keys import InvalidKey
from tests.contract.object_store.places import Place, read


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
