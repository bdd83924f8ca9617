"""What nobody waits for comes when there is time for it, and in any case."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from shared import leisure
from shared.leisure import Hurry, Leisure
from shared.turnstile import Turnstile


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a machine that stops for a moment not count as quiet."""
    monkeypatch.setattr(leisure, "QUIET", 0.1)


@asynccontextmanager
async def busy(turnstile: Turnstile) -> AsyncIterator[None]:
    """Have requests begin all the time."""

    async def begin() -> None:
        while True:
            turnstile.begun()
            await asyncio.sleep(0)

    task = asyncio.create_task(begin())
    try:
        await asyncio.sleep(0)
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def patient(turnstile: Turnstile) -> Leisure:
    """Return one that waits for a moment without requests, however long that takes."""
    time = Leisure(turnstile)
    time.longest = 60.0
    return time


async def test_it_comes_when_nobody_begins() -> None:
    """For all that wait, in the order in which they came."""
    turnstile, done = Turnstile(), list[int]()
    time = patient(turnstile)

    async def wait(number: int) -> None:
        async with time.put_off(1, Hurry()):
            done.append(number)

    async with busy(turnstile):
        waiting = [asyncio.create_task(wait(number)) for number in range(20)]
        await asyncio.sleep(2 * leisure.QUIET)
        assert done == []
    async with asyncio.timeout(30):
        await asyncio.gather(*waiting)
        await wait(20)
    assert done == list(range(21))


async def test_it_comes_in_any_case() -> None:
    """Though requests begin all the time."""
    turnstile = Turnstile()
    time = Leisure(turnstile)
    time.longest = 0.05
    async with busy(turnstile), asyncio.timeout(30), time.put_off(1, Hurry()):
        pass


async def test_who_waits_after_all_has_it_at_once() -> None:
    """Whether before it is put off or later; the others go on waiting."""
    turnstile, done = Turnstile(), list[int]()
    time, hurries = patient(turnstile), [Hurry() for _ in range(3)]

    async def wait(number: int) -> None:
        async with time.put_off(1, hurries[number]):
            done.append(number)

    hurries[2].now()
    async with busy(turnstile), asyncio.timeout(30):
        waiting = [asyncio.create_task(wait(number)) for number in range(3)]
        await waiting[2]
        hurries[1].now()
        await waiting[1]
        assert done == [2, 1]
    async with asyncio.timeout(30):
        await waiting[0]


async def test_what_is_put_off_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """More bytes than that are kept at once, also while what waited is being kept; who keeps them is told."""
    monkeypatch.setattr(leisure, "MOST", 30)
    turnstile, begun, going = Turnstile(), list[int](), asyncio.Event()
    time = patient(turnstile)

    async def keep(number: int) -> None:
        async with time.put_off(10, Hurry()) as was_put_off:
            assert was_put_off
            begun.append(number)
            await going.wait()

    async with asyncio.timeout(30):
        async with busy(turnstile):
            waiting = [asyncio.create_task(keep(number)) for number in range(2)]
            await asyncio.sleep(0)
            async with time.put_off(11, Hurry()) as was_put_off:
                assert (was_put_off, begun) == (False, [])
        while len(begun) < 2:
            await asyncio.sleep(0.001)
        async with busy(turnstile), time.put_off(11, Hurry()):
            pass
        going.set()
        await asyncio.gather(*waiting)
        last = asyncio.create_task(keep(2))
        async with busy(turnstile):
            await asyncio.sleep(2 * leisure.QUIET)
            assert begun == [0, 1], "there is room again, and it is put off"
        await last


async def test_a_process_that_ends_does_what_was_put_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and does not wait for ever for it."""
    turnstile, done = Turnstile(), list[int]()
    time = patient(turnstile)

    async def wait(number: int) -> None:
        async with time.put_off(1, Hurry()):
            await asyncio.sleep(0.001)
            done.append(number)

    async with busy(turnstile), asyncio.timeout(30):
        waiting = [asyncio.create_task(wait(number)) for number in range(9)]
        await asyncio.sleep(0)
        await time.end()
        assert sorted(done) == list(range(9))
        await wait(9)
        monkeypatch.setattr(leisure, "_LAST", 0.01)
        async with time.put_off(1, Hurry()):
            await time.end()
    await asyncio.gather(*waiting)


async def test_who_goes_away_holds_up_nobody() -> None:
    """Those that are cancelled while they wait are passed over, and hold nothing any more."""
    turnstile, done = Turnstile(), list[int]()
    time = patient(turnstile)

    async def wait(number: int) -> None:
        async with time.put_off(leisure.MOST // 9, Hurry()):
            done.append(number)

    async with busy(turnstile):
        waiting = [asyncio.create_task(wait(number)) for number in range(9)]
        await asyncio.sleep(0.01)
        for one in waiting[:7]:
            one.cancel()
        await asyncio.sleep(0.01)
        waiting.append(asyncio.create_task(wait(9)))
        await asyncio.sleep(0.01)
        assert done == [], "of the bytes of those that went away there is room for another"
    async with asyncio.timeout(30):
        await asyncio.gather(*waiting, return_exceptions=True)
    assert [one.cancelled() for one in waiting] == [True] * 7 + [False] * 3
    assert done == [7, 8, 9]
