"""Questions to upstreams that several wait for: one flight, whose answer may be known before it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import cast

import pytest
from structlog.testing import capture_logs

from services.index.flights import Flights
from shared.catalogue.listener import Listener
from shared.leisure import Hurry
from shared.resources import Resources


@pytest.fixture
def flights() -> Flights[str, int]:
    """Of a process that nothing tells."""
    listener = Listener("postgresql+asyncpg://nobody@localhost:1/none", tick=timedelta(seconds=1))
    return Flights(cast("Resources", SimpleNamespace(engine=None, listener=listener)))


async def test_an_answer_that_is_known_is_not_waited_for(flights: Flights[str, int]) -> None:
    """Who comes meanwhile has it at once, and no second flight begins; the end is known to who asks for it."""
    go, begun, hurries = asyncio.Event(), 0, list[Hurry]()

    async def fly(tell: Callable[[int], None], hurry: Hurry) -> int:
        nonlocal begun
        begun += 1
        hurries.append(hurry)
        tell(7)
        await go.wait()
        return 8

    assert await flights.join("a", fly, 5) == 7
    assert await flights.join("a", fly, 5) == 7
    assert not hurries[0].asked
    over = asyncio.create_task(flights.over("a"))
    await asyncio.sleep(0)
    assert (begun, len(flights), over.done()) == (1, 1, False)
    assert hurries[0].asked, "somebody waits for the end"
    go.set()
    assert await over
    await asyncio.sleep(0)
    assert len(flights) == 0
    assert await flights.over("a"), "nothing is under way"
    assert await flights.join("a", fly, 5) == 7
    assert begun == 2


@pytest.mark.parametrize(("error", "level"), [(OSError("the disk is full"), "warning"), (ValueError("?"), "error")])
async def test_what_fails_after_the_answer_is_written_down(
    flights: Flights[str, int], error: Exception, level: str
) -> None:
    """Who asks for the end is told."""

    async def fly(tell: Callable[[int], None], _: Hurry) -> int:
        tell(7)
        await asyncio.sleep(0)
        raise error

    with capture_logs() as lines:
        assert await flights.join("a", fly, 5) == 7
        assert not await flights.over("a")
    assert [(line["event"], line["log_level"]) for line in lines] == [("answered_and_not_kept", level)]


async def test_a_flight_ends_as_its_question_does(flights: Flights[str, int]) -> None:
    """With what it returns, or the error for all; who has no more patience leaves, and it goes on."""
    go = asyncio.Event()

    async def fly(*_: object) -> int:
        await go.wait()
        return 1

    async def fail(*_: object) -> int:
        raise ValueError("no")

    with pytest.raises(TimeoutError):
        await flights.join("a", fly, 0.01)
    waiting = asyncio.create_task(flights.join("a", fly, 5))
    await asyncio.sleep(0)
    go.set()
    assert await waiting == 1
    with pytest.raises(ValueError, match="no"):
        await flights.join("b", fail, 5)
