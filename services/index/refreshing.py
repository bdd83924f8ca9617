"""Reads a project's page anew from where it comes from, because somebody asks for it: devpi's `refresh`.

Whoever may read an index may ask, so what that costs upstreams is bounded: a page is read at most once in a while, and
few at a time. The mirrors are those that a page would ask: a name that belongs here goes nowhere.
Source: contract devpi sections 3, 14 and 23; contract python-index section 5.3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from countermark.core.names import NormalizedName
from services.index.mirror_subjects import UpstreamAway
from services.index.mirroring import Mirroring
from services.index.reader import Reader
from shared.auth.directory import IndexRecord
from shared.catalogue.merged import standings
from shared.errors import ErrorKind, ServiceError
from shared.ids import IndexId
from shared.reading.access import Place
from shared.reading.merging import members_showing
from shared.reading.mirrored import policies_of
from shared.reading.policy import judge_name
from shared.reading.resolution import MIRROR
from shared.resources import Resources

PAUSE = 10.0
"""Seconds in which a page is not read a second time: it is as new as it gets."""

MOST_AT_ONCE = 16
"""Pages that a process reads anew at the same time."""

MOST_A_MINUTE = 120
"""Pages that a process reads anew in a minute."""

_MOST_REMEMBERED = 1_000


class Refreshing:
    """Reads pages anew."""

    def __init__(self, resources: Resources, mirroring: Mirroring, reader: Reader) -> None:
        self._resources = resources
        self._mirroring = mirroring
        self._reader = reader
        self._read: dict[tuple[IndexId, NormalizedName], float] = {}
        self._running = 0
        self._minute = (0.0, 0)

    async def refresh(self, place: Place, project: NormalizedName) -> None:
        """Have every mirror that shows a project in an index read its page anew, and wait for it.

        Raises:
            ServiceError: TOO_MANY; UPSTREAM when nobody has the project, and no upstream gives an answer.
        """
        order = (place.record,) if place.view is None else place.view.order
        if all(member.type != MIRROR for member in order):
            return
        async with self._resources.engine.connect() as connection:
            standing = await standings(connection, [member.id for member in order], project)
        mirrors = [
            member
            for member in members_showing(order, project, standing)
            if member.type == MIRROR and judge_name(policies_of(place.record, member), project) is None
        ]
        away = await self._asked([mirror for mirror in mirrors if self._is_due(mirror, project)], project)
        if away and len(away) == len(mirrors) and not any(one.holds for one in standing.values()):
            raise ServiceError(ErrorKind.UPSTREAM, f"{'; '.join(map(str, away))[:1000]}.")

    async def _asked(self, mirrors: Sequence[IndexRecord], project: NormalizedName) -> list[UpstreamAway]:
        """Ask for pages; returns why those are not there of which nothing is kept either."""
        if not mirrors:
            return []
        self._running += len(mirrors)
        try:
            asking = (self._mirroring.page(mirror, project, force=True) for mirror in mirrors)
            found = await asyncio.gather(*asking, return_exceptions=True)
        finally:
            self._running -= len(mirrors)
        for mirror in mirrors:
            # Who asked is sent to the page: it must not be the one from before.
            self._reader.forget(mirror.id, project)
        for page in found:
            if isinstance(page, BaseException) and not isinstance(page, UpstreamAway):
                raise page
        return [page for page in found if isinstance(page, UpstreamAway)]

    def _is_due(self, mirror: IndexRecord, project: NormalizedName) -> bool:
        """Return whether a page may be read again, and take note that it is read now."""
        now = asyncio.get_running_loop().time()
        if self._read.get((mirror.id, project), 0.0) > now:
            return False
        begun, number = self._minute if now < self._minute[0] + 60.0 else (now, 0)
        if self._running >= MOST_AT_ONCE or number >= MOST_A_MINUTE:
            wait = timedelta(seconds=2 if self._running >= MOST_AT_ONCE else begun + 60.0 - now)
            detail = "Too many pages are being read anew at the moment: try again later."
            raise ServiceError(ErrorKind.TOO_MANY, detail, retry_after=wait)
        if len(self._read) >= _MOST_REMEMBERED:
            self._read = {which: until for which, until in self._read.items() if until > now}
        self._minute = begun, number + 1
        self._read[mirror.id, project] = now + PAUSE
        return True
