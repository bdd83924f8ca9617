"""Has pages of mirrors asked for before a file is said not to be there. Bounded in time and number.

Only mirrors are asked for that would show the project: a private name goes nowhere.
Source: ADR 0028; contract python-index section 5.3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from countermark.core.names import NormalizedName
from shared.auth.directory import IndexRecord
from shared.catalogue import fetches
from shared.catalogue.fetches import Waiting
from shared.resources import Resources

_MOST_REMEMBERED = 10_000
"""Questions that are remembered; beyond that all are forgotten."""


_IN_VAIN = 2.0
"""Seconds for which it is remembered that there was no answer."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking.

    Attributes:
        now: whether anything was asked just now, so that it is worth looking again.
        in_vain: whether an upstream gave no answer: then what is not known may be there all the same.
    """

    now: bool
    in_vain: bool


class Questions:
    """Questions of a process, and those it need not ask again for a while."""

    def __init__(self, resources: Resources, seconds: float) -> None:
        """Args: seconds: that an answer is waited for."""
        self._resources = resources
        self._seconds = seconds
        self._waiting = Waiting(resources.listener)
        self._asked: dict[str, float] = {}
        self._in_vain: dict[str, float] = {}
        resources.listener.subscribe(fetches.CHANNEL, self._told)

    async def ask(self, pages: Sequence[tuple[IndexRecord, NormalizedName]]) -> Asked:
        """Have pages of mirrors asked for, unless they were a moment ago."""
        now = asyncio.get_running_loop().time()
        asked = [fetches.what_page(mirror.id, project) for mirror, project in pages]
        fresh = [what for what in asked if self._asked.get(what, 0.0) <= now and not self._is_in_vain(what)]
        if len(self._asked) >= _MOST_REMEMBERED:
            self._asked.clear()
        until = now + self._resources.settings.mirrors.absent
        self._asked |= dict.fromkeys(fresh, until)
        await asyncio.gather(*map(self._answer, fresh))
        return Asked(bool(fresh), any(map(self._is_in_vain, asked)))

    async def _answer(self, what: str) -> None:
        """Ask for one page, and wait until the answer is there or the time is over."""
        with self._waiting.on(fetches.ASKED + what) as told:
            async with self._resources.engine.begin() as connection:
                await fetches.announce(connection, fetches.WANTED + what)
            try:
                async with asyncio.timeout(self._seconds):
                    await told.wait()
            except TimeoutError:
                self._note(what)

    async def _told(self, notice: str) -> None:
        if notice.startswith(fetches.IN_VAIN):
            self._note(notice.removeprefix(fetches.IN_VAIN))

    def _note(self, what: str) -> None:
        """Remember that a question had no answer; it is asked again soon."""
        self._asked.pop(what, None)
        if len(self._in_vain) >= _MOST_REMEMBERED:
            self._in_vain.clear()
        self._in_vain[what] = asyncio.get_running_loop().time() + _IN_VAIN

    def _is_in_vain(self, what: str) -> bool:
        return self._in_vain.get(what, 0.0) > asyncio.get_running_loop().time()
