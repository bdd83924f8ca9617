"""Asks for pages and lists of mirrors on behalf of other services: for files at addresses that are not known yet.

A lock file brings clients to a file without any page: in a new deployment, or for a release that appeared since.
Source: ADR 0028 (the index service alone writes pages).
"""

from __future__ import annotations

import asyncio

import structlog

from countermark.core.names import NormalizedName
from services.index.mirror_subjects import UpstreamAway
from services.index.mirroring import Mirroring
from shared.auth.directory import IndexRecord
from shared.catalogue import fetches
from shared.catalogue.engine import CATALOGUE_AWAY
from shared.catalogue.mirror_pages import LIST
from shared.resources import Resources

log = structlog.get_logger()

_MOST = 200
"""Pages that a process asks for at the same time; who asks for more waits in vain, and is told to come again."""


class AskedPages:
    """Listens for what is wanted."""

    def __init__(self, resources: Resources, mirroring: Mirroring) -> None:
        self._resources = resources
        self._mirroring = mirroring
        self._asking: dict[str, asyncio.Task[None]] = {}
        resources.listener.subscribe(fetches.CHANNEL, self._told)

    async def _told(self, notice: str) -> None:
        wanted = fetches.wanted_page(notice)
        if wanted is None or notice in self._asking or len(self._asking) >= _MOST:
            return
        mirror = self._resources.directory.index_by_id(wanted.index_id)
        if mirror is not None:
            task = asyncio.create_task(self._ask(mirror, wanted.project))
            self._asking[notice] = task
            task.add_done_callback(lambda _: self._asking.pop(notice, None))

    async def _ask(self, mirror: IndexRecord, project: NormalizedName) -> None:
        """Have a page asked for, and say so whatever came of it, and first that nothing did."""
        what, in_vain = fetches.what_page(mirror.id, project), False
        try:
            try:
                if project == LIST:
                    await self._mirroring.projects(mirror)
                else:
                    stale = (await self._mirroring.page(mirror, project)).stale_since is not None
                    in_vain = not await self._mirroring.settled(mirror, project) or stale
            except UpstreamAway as error:
                in_vain = True
                log.info("asked_in_vain", index=str(mirror.name), project=project, error=str(error)[:300])
            async with self._resources.engine.begin() as connection:
                if in_vain:
                    await fetches.announce(connection, fetches.IN_VAIN + what)
                await fetches.announce(connection, fetches.ASKED + what)
        except CATALOGUE_AWAY as error:
            log.warning("asked_in_vain", index=str(mirror.name), project=project, error=str(error)[:300])
