"""The projects of a mirror, for devpi's document of it: the upstream's list, which the index service asks for.

Source: contract devpi sections 4.3 and 14; ADR 0028.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from countermark.core.names import IndexName
from shared.auth.directory import IndexRecord
from shared.catalogue.mirror_listings import kept_projects
from shared.catalogue.mirror_pages import LIST, MirrorId, kept_page
from shared.fetching.asking import Questions
from shared.formats.python.packed_lists import unpack_rows
from shared.reading.listing import NameRules
from shared.resources import Resources

_WAIT = 5.0
"""Seconds that a list is waited for; one that takes longer is there for the next one who asks."""


class MirroredNames:
    """Finds the names that mirrors list."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._questions = Questions(resources, _WAIT)

    async def of(self, name: IndexName) -> AsyncIterator[list[str]]:
        """Yield the names that a mirror lists, in parts; without a list of its upstream those it keeps a page of.

        The same rules leave names out as in the simple list.
        """
        record = self._resources.directory.index(name)
        if record is None:
            # Another gateway made it a moment ago.
            await self._resources.directory.refresh()
            record = self._resources.directory.index(name)
        if record is None:
            return
        rules = await asyncio.to_thread(NameRules, [] if record.policy is None else [record.policy])
        packed = await self._list_of(record)
        async for names in _unpacked(packed) if packed is not None else self._kept(record):
            shown = await asyncio.to_thread(lambda these: [one for one in these if rules.let(one)], names)
            if shown:
                yield shown

    async def _list_of(self, mirror: IndexRecord) -> bytes | None:
        """Return the list of a mirror's upstream, asked for unless it is fresh; None without one."""
        options, which = mirror.mirror, MirrorId(mirror.id, mirror.life)
        if options is None or options.url is None or not options.lists:
            return None
        async with self._resources.engine.connect() as connection:
            kept = await kept_page(connection, which, LIST)
        fresh = kept is not None and kept.under(options.url).validity.is_fresh(self._resources.clock.now())
        if not fresh and await self._questions.ask([(mirror, LIST)]):
            async with self._resources.engine.connect() as connection:
                kept = await kept_page(connection, which, LIST)
        return None if kept is None else kept.document

    async def _kept(self, mirror: IndexRecord) -> AsyncIterator[list[str]]:
        """Yield the names of which a mirror keeps a page."""
        names: list[str] = []
        which = MirrorId(mirror.id, mirror.life)
        async with self._resources.engine.connect() as connection:
            while found := await kept_projects(connection, which, names[-1] if names else ""):
                names += found
        yield sorted(names)


async def _unpacked(packed: bytes) -> AsyncIterator[list[str]]:
    parts = unpack_rows(packed)
    while (rows := await asyncio.to_thread(next, parts, None)) is not None:
        yield [name for name, _ in rows]
