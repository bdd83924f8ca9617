"""Pages of mirrors that this process answered a moment ago: so that who asks for their files at once finds them.

Installers ask for core metadata as soon as they have the page that announces it. Where one process answers pages and
files, a page is answered first and kept then, and its files are found without asking the catalogue. Where another
process answers files, a page is kept first. Source: ADR 0049.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.names import NormalizedName
from shared.catalogue import fetches
from shared.catalogue.listener import Listener
from shared.catalogue.mirror_faults import KeptOrigins, kept_origins
from shared.catalogue.mirror_pages import MirrorId
from shared.ids import IndexId

SECONDS = 10.0
"""For which a page is remembered: an installer that resolves has its metadata asked for by then."""

MOST_FILES = 5_000
"""Files of all remembered pages, a kilobyte or two each."""

_Key = tuple[IndexId, NormalizedName]


@dataclass(slots=True)
class _Page:
    """A page, in the life of its mirror in which it was answered, and until when it is remembered (monotonic)."""

    life: int
    origins: KeptOrigins
    until: float = math.inf
    doubted: bool = False
    """Whether something of it changed before it was kept."""
    weight: int = 0
    """How many files it counts as, when it is remembered."""


class AnsweredPages:
    """Pages answered lately, for one process; forgotten as soon as they are others.

    Attributes:
        followed: whether this process answers the files of its pages too.
    """

    def __init__(self, listener: Listener) -> None:
        self.followed = False
        self._keeping: dict[_Key, _Page] = {}
        """Not kept yet: known only here."""
        self._kept: OrderedDict[_Key, _Page] = OrderedDict()
        self._weight = 0
        self._when_void: list[Callable[[IndexId, NormalizedName], None]] = []
        listener.subscribe(fetches.CHANNEL, self._told)

    def when_void(self, call: Callable[[IndexId, NormalizedName], None]) -> None:
        """Have something called for each page that was answered and is not what is kept."""
        self._when_void.append(call)

    @property
    def unkept(self) -> int:
        """Pages that were answered and are not kept yet."""
        return len(self._keeping)

    def begin(self, mirror: MirrorId, project: NormalizedName, page: KeptOrigins) -> None:
        """Note a page that is answered now, and kept a moment later."""
        self._keeping[mirror.id, project] = _Page(mirror.life, page)

    def end(self, mirror: MirrorId, project: NormalizedName, *, kept: bool) -> None:
        """Note that a page is kept, or is not and will not be."""
        key = mirror.id, project
        begun = self._keeping.pop(key, None)
        if begun is None:
            return
        self._forget(key)
        if begun.doubted or not kept:
            for call in self._when_void:
                call(*key)
            return
        begun.weight = _weight(begun.origins)
        if begun.weight > MOST_FILES:
            return
        begun.until = time.monotonic() + SECONDS
        self._kept[key] = begun
        self._weight += begun.weight
        while self._weight > MOST_FILES:
            self._forget(next(iter(self._kept)))

    def of(self, mirrors: Iterable[MirrorId], project: NormalizedName) -> dict[IndexId, KeptOrigins]:
        """Return what this process knows of a project's files, by mirror."""
        found = {}
        for mirror in mirrors:
            key = mirror.id, project
            page = self._keeping.get(key) or self._kept.get(key)
            if page is not None and page.life == mirror.life and time.monotonic() < page.until:
                found[mirror.id] = page.origins
        return found

    async def _told(self, notice: str) -> None:
        """Forget what became another; on a tick everything, since a notification may have been missed."""
        if not notice:
            self._kept.clear()
            self._weight = 0
            return
        changed = fetches.changed_page(notice)
        if changed is None:
            return
        key = changed.index_id, changed.project
        known = self._keeping.get(key) or self._kept.get(key)
        if known is None or (changed.at is not None and changed.at <= known.origins.changed_at):
            return
        self._forget(key)
        if key in self._keeping:
            known.doubted = True

    def _forget(self, key: _Key) -> None:
        if (known := self._kept.pop(key, None)) is not None:
            self._weight -= known.weight


def _weight(page: KeptOrigins) -> int:
    """Return how many files a page counts as: at least one, so that pages are bounded in number, and one for each
    kilobyte."""
    origins = page.origins
    if origins is None or isinstance(origins, bytes):
        return 1
    return 1 + len(origins) + (sum(len(listed.entry) for listed in origins.values()) >> 10)


async def known_origins(
    connection: AsyncConnection,
    answered: AnsweredPages,
    mirrors: Sequence[MirrorId],
    project: NormalizedName,
    now: datetime,
) -> dict[IndexId, KeptOrigins]:
    """Return what each of some mirrors knows of the files of a project: as this process answered it a moment ago, else
    as it is kept."""
    found = answered.of(mirrors, project)
    rest = [mirror for mirror in mirrors if mirror.id not in found]
    return {**found, **await kept_origins(connection, rest, project, now)} if rest else found
