"""Has pages of mirrors asked for before a file is said not to be there. Bounded in time and number.

Only mirrors are asked for that would show the project: a private name goes nowhere.
Source: ADR 0028; contract python-index section 5.3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from countermark.core.names import NormalizedName
from shared.auth.directory import IndexRecord
from shared.catalogue import fetches
from shared.catalogue.fetches import Waiting
from shared.resources import Resources

_MOST_REMEMBERED = 10_000
"""Questions that are remembered; beyond that all are forgotten."""


class Questions:
    """Questions of a process, and those it need not ask again for a while."""

    def __init__(self, resources: Resources, seconds: float) -> None:
        """Args: seconds: that an answer is waited for."""
        self._resources = resources
        self._seconds = seconds
        self._waiting = Waiting(resources.listener)
        self._asked: dict[str, float] = {}

    async def ask(self, pages: Sequence[tuple[IndexRecord, NormalizedName]]) -> bool:
        """Have pages of mirrors asked for; returns whether any was, so that it is worth looking again."""
        now = asyncio.get_running_loop().time()
        asked = [fetches.what_page(mirror.id, project) for mirror, project in pages]
        fresh = [what for what in asked if self._asked.get(what, 0.0) <= now]
        if not fresh:
            return False
        if len(self._asked) >= _MOST_REMEMBERED:
            self._asked.clear()
        until = now + self._resources.settings.mirrors.absent
        self._asked |= dict.fromkeys(fresh, until)
        await asyncio.gather(*map(self._answer, fresh))
        return True

    async def _answer(self, what: str) -> None:
        """Ask for one page, and wait until the answer is there or the time is over."""
        with self._waiting.on(what) as told:
            async with self._resources.engine.begin() as connection:
                await fetches.announce(connection, fetches.WANTED + what)
            try:
                async with asyncio.timeout(self._seconds):
                    await told.wait()
            except TimeoutError:
                self._asked.pop(what, None)
