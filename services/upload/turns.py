"""Turns of work that is heavy: so many at a time in this process, and a clear word to who would wait too long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from shared.errors import ErrorKind, ServiceError

_RETRY_AFTER = timedelta(seconds=10)


class Turns:
    """Gives turns, in the order of asking.

    Args:
        most: turns at the same time.
        wait: seconds that somebody waits for one at most.
    """

    def __init__(self, most: int, wait: float) -> None:
        self._free = asyncio.Semaphore(most)
        self._wait = wait

    @asynccontextmanager
    async def one(self, what: str) -> AsyncIterator[None]:
        """Hold a turn.

        Args:
            what: what there are many of, for the message.

        Raises:
            ServiceError: unavailable, with the time after which to try again; nothing was begun.
        """
        try:
            async with asyncio.timeout(self._wait):
                await self._free.acquire()
        except TimeoutError as error:
            words = f"Too many {what} at the same time; nothing was done. Try again."
            raise ServiceError(ErrorKind.UNAVAILABLE, words, retry_after=_RETRY_AFTER) from error
        try:
            yield
        finally:
            self._free.release()
