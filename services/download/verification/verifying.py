"""Verifies the whole chain of a file when somebody asks: a few at once, in fair turns, each once however many ask,
remembered shortly.

What was found is told again only while the head, the file's rows and the objects that were read are as they were, and
for some seconds at the most; what those do not decide is looked at again each time.
Source: trust contract section 3.3; ADR 0039; ADR 0044.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from services.download.settings import Limits
from services.download.verification.chain import File, Looked, Run
from services.download.verification.fair import FairTurns, Shares, Ticket
from services.download.verification.hashes import Hashes, marks
from services.download.verification.metadata import HeadRow, head_row
from services.download.verification.pages import SignedPages
from services.download.verification.rows import Rows, rows_of
from shared.attesting.judging import Judging
from shared.errors import ErrorKind, ServiceError
from shared.objects.interface import ObjectInfo, ObjectStoreError
from shared.resources import Resources

log = structlog.get_logger()

ASKED = Shares(at_once=2, at_once_each=1, waiting=64, waiting_each=4)
"""Of those who ask for verifications: each chain reads a file from the store, and nobody takes both places."""

READ = Shares(at_once=2, at_once_each=2, waiting=64, waiting_each=32, beyond=ErrorKind.UNAVAILABLE)
"""Of those who read files of indexes that verify on read: an installer asks for many at once, and takes 503 alone for
a word to come again."""

_REMEMBERED = 1000
_RETRY_AFTER = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class State:
    """What a verification was of: the same state again need not be verified again."""

    head: HeadRow
    rows: Rows


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found, of what, and when (monotonic seconds)."""

    state: State
    looked: Looked
    at: float


@dataclass(frozen=True, slots=True)
class _Running:
    task: asyncio.Task[Examined]
    ticket: Ticket


class Examinations:
    """Goes through chains."""

    def __init__(self, resources: Resources, limits: Limits, hashes: Hashes, shares: Shares, seconds: float) -> None:
        """Args: seconds: for which what was found may be told again."""
        self._resources = resources
        self._limits = limits
        self._hashes = hashes
        self._seconds = seconds
        self._judging = Judging(resources.settings.attestations, resources.verifying)
        self._pages = SignedPages()
        self._turns = FairTurns(shares)
        self._kept: OrderedDict[Hashable, Examined] = OrderedDict()
        self._running: dict[Hashable, _Running] = {}

    async def state(self, file: File) -> State | None:
        """Return what there is of a file now, None in an index without a publication."""
        async with self._resources.engine.connect() as connection:
            # One view of all tables: rows of a publication that came in between would contradict the head before it,
            # and the file would be held for that.
            connection = await connection.execution_options(isolation_level="REPEATABLE READ")
            head = await head_row(connection, file.index)
            return None if head is None else State(head, await rows_of(connection, file.index, file.distribution))

    async def examine(self, file: File, state: State, caller: str) -> Examined:
        """Return what is found of a file's chain, or was found a moment ago of the same state.

        Args:
            caller: who asks, for fair turns.

        Raises:
            ServiceError: UNAVAILABLE; it cannot be verified now. TOO_MANY; the caller waits for too many others.
        """
        key = (file.index.id, file.distribution)
        try:
            kept = self._kept.get(key)
            if kept is not None and kept.state == state and await self._still(file, kept):
                return kept
            self.share(file, caller)
            running = self._running.get(key) or self._begin(key, file, state, caller)
            # Whoever goes away takes the others' answer with them otherwise.
            found = await asyncio.shield(running.task)
        except ServiceError as error:
            raise error.again() from error
        except (ObjectStoreError, SQLAlchemyError, OSError) as error:
            log.warning("not_verified", file=file.distribution.file_name, error=str(error)[:500])
            detail = "The object store or the database cannot be read right now; try again in a few seconds."
            raise _unavailable(detail) from error
        if found.state != state:
            raise _unavailable("The index is being published right now; try again in a few seconds.")
        return found

    def share(self, file: File, caller: str) -> None:
        """Let a run that waits for its turn be another caller's as well.

        Raises:
            ServiceError: TOO_MANY; the caller waits for too many others.
        """
        running = self._running.get((file.index.id, file.distribution))
        if running is not None:
            self._turns.share(running.ticket, caller)

    def _begin(self, key: Hashable, file: File, state: State, caller: str) -> _Running:
        ticket = self._turns.ask(caller)
        task = asyncio.create_task(self._run(file, state, ticket))
        running = self._running[key] = _Running(task, ticket)

        def done(task: asyncio.Task[Examined]) -> None:
            del self._running[key]
            if not task.cancelled() and task.exception() is None:
                self._keep(key, task.result())

        task.add_done_callback(done)
        return running

    async def _still(self, file: File, kept: Examined) -> bool:
        """Return whether what was found may be told again: soon after, in time, and of objects that did not change."""
        until = kept.looked.until
        if time.monotonic() - kept.at > self._seconds or (until is not None and until <= self._resources.clock.now()):
            return False
        store = self._resources.objects.side(public=file.index.public)
        infos = await asyncio.gather(*(store.head(seen.key) for seen in kept.looked.seen))
        return all(_marks(info) == _marks(seen.info) for info, seen in zip(infos, kept.looked.seen, strict=True))

    async def _run(self, file: File, state: State, ticket: Ticket) -> Examined:
        try:
            async with self._turns.turn(ticket), asyncio.timeout(self._limits.verify_seconds):
                run = Run(
                    resources=self._resources,
                    judging=self._judging,
                    hashes=self._hashes,
                    pages=self._pages,
                    file=file,
                    head=state.head,
                    rows=state.rows,
                    now=self._resources.clock.now(),
                )
                return Examined(state, await run.look(), time.monotonic())
        except TimeoutError as error:
            words = f"{file.distribution.file_name} could not be verified in {self._limits.verify_seconds:g} seconds."
            raise _unavailable(words) from error

    def _keep(self, key: Hashable, found: Examined) -> None:
        self._kept.pop(key, None)
        if not found.looked.settled:
            return
        self._kept[key] = found
        if len(self._kept) > _REMEMBERED:
            self._kept.popitem(last=False)


def _marks(info: ObjectInfo | None) -> Hashable:
    return None if info is None else marks(info)


def _unavailable(detail: str) -> ServiceError:
    return ServiceError(ErrorKind.UNAVAILABLE, detail, retry_after=_RETRY_AFTER)
