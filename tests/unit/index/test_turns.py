"""Who lays an index when."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

import pytest

from services.index.settings import Limits
from services.index.turns import Turns
from shared.ids import IndexId
from shared.service import Later

ONE, OTHER = IndexId(UUID(int=1)), IndexId(UUID(int=2))
QUICK = Limits(lay_rest=0.0, lay_share=0.0)


class Work:
    """Laying that goes on when it is told to, and says what it was asked for meanwhile."""

    def __init__(self) -> None:
        self.begun: list[float] = []
        self.go_on = asyncio.Event()

    async def lay(self) -> None:
        """Lay, slowly."""
        self.begun.append(time.monotonic())
        await self.go_on.wait()


async def test_one_lays_one_waits_and_the_others_are_done() -> None:
    """What a hundred publications ask for while one is laid is laid once more, whole."""
    turns, work = Turns(QUICK), Work()
    tasks = [asyncio.create_task(turns.take(ONE, work.lay)) for _ in range(100)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    late = [asyncio.create_task(turns.take(ONE, work.lay)) for _ in range(100)]
    await asyncio.sleep(0.01)
    assert sum(task.done() for task in (*tasks, *late)) == 198
    work.go_on.set()
    took = await asyncio.gather(*tasks, *late)
    assert sum(took) == 2
    assert len(work.begun) == 2


async def test_indexes_do_not_wait_for_each_other() -> None:
    """Another index has its own turn."""
    turns, work = Turns(QUICK), Work()
    tasks = [asyncio.create_task(turns.take(index, work.lay)) for index in (ONE, OTHER)]
    await asyncio.sleep(0.01)
    assert len(work.begun) == 2
    work.go_on.set()
    assert await asyncio.gather(*tasks) == [True, True]


async def test_the_next_turn_comes_after_a_rest() -> None:
    """It is the longer the more there was to lay, up to a bound."""
    work = Work()
    work.go_on.set()
    turns = Turns(Limits(lay_rest=0.05, lay_longest_rest=10))
    assert await turns.take(ONE, work.lay)
    begun = work.begun[0]
    assert await turns.take(ONE, work.lay)
    assert time.monotonic() - begun >= 0.05

    async def slow() -> None:
        work.begun.append(time.monotonic())
        await asyncio.sleep(0.02)

    turns = Turns(Limits(lay_rest=0.0, lay_share=1_000_000.0, lay_longest_rest=0.06))
    async with asyncio.timeout(10):
        await turns.take(ONE, slow)
        await turns.take(ONE, slow)
    assert work.begun[-1] - work.begun[-2] >= 0.08


async def test_only_some_rest_at_a_time() -> None:
    """Beyond the bound an index is laid at once, so that no job of another index waits for a place."""
    work = Work()
    work.go_on.set()
    turns = Turns(Limits(lay_rest=60, lay_longest_rest=60, resting_at_once=1))
    for index in (ONE, OTHER):
        await turns.take(index, work.lay)
    resting = asyncio.create_task(turns.take(ONE, work.lay))
    await asyncio.sleep(0.01)
    async with asyncio.timeout(1):
        assert await turns.take(OTHER, work.lay)
    resting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await resting


async def test_who_is_stopped_or_fails_leaves_the_turn_to_the_next() -> None:
    """A cancelled wait, and an error while laying, keep nobody else from it."""
    turns, work = Turns(QUICK), Work()
    laying = asyncio.create_task(turns.take(ONE, work.lay))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(turns.take(ONE, work.lay))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    work.go_on.set()
    assert await laying

    async def fail() -> None:
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        await turns.take(ONE, fail)
    assert await turns.take(ONE, work.lay)


async def test_nobody_rests_after_a_laying_that_failed() -> None:
    """The job that comes again has its whole time for laying, and is not cut while it rests."""
    turns, work = Turns(Limits(lay_rest=60, lay_longest_rest=60)), Work()
    work.go_on.set()

    async def fail() -> None:
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        await turns.take(ONE, fail)
    async with asyncio.timeout(5):
        assert await turns.take(ONE, work.lay)


async def test_a_wait_that_is_too_long_is_no_failure() -> None:
    """Who waited in vain comes again later; somebody else may wait in its place."""
    turns, work = Turns(Limits(lay_rest=0.0, lay_share=0.0, lay_patience=0.05)), Work()
    laying = asyncio.create_task(turns.take(ONE, work.lay))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        with pytest.raises(Later):
            await turns.take(ONE, work.lay)
    waiting = asyncio.create_task(turns.take(ONE, work.lay))
    await asyncio.sleep(0)
    work.go_on.set()
    assert all(await asyncio.gather(laying, waiting))
