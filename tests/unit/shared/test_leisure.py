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


async def test_it_comes_when_nobody_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """For all that wait, in the order in which they came."""
    monkeypatch.setattr(leisure, "LONGEST", 60.0)
    turnstile, done = Turnstile(), list[int]()
    time = Leisure(turnstile)

    async def wait(number: int) -> None:
        await time.come()
        done.append(number)

    async with busy(turnstile):
        waiting = [asyncio.create_task(wait(number)) for number in range(20)]
        await asyncio.sleep(5 * leisure.QUIET)
        assert done == []
    async with asyncio.timeout(10):
        await asyncio.gather(*waiting)
        await time.come()
    assert done == list(range(20))


async def test_it_comes_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though requests begin all the time."""
    monkeypatch.setattr(leisure, "LONGEST", 0.05)
    turnstile = Turnstile()
    async with busy(turnstile), asyncio.timeout(10):
        await Leisure(turnstile).come()


async def test_what_is_put_off_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than that is done at once."""
    monkeypatch.setattr(leisure, "LONGEST", 60.0)
    monkeypatch.setattr(leisure, "MOST", 2)
    turnstile = Turnstile()
    time = Leisure(turnstile)
    async with busy(turnstile):
        waiting = [asyncio.create_task(time.come()) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(StopIteration):
            time.come().send(None)
        assert not any(one.done() for one in waiting)
    async with asyncio.timeout(10):
        await asyncio.gather(*waiting)


async def test_who_goes_away_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are cancelled while they wait are passed over."""
    monkeypatch.setattr(leisure, "LONGEST", 60.0)
    turnstile = Turnstile()
    time = Leisure(turnstile)
    async with busy(turnstile):
        waiting = [asyncio.create_task(time.come()) for _ in range(9)]
        await asyncio.sleep(0.01)
        for one in waiting[:7]:
            one.cancel()
    async with asyncio.timeout(10):
        await asyncio.gather(*waiting, return_exceptions=True)
    assert [one.cancelled() for one in waiting] == [True] * 7 + [False] * 2
