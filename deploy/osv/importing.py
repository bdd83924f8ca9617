"""Imports a snapshot of OSV advisories, beside a running server; it replaces the one before as a whole.

Source: ADR 0029.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from deploy.administration import Row, catalogue
from deploy.errors import LaunchError
from deploy.osv.records import Bounds, Found, records
from shared.catalogue import advisories, audit
from shared.catalogue.advisories import Counts, Rows, Snapshot
from shared.catalogue.unit_of_work import UnitOfWork
from shared.clock import Clock, SystemClock
from shared.formats.python.osv import InvalidAdvisory, parse_advisory
from shared.settings import Settings

_BATCH, _BATCH_BYTES = 500, 16 << 20
"""Records, and bytes of them, that are in memory at once."""

_TOLD = 20
"""Faults that are told one by one; the others are counted."""

Say = Callable[[str], None]


async def import_snapshot(
    settings: Settings, source: Path, say: Say, *, lenient: bool = False, bounds: Bounds | None = None
) -> None:
    """Serve the advisories of a snapshot in place of those that are served.

    Args:
        lenient: leave out what cannot be read, and import the rest.

    Raises:
        UsageError: it is no snapshot, cannot be read, or is larger than is taken.
        LaunchError: a record cannot be read and `lenient` was not said, nothing is about PyPI, or the catalogue cannot
            be used. What was served before goes on to be served.
    """
    reading = Reading(records(source, bounds or Bounds()), say)
    async with catalogue(settings) as engine:
        snapshot = await _replace(engine, SystemClock(), source, reading, lenient=lenient)
    say(f"{_in_words(snapshot)}; {reading.counts.others} records about other ecosystems alone\n")


async def status(settings: Settings) -> Row | None:
    """Return what is served, None when nothing ever was imported."""
    async with catalogue(settings) as engine, engine.connect() as connection:
        snapshot = await advisories.current(connection)
    if snapshot is None:
        return None
    return {
        "advisories": snapshot.advisories,
        "left_out": snapshot.left_out,
        "newest": _day(snapshot.newest_at),
        "imported": _day(snapshot.imported_at),
        "from": snapshot.source,
    }


@dataclass(slots=True)
class Reading:
    """Reads records batch by batch, and says which of them are none."""

    source: Iterator[Found]
    say: Say
    counts: Counts = field(default_factory=Counts)
    _seen: set[str] = field(default_factory=set)

    def batch(self) -> list[Rows]:
        """Return the next advisories about PyPI; none when there are no more. Blocking.

        Raises:
            UsageError: as `records`.
        """
        rows: list[Rows] = []
        held = 0
        for found in self.source:
            one = self._read(found)
            if one is None:
                continue
            rows.append(one)
            held += len(found.document)
            if len(rows) == _BATCH or held > _BATCH_BYTES:
                break
        return rows

    def _read(self, found: Found) -> Rows | None:
        try:
            advisory = parse_advisory(found.document) if not found.fault else None
        except InvalidAdvisory as error:
            self._leave_out(found, str(error))
            return None
        if advisory is None or advisory.id in self._seen:
            self._leave_out(found, found.fault or "a record of the same id came before")
            return None
        if not advisory.affected:
            self.counts.others += 1
            return None
        self._seen.add(advisory.id)
        self.counts.advisories += 1
        newest = self.counts.newest_at
        self.counts.newest_at = advisory.modified if newest is None else max(newest, advisory.modified)
        return advisories.rows_of(advisory, found.document)

    def _leave_out(self, found: Found, why: str) -> None:
        self.counts.left_out += 1
        if self.counts.left_out <= _TOLD:
            self.say(f"left out: {ascii(found.where)[1:-1]}: {why}\n")
        elif self.counts.left_out == _TOLD + 1:
            self.say("left out: and more\n")


async def _replace(engine: AsyncEngine, clock: Clock, source: Path, reading: Reading, *, lenient: bool) -> Snapshot:
    stays = "nothing was changed: what was served before still is"
    async with UnitOfWork(engine) as work:
        await advisories.begin_snapshot(work.connection)
        while rows := await asyncio.to_thread(reading.batch):
            await advisories.add(work.connection, rows)
        counts = reading.counts
        if counts.left_out and not lenient:
            detail = f"{counts.left_out} of the records cannot be read; --lenient leaves them out"
            raise LaunchError(f"{detail}; {stays}")
        if counts.newest_at is None:
            raise LaunchError(f"{source} has no advisory about a PyPI package; {stays}")
        now = clock.now()
        snapshot = await advisories.end_snapshot(work.connection, source.name, counts, now)
        await audit.record(
            work.connection,
            at=now,
            actor="cli",
            action="advisories.import",
            subject=source.name,
            advisories=counts.advisories,
            left_out=counts.left_out,
            newest=counts.newest_at.isoformat(),
        )
        await work.commit()
    return snapshot


def _in_words(snapshot: Snapshot) -> str:
    left = f", {snapshot.left_out} records left out" if snapshot.left_out else ""
    newest = _day(snapshot.newest_at)
    return f"{snapshot.advisories} advisories about PyPI packages are served, the newest of {newest}{left}"


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
