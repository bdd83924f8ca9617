"""Requests that begin a few at a time."""

from __future__ import annotations

import asyncio
import time

import pytest

from shared.turnstile import PATIENCE, Turnstile

STEPS = 10


async def test_the_first_of_a_crowd_is_done_before_the_last_begins() -> None:
    """Each goes through in the order of arrival; nobody who begins later holds up who began before."""
    turnstile, told = Turnstile(at_once=2), list[str]()

    async def ask(number: int) -> None:
        await turnstile.passed()
        told.append(f"{number} begins")
        for _ in range(STEPS):
            await asyncio.sleep(0)
        told.append(f"{number} ends")

    await asyncio.gather(*(ask(number) for number in range(100)))
    assert [line for line in told if line.endswith("begins")] == [f"{number} begins" for number in range(100)]
    # Two begin in each turn of the loop, so that some two dozen are under way when the first has done its steps.
    assert told.index("0 ends") < told.index("30 begins")
    assert len(told) == 200


async def test_who_comes_alone_does_not_wait() -> None:
    """A turn costs nothing where there is no crowd: the request goes on in the same step."""
    turnstile = Turnstile(at_once=1)
    for _ in range(3):
        coroutine = turnstile.passed()
        with pytest.raises(StopIteration):
            coroutine.send(None)
        await asyncio.sleep(0.001)


async def test_nothing_is_left_to_do_for_who_came_alone() -> None:
    """The turn after it is the last: the loop may rest."""
    turnstile = Turnstile()
    turnstile.begun()
    await asyncio.sleep(0)
    assert turnstile.free
    assert not turnstile._turning


async def test_who_goes_away_takes_nobodys_turn() -> None:
    """Requests that are cancelled while they wait are passed over, and the rest go through."""
    turnstile, done = Turnstile(at_once=1), list[int]()

    async def ask(number: int) -> None:
        await turnstile.passed()
        done.append(number)

    tasks = [asyncio.create_task(ask(number)) for number in range(20)]
    await asyncio.sleep(0)
    for task in tasks[5:15]:
        task.cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(*tasks, return_exceptions=True)
        await turnstile.passed()
    assert done == [number for number in range(20) if not 5 <= number < 15]


async def test_nobody_waits_for_long_where_turns_take_long() -> None:
    """As when large files are sent to many: then those who came too early to be let in go on together."""
    turnstile, begun, turns, busy = Turnstile(), list[int](), 0, True

    async def work() -> None:
        nonlocal turns
        while busy:
            turns += 1
            time.sleep(PATIENCE / 2)
            await asyncio.sleep(0)

    async def ask(number: int) -> None:
        await turnstile.passed()
        begun.append(number)

    working = asyncio.create_task(work())
    await asyncio.gather(*(ask(number) for number in range(100)))
    assert begun == list(range(100))
    busy = False
    await working
    assert turns < 20, "one in each turn would take a hundred"


async def test_one_that_fails_to_begin_holds_up_nobody() -> None:
    """The loop reports it; the others get their turns."""
    turnstile, begun, reported = Turnstile(), list[int](), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))

    def begin(number: int) -> None:
        if number == 1:
            raise RuntimeError("it cannot")
        begun.append(number)
        turnstile.begun()

    for number in range(4):
        turnstile.wait(lambda number=number: begin(number))  # type: ignore[misc]
    await asyncio.sleep(0.05)
    assert begun == [0, 2, 3]
    assert [str(error) for error in reported] == ["it cannot"]
