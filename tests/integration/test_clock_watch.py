"""A signer's clock is held against the database's, and against the kernel's count of seconds in between."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.catalogue.clock_watch import ClockWatch, ClockWrong
from shared.ids import IndexId, new_uuid
from shared.jobs.messages import Message, RefreshIndex
from tests.support.clock import SettableClock
from tests.support.reading import counted_queries

HOUR = timedelta(hours=1)


class Signed:
    """A handler that remembers what it did."""

    def __init__(self) -> None:
        self.done: list[Message] = []

    async def __call__(self, message: Message) -> None:
        """Sign."""
        self.done.append(message)


@pytest.fixture
def message() -> Message:
    """A job that signs."""
    return RefreshIndex(IndexId(new_uuid()))


async def test_a_right_clock_costs_no_query(engine: AsyncEngine, message: Message) -> None:
    """Once the clocks were compared, jobs are done without asking again."""
    signed, watch = Signed(), ClockWatch(engine, SettableClock(datetime.now(UTC)))
    guarded = watch.guarded(signed)
    await guarded(message)
    with counted_queries(engine) as queries:
        await guarded(message)
    assert (queries, len(signed.done)) == ([], 2)
    assert abs(watch.skew) < 5


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
async def test_a_clock_that_jumps_signs_nothing(engine: AsyncEngine, message: Message, jump: timedelta) -> None:
    """The next job after a jump finds it out, whichever way it went; set right again, jobs are done."""
    clock = SettableClock(datetime.now(UTC))
    signed, watch = Signed(), ClockWatch(engine, clock)
    guarded = watch.guarded(signed)
    await guarded(message)
    clock.advance(jump)
    for _ in range(2):
        with pytest.raises(ClockWrong, match="nothing is signed until they agree"):
            await guarded(message)
    with pytest.raises(ClockWrong):
        await watch.check()
    clock.advance(-jump)
    await guarded(message)
    assert len(signed.done) == 2
    await watch.check()
