"""Turns go to callers one after the other, each with a bounded share. ADR 0044."""

from __future__ import annotations

import asyncio

import pytest

from services.download.verification.fair import FairTurns, Shares, Ticket
from shared.errors import ErrorKind, ServiceError

SHARES = Shares(at_once=2, at_once_each=1, waiting=6, waiting_each=3)


class Work:
    """Pieces of work that last until they are ended, and the order in which they had their turns."""

    def __init__(self, turns: FairTurns) -> None:
        self.turns = turns
        self.begun: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.ends: dict[str, asyncio.Event] = {}

    async def ask(self, caller: str, name: str) -> Ticket:
        """Ask for a piece of work."""
        ticket = self.turns.ask(caller)
        self.ends[name] = asyncio.Event()
        self.tasks.append(asyncio.create_task(self._do(ticket, name)))
        await asyncio.sleep(0)
        return ticket

    async def _do(self, ticket: Ticket, name: str) -> None:
        async with self.turns.turn(ticket):
            self.begun.append(name)
            await self.ends[name].wait()

    async def end(self, name: str) -> None:
        """End a piece of work that has its turn."""
        self.ends[name].set()
        for _ in range(4):
            await asyncio.sleep(0)

    async def end_all(self) -> None:
        """End everything."""
        for event in self.ends.values():
            event.set()
        await asyncio.gather(*self.tasks)


async def test_nobody_takes_both_places() -> None:
    """One who asks for much has one place; another has the second at once, and turns alternate from then on."""
    work = Work(FairTurns(SHARES))
    for name in ("a1", "a2", "a3"):
        await work.ask("a", name)
    assert work.begun == ["a1"]
    for name in ("b1", "b2"):
        await work.ask("b", name)
    await work.ask("c", "c1")
    assert work.begun == ["a1", "b1"]
    await work.end("a1")
    assert work.begun == ["a1", "b1", "c1"], "c waits for the first time"
    await work.end("c1")
    await work.end("b1")
    assert work.begun == ["a1", "b1", "c1", "a2", "b2"]
    await work.end_all()
    assert work.begun[-1] == "a3"


async def test_shares_are_bounded() -> None:
    """So many wait for one caller, 429 beyond; so many for all, 503; both say when to come back."""
    work = Work(FairTurns(SHARES))
    for number in range(4):
        await work.ask("a", f"a{number}")
    with pytest.raises(ServiceError) as refused:
        work.turns.ask("a")
    assert (refused.value.kind, refused.value.retry_after is None) == (ErrorKind.TOO_MANY, False)
    for number in range(4):
        await work.ask("b", f"b{number}")
    with pytest.raises(ServiceError) as refused:
        work.turns.ask("c")
    assert (refused.value.kind, refused.value.retry_after is None) == (ErrorKind.UNAVAILABLE, False)
    await work.end_all()
    assert len(work.begun) == 8
    await work.ask("c", "c0")
    await work.end_all()


async def test_work_of_several_is_begun_in_the_first_turn() -> None:
    """What another asks for as well does not wait behind the first caller's other work; it is begun once."""
    work = Work(FairTurns(Shares(at_once=1, at_once_each=1, waiting=6, waiting_each=3)))
    await work.ask("a", "a1")
    await work.ask("a", "a2")
    shared = await work.ask("a", "a3")
    work.turns.share(shared, "b")
    work.turns.share(shared, "b")
    await work.end("a1")
    assert work.begun == ["a1", "a3"], "b's turn"
    await work.end_all()
    assert sorted(work.begun) == ["a1", "a2", "a3"]
    assert await _idle(work.turns)


async def test_patience_and_those_who_leave() -> None:
    """What waits too long, and what is given up, is in no queue any more."""
    turns = FairTurns(Shares(at_once=1, at_once_each=1, waiting=2, waiting_each=2, patience=0.01))
    work = Work(turns)
    await work.ask("a", "a1")
    with pytest.raises(ServiceError, match="waited too long"):
        async with turns.turn(turns.ask("b")):
            pass
    for _ in range(3):
        task = asyncio.create_task(_held(turns, turns.ask("b")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await work.end_all()
    assert await _idle(turns)


async def _held(turns: FairTurns, ticket: Ticket) -> None:
    async with turns.turn(ticket):
        pass


async def _idle(turns: FairTurns) -> bool:
    """Return whether a turn can be had at once."""
    await asyncio.wait_for(_held(turns, turns.ask("z")), 1)
    return True
