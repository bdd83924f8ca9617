"""Chains the audit's rows, looks whether the chain still holds, and says which head of it a publication is to show.

Every signer runs the loop; an advisory lock has one of them chain at a time, and a head goes out with the ordinary
batches of the default index, under its lease. What a look costs is bounded: the newest rows are compared with the
chain, a window of links is hashed again, and all rows are gone through once an hour.
Source: trust contract section 2.9; docs/adr/0035-audit-chain.md.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.audit import HEAD_TARGET, AuditHead, AuditRow, ChainBroken, ChainReader
from countermark.core.names import TargetPath
from services.signing.publication import rules
from services.signing.publication.batch import Batch, Rendered
from shared.catalogue import audit, audit_chain
from shared.catalogue.engine import CATALOGUE_AWAY
from shared.catalogue.publication_rows import IndexFacts
from shared.catalogue.unit_of_work import UnitOfWork
from shared.ids import IndexId
from shared.jobs.messages import RefreshIndex
from shared.metrics import Metrics
from shared.resources import Resources

log = structlog.get_logger()

LOOK_EVERY = timedelta(seconds=5)
"""How often rows are chained."""

HEAD_EVERY = timedelta(hours=1)
"""How often a head is published, when the chain has grown."""

LATE = timedelta(minutes=5)
"""How old a row may be that is not chained; an older one is an alarm. A transaction ends long before."""

SWEEP_EVERY = timedelta(hours=1)
"""How often all rows are looked at, and not only the newest."""

CHECK_EVERY = timedelta(minutes=1)
"""How often links are hashed again."""

BATCH = 500
"""Rows chained in one transaction, and links hashed again at a time: about ten milliseconds."""

_BEHIND = 1000
"""Numbers below the newest chained one at which a look begins: rows that are committed later than their followers."""


class ChainLoop:
    """Chains what was added, has heads published, and raises the alarm when the chain does not hold."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._swept_at: float | None = None
        self._checked_at: float | None = None
        self._next = 0
        self._broken: ChainBroken | None = None

    async def run(self) -> None:
        """Look now and every `LOOK_EVERY`, until cancelled."""
        while True:
            try:
                await self.look()
            except CATALOGUE_AWAY as error:
                log.warning("audit_look_failed", error=str(error))
            except (ValueError, OverflowError) as error:
                # No service writes such a row. It stops the chain, which is an alarm of its own; not the signer.
                log.error("audit_row_unusable", error=str(error))
            await asyncio.sleep(LOOK_EVERY.total_seconds())

    async def look(self) -> int:
        """Chain what is there, ask for a head's publication when one is due, and check now and then; returns how many
        rows were chained."""
        count = await self._chain()
        await self._ask_for_head()
        if _is_over(self._checked_at, CHECK_EVERY):
            await self.check()
            self._checked_at = time.monotonic()
        return count

    async def _chain(self) -> int:
        """Chain all rows that are not in the chain, part by part; a sweep goes through all numbers."""
        sweeps, began, count = _is_over(self._swept_at, SWEEP_EVERY), time.monotonic(), 0
        async with self._resources.engine.connect() as connection:
            newest = await audit.newest(connection)
            start = 1 if sweeps else max(1, await audit_chain.newest_chained(connection) - _BEHIND)
        while start <= newest:
            span = range(start, min(newest + 1, start + audit_chain.SPAN))
            async with UnitOfWork(self._resources.engine) as work:
                if not await audit_chain.lock_chain(work.connection):
                    return count
                rows = await audit_chain.unchained(work.connection, span, BATCH)
                following = await audit_chain.next_number(work.connection, span.stop)
                if rows:
                    self._report_late(rows)
                    await audit_chain.append(work.connection, await audit_chain.end(work.connection), rows)
                    await work.commit()
            count += len(rows)
            rest = newest + 1 if following is None else following
            start = rest if len(rows) < BATCH else rows[-1].id + 1
        if sweeps:
            self._swept_at = began
        return count

    def _report_late(self, rows: list[AuditRow]) -> None:
        """Tell of rows that were there, or say they were, longer than any transaction lasts: the chain was not kept,
        or somebody has added them in another way."""
        now = self._resources.clock.now()
        late = [row for row in rows if now - row.at > LATE]
        if late:
            oldest = min(late, key=lambda row: row.at)
            log.error("audit_chained_late", rows=len(late), oldest=oldest.id, at=oldest.at.isoformat())
            self._resources.metrics.audit_late.inc(len(late))

    async def _ask_for_head(self) -> None:
        """Ask for a batch of the default index when its head is out of date. The first head goes with the first batch
        that is made anyway."""
        async with UnitOfWork(self._resources.engine) as work:
            default = await audit_chain.default_index(work.connection)
            if default is None:
                return
            shown = await audit_chain.newest_head(work.connection, *default)
            if shown is None or self._resources.clock.now() - shown.head.at < HEAD_EVERY:
                return
            grown = (await audit_chain.end(work.connection)).position > shown.head.position
            if grown and not await audit_chain.refresh_is_asked(work.connection, default[1]):
                await work.enqueue(RefreshIndex(default[1]))
                await work.commit()

    async def check(self) -> ChainBroken | None:
        """Hash some links again: the newest, the next ones of all in turn, and the place that was found broken, if
        any; compare the published head. Says what is wrong until it is right again."""
        async with self._resources.engine.connect() as connection:
            end = await audit_chain.end(connection)
            turn = self._next if self._next < end.position else 0
            starts = {max(0, end.position - BATCH), turn}
            if self._broken is not None:
                starts.add(max(0, self._broken.position - 1))
            self._broken = None
            for start in sorted(starts):
                self._broken = self._broken or await _fault_after(connection, start)
            self._broken = self._broken or await head_fault(connection)
        self._next = turn + BATCH
        _alarm(self._resources.metrics, self._broken)
        return self._broken


class Heads:
    """Says which head of the chain a batch shows."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._not_before: dict[IndexId, datetime] = {}

    async def due(self, connection: AsyncConnection, index: IndexFacts, now: datetime) -> AuditHead | None:
        """Return the head that a batch of an index is to publish; None for all but the default index, while the one
        that it shows is young, or has not grown, and when the chain no longer holds what was published.
        """
        if now < self._not_before.get(index.id, now) or index.deleted:
            return None
        default = await audit_chain.default_index(connection)
        if default is None or default[1] != index.id:
            if default is not None:
                # Which one that is never changes.
                self._not_before[index.id] = datetime.max.replace(tzinfo=now.tzinfo)
            return None
        shown = await audit_chain.newest_head(connection, index.name, index.id)
        if shown is not None:
            self._not_before[index.id] = shown.head.at + HEAD_EVERY
            if now < self._not_before[index.id]:
                return None
        end = await audit_chain.end(connection)
        if end.position == (0 if shown is None else shown.head.position):
            return None
        fault = await head_fault(connection)
        if fault is not None:
            _alarm(self._resources.metrics, fault)
            self._not_before[index.id] = now + CHECK_EVERY
            return None
        return AuditHead(index.name, end.position, end.sha256, now)


def with_head(rendered: Rendered, head: AuditHead | None) -> Rendered:
    """Return what a batch signs with a head among its targets."""
    if head is None:
        return rendered
    content = head.to_bytes()
    entry = rules.entry_of(HEAD_TARGET, content)
    return replace(
        rendered,
        targets={**rendered.targets, HEAD_TARGET: content},
        entries={**rendered.entries, HEAD_TARGET: entry},
    )


async def keep_head(connection: AsyncConnection, batch: Batch) -> None:
    """Keep the head that a batch publishes, in its commit."""
    if batch.audit_head is not None:
        await audit_chain.insert_head(connection, batch.index.id, batch.version, batch.audit_head)


async def shown_head(connection: AsyncConnection, index: IndexFacts) -> dict[TargetPath, bytes]:
    """Return the head that an index shows as the target it is; nothing where there is none."""
    shown = await audit_chain.newest_head(connection, index.name, index.id)
    return {} if shown is None else {HEAD_TARGET: shown.head.to_bytes()}


async def _fault_after(connection: AsyncConnection, start: int) -> ChainBroken | None:
    """Hash the links after a position again, `BATCH` at the most; what is before them is taken for right."""
    before = await audit_chain.at_position(connection, start)
    if before is None:
        return ChainBroken(start, "it is missing")
    try:
        await audit_chain.follow(connection, ChainReader(start, before), BATCH)
    except ChainBroken as error:
        return error
    return None


async def head_fault(connection: AsyncConnection) -> ChainBroken | None:
    """Return what is wrong between the head that is published and the chain."""
    default = await audit_chain.default_index(connection)
    shown = None if default is None else await audit_chain.newest_head(connection, *default)
    if shown is None:
        return None
    chained = await audit_chain.at_position(connection, shown.head.position)
    if chained == shown.head.sha256:
        return None
    return ChainBroken(
        shown.head.position, f"was published with hash {shown.head.sha256}, the chain has {chained or 'no such link'}"
    )


def _alarm(metrics: Metrics, fault: ChainBroken | None) -> None:
    metrics.audit_broken.set(0 if fault is None else fault.position)
    if fault is not None:
        hint = "run countermark-server audit verify; see docs/audit.md"
        log.error("audit_chain_broken", position=fault.position, reason=fault.reason, hint=hint)


def _is_over(since: float | None, term: timedelta) -> bool:
    return since is None or time.monotonic() - since >= term.total_seconds()
