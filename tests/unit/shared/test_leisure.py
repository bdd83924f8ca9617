"""What nobody waits for comes when there is time for it, and in any case."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from shared import leisure
from shared.leisure import Leisure
from shared.turnstile import Turnstile


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
        async with time.put_off(1) as later:
            assert later
            done.append(number)

    async with busy(turnstile):
        waiting = [asyncio.create_task(wait(number)) for number in range(20)]
        await asyncio.sleep(5 * leisure.QUIET)
        assert done == []
    async with asyncio.timeout(10):
        await asyncio.gather(*waiting)
        await wait(20)
    assert done == list(range(21))


async def test_it_comes_in_any_case() -> None:
    """Though requests begin all the time."""
    turnstile = Turnstile()
    time = Leisure(turnstile)
    time.longest = 0.05
    async with busy(turnstile), asyncio.timeout(10), time.put_off(1) as later:
        assert later


async def test_what_is_put_off_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """More bytes than that are kept at once, also while what waited is being kept."""
    monkeypatch.setattr(leisure, "MOST", 30)
    turnstile, going = Turnstile(), asyncio.Event()
    time = patient(turnstile)

    async def keep() -> None:
        async with time.put_off(10):
            await going.wait()

    async with busy(turnstile):
        waiting = [asyncio.create_task(keep()) for _ in range(2)]
        await asyncio.sleep(0)
        async with time.put_off(11) as later:
            assert not later
    await asyncio.sleep(5 * leisure.QUIET)
    async with time.put_off(11) as later:
        assert not later
    going.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*waiting)
        async with time.put_off(30) as later:
            assert later


async def test_who_goes_away_holds_up_nobody() -> None:
    """Those that are cancelled while they wait are passed over, and hold nothing any more."""
    turnstile = Turnstile()
    time = patient(turnstile)

    async def wait() -> bool:
        async with time.put_off(leisure.MOST // 9) as later:
            return later

    async with busy(turnstile):
        waiting = [asyncio.create_task(wait()) for _ in range(9)]
        await asyncio.sleep(0.01)
        for one in waiting[:7]:
            one.cancel()
        await asyncio.sleep(0.01)
        waiting.append(asyncio.create_task(wait()))
    async with asyncio.timeout(10):
        await asyncio.gather(*waiting, return_exceptions=True)
    assert [one.cancelled() for one in waiting] == [True] * 7 + [False] * 3
    assert waiting[-1].result()
