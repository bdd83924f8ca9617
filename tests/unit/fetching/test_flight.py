"""Bytes that arrive, and readers that follow them."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from pathlib import Path

import pytest

from services.download.evicting import sweep_left_over
from shared.catalogue.mirror_files import Kept
from shared.errors import ErrorKind, ServiceError
from shared.fetching.flight import HELD, SMALL, SUFFIX, Flight
from shared.objects.interface import LocalFile
from tests.support.factories import now

DATA = hashlib.shake_256(b"data").digest(5 * HELD)


async def read(flight: Flight, start: int, stop: int) -> bytes:
    """Read a span to its end."""
    with flight.reading():
        return b"".join([chunk async for chunk in flight.chunks(start, stop)])


def opened(folder: Path) -> Flight:
    """Return a flight whose file is there."""
    flight = Flight(folder)
    flight.open()
    return flight


async def test_what_is_little_makes_no_file(tmp_path: Path) -> None:
    """It is read, and stored, from memory; one byte more, and all of it lies in a file, for readers old and new."""
    flight, data = Flight(tmp_path / "folder"), hashlib.shake_256(b"little").digest(SMALL + 1)
    with flight.reading():
        chunks = flight.chunks(0, SMALL + 1)
        await flight.write(data[:HELD])
        await flight.write(data[HELD:SMALL])
        first = await anext(chunks)
        assert await read(flight, 3, SMALL - HELD) == data[3 : SMALL - HELD]
        kept = flight.body
        assert kept == data[:SMALL]
        assert not (tmp_path / "folder").exists()
        await flight.write(data[SMALL:])
        assert isinstance(flight.body, LocalFile)
        assert flight.path.read_bytes() == data
        assert flight.sha256() == hashlib.sha256(data).hexdigest()
        flight.release()
        assert first + b"".join([chunk async for chunk in chunks]) == data
        assert await read(flight, 1, SMALL + 1) == data[1:]
    flight.end()
    assert list((tmp_path / "folder").iterdir()) == []


async def test_the_end_is_held_back(tmp_path: Path) -> None:
    """Readers get all but the last bytes, and these once it is said that they are right."""
    flight = opened(tmp_path)
    await flight.write(DATA)
    await flight.begun()
    assert await read(flight, 7, len(DATA) - HELD) == DATA[7 : len(DATA) - HELD]
    whole = asyncio.create_task(read(flight, 0, len(DATA)))
    tail = asyncio.create_task(read(flight, len(DATA) - 1, len(DATA)))
    await asyncio.sleep(0.02)
    assert not whole.done()
    assert not tail.done()
    assert flight.sha256() == hashlib.sha256(DATA).hexdigest()
    flight.release()
    assert (await whole, await tail) == (DATA, DATA[-1:])
    flight.end()
    assert list(tmp_path.iterdir()) == []


async def test_readers_who_keep_up_and_readers_who_do_not(tmp_path: Path) -> None:
    """From memory, from the file and from one to the other, wherever they begin and end: the same bytes, and never more
    than were released."""
    flight = opened(tmp_path)
    data = hashlib.shake_256(b"more").digest(3 << 20)
    starts = [0, 1, HELD, 5 * HELD - 3, len(data) - 1]
    keeping_up = [asyncio.create_task(read(flight, start, len(data) - start // 7)) for start in starts]
    for at in range(0, len(data), 40_000):
        await flight.write(data[at : at + 40_000])
        assert flight.received - HELD - 40_000 <= flight.released <= flight.received - HELD or not flight.released
        await asyncio.sleep(0)
    late = [asyncio.create_task(read(flight, start, len(data))) for start in starts]
    await asyncio.sleep(0.02)
    flight.release()
    assert await asyncio.gather(*keeping_up) == [data[start : len(data) - start // 7] for start in starts]
    assert await asyncio.gather(*late) == [data[start:] for start in starts]
    flight.end()


async def test_a_failure_reaches_everyone_at_once(tmp_path: Path) -> None:
    """Also those who have not read what was released before."""
    flight = opened(tmp_path)
    await flight.write(DATA)
    waiting = asyncio.create_task(read(flight, 0, len(DATA)))
    await asyncio.sleep(0)
    flight.end(ServiceError(ErrorKind.UPSTREAM, "wrong"))
    for reading in (waiting, asyncio.create_task(read(flight, 0, 1))):
        with pytest.raises(ServiceError, match="wrong"):
            await reading
    assert list(tmp_path.iterdir()) == []


async def test_what_is_right_is_read_though_it_could_not_be_stored(tmp_path: Path) -> None:
    """Whoever has begun gets the whole."""
    flight = opened(tmp_path)
    await flight.write(DATA)
    with flight.reading():
        chunks = flight.chunks(0, len(DATA))
        first = await anext(chunks)
        flight.release()
        flight.end(ServiceError(ErrorKind.UNAVAILABLE, "the store is full"))
        assert first + b"".join([chunk async for chunk in chunks]) == DATA


async def test_a_reader_goes_on_after_the_end(tmp_path: Path) -> None:
    """Its file has no name any more, and goes with it."""
    flight = opened(tmp_path)
    await flight.write(DATA)
    flight.release()
    with flight.reading():
        chunks = flight.chunks(0, len(DATA))
        first = await anext(chunks)
        flight.end()
        assert list(tmp_path.iterdir()) == []
        assert first + b"".join([chunk async for chunk in chunks]) == DATA


async def test_what_another_process_fetched_has_no_file(tmp_path: Path) -> None:
    """It ends with what is in the store."""
    flight = Flight(tmp_path / "none")
    flight.kept = Kept(hashlib.sha256(b"").hexdigest(), 0)  # type: ignore[arg-type]
    flight.end()
    await flight.begun()
    await flight.over()
    assert not flight.released
    assert not (tmp_path / "none").exists()


def test_files_of_killed_processes_are_removed(tmp_path: Path) -> None:
    """Once nothing was written to them for a while; nothing else is touched."""
    for name in (f"one{SUFFIX}", "other.upload"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / f"link{SUFFIX}").symlink_to(tmp_path / "other.upload")
    assert sweep_left_over(tmp_path, now() - timedelta(hours=1)) == 0
    assert sweep_left_over(tmp_path, now() + timedelta(hours=1)) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"link{SUFFIX}", "other.upload"]
    assert sweep_left_over(tmp_path / "none", now()) == 0
