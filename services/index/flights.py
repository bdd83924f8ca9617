"""Asking upstreams once: those of a process who want the same thing share one flight, and of all processes one flies.

Source: architecture section 11.6 ("a `fetch` row elects one process"); ADR 0028.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog

from shared.catalogue import fetches
from shared.catalogue.engine import CATALOGUE_AWAY
from shared.catalogue.fetches import Turn, Waiting
from shared.leisure import Hurry
from shared.resources import Resources

log = structlog.get_logger()

LONGEST_WAIT = 30.0
"""Seconds that somebody waits for something of which nothing is kept."""

_LONGEST_FLIGHT = 3 * LONGEST_WAIT

_LOOK_AGAIN = 0.5
"""Seconds after which a process that waits for another one looks at the catalogue, though it was not told."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class _Flight(Generic[V]):
    """A flight, and what it brings, which may be known before it is over."""

    task: asyncio.Task[bool]
    answer: asyncio.Future[V]
    hurry: Hurry


class Flights(Generic[K, V]):
    """Flights under way in this process, by what they are for."""

    def __init__(self, resources: Resources) -> None:
        self._engine = resources.engine
        self._flights: dict[K, _Flight[V]] = {}
        self._waiting = Waiting(resources.listener)

    def __len__(self) -> int:
        return len(self._flights)

    async def join(
        self, key: K, fly: Callable[[Callable[[V], None], Hurry], Coroutine[Any, Any, V]], patience: float
    ) -> V:
        """Return what a flight brings, which begins now unless it is under way; it goes on when nobody waits any more.

        Args:
            fly: returns it, or calls its argument with it as soon as it is known, and then has more to do, for which
                somebody may wait.

        Raises:
            TimeoutError: it takes more than `patience` seconds.
            Exception: what `fly` raised.
        """
        flight = self._flights.get(key)
        if flight is None:
            answer = asyncio.get_running_loop().create_future()
            hurry = Hurry()
            flight = _Flight(asyncio.create_task(_flown(fly, answer, hurry)), answer, hurry)
            self._flights[key] = flight
            flight.task.add_done_callback(lambda _: self._flights.pop(key, None))
        async with asyncio.timeout(patience):
            return await asyncio.shield(flight.answer)

    async def over(self, key: K) -> bool:
        """Wait until a flight is over, if one is under way; returns whether all of it was done."""
        if (flight := self._flights.get(key)) is None:
            return True
        flight.hurry.now()
        await asyncio.wait([flight.task])
        return not flight.task.cancelled() and flight.task.result()

    async def elected(
        self, what: str, ask: Callable[[Turn], Awaitable[V]], look: Callable[[], Awaitable[V | None]]
    ) -> V:
        """Ask an upstream in this process's turn, or return what another process found in its own.

        Args:
            what: name of the turn; see `shared.catalogue.fetches`.
            ask: asks, keeps the answer and returns it.
            look: returns an answer that is kept since this flight began, None when there is none.
        """
        async with asyncio.timeout(_LONGEST_FLIGHT):
            while True:
                with self._waiting.on(what) as told:
                    async with fetches.turn(self._engine, what) as turn:
                        if turn.mine:
                            return await ask(turn)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK_AGAIN):
                            await told.wait()
                found = await look()
                if found is not None:
                    return found


async def _flown(
    fly: Callable[[Callable[[V], None], Hurry], Coroutine[Any, Any, V]], answer: asyncio.Future[V], hurry: Hurry
) -> bool:
    """Fly, and have the answer say how that ended, unless it is known already; returns whether it ended well."""
    try:
        found = await fly(answer.set_result, hurry)
    except asyncio.CancelledError:
        answer.cancel()
        raise
    except Exception as error:
        if not answer.done():
            answer.set_exception(error)
            # Nobody may wait for it any more: then it is not reported as lost.
            answer.exception()
        elif isinstance(error, CATALOGUE_AWAY):
            log.warning("answered_and_not_kept", error=f"{type(error).__name__}: {error}"[:300])
        else:
            log.exception("answered_and_not_kept")
        return False
    else:
        if not answer.done():
            answer.set_result(found)
        return True
    finally:
        # Of an answer that failed the error knows this step, and with it all that was read: they are to go at once.
        del answer
