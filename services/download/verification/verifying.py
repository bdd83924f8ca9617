"""Verifies the whole chain of a file when somebody asks: a few at once, each once however many ask, remembered shortly.

What was found is told again only while the head, the file's rows and the objects that were read are as they were, and
for some seconds at the most.
Source: trust contract section 3.3; ADR 0039.
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
from services.download.verification.hashes import Hashes, marks
from services.download.verification.metadata import HeadRow, head_row
from services.download.verification.rows import Rows, rows_of
from shared.attesting.judging import Judging
from shared.errors import ErrorKind, ServiceError
from shared.objects.interface import ObjectStoreError
from shared.resources import Resources

log = structlog.get_logger()

AT_ONCE = 2
"""Chains that are gone through at once: each reads a file from the store."""

_WAITING = 32
"""Questions that are being answered, or wait for that."""

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


class Examinations:
    """Goes through chains."""

    def __init__(self, resources: Resources, limits: Limits, hashes: Hashes, seconds: float) -> None:
        """Args: seconds: for which what was found may be told again."""
        self._resources = resources
        self._limits = limits
        self._hashes = hashes
        self._seconds = seconds
        self._judging = Judging(resources.settings.attestations, resources.verifying)
        self._places = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._kept: OrderedDict[Hashable, Examined] = OrderedDict()
        self._running: dict[Hashable, asyncio.Task[Examined]] = {}

    async def state(self, file: File) -> State | None:
        """Return what there is of a file now, None in an index without a publication."""
        async with self._resources.engine.connect() as connection:
            # One view of all tables: rows of a publication that came in between would contradict the head before it,
            # and the file would be held for that.
            connection = await connection.execution_options(isolation_level="REPEATABLE READ")
            head = await head_row(connection, file.index)
            return None if head is None else State(head, await rows_of(connection, file.index, file.distribution))

    async def examine(self, file: File, state: State) -> Examined:
        """Return what is found of a file's chain, or was found a moment ago of the same state.

        Raises:
            ServiceError: UNAVAILABLE; it cannot be verified now.
        """
        key = (file.index.id, file.distribution)
        try:
            kept = self._kept.get(key)
            if kept is not None and kept.state == state and await self._still(file, kept):
                return kept
            running = self._running.get(key)
            if running is None:
                if self._waiting >= _WAITING:
                    raise _unavailable("Too much is being verified right now; try again in a few seconds.")
                running = asyncio.create_task(self._run(file, state))
                self._running[key] = running
                running.add_done_callback(lambda _: self._running.pop(key, None))
            # Whoever goes away takes the others' answer with them otherwise.
            found = await asyncio.shield(running)
        except (ObjectStoreError, SQLAlchemyError, OSError) as error:
            log.warning("not_verified", file=file.distribution.file_name, error=str(error)[:500])
            detail = "The object store or the database cannot be read right now; try again in a few seconds."
            raise _unavailable(detail) from error
        if found.state != state:
            raise _unavailable("The index is being published right now; try again in a few seconds.")
        self._keep(key, found)
        return found

    async def _still(self, file: File, kept: Examined) -> bool:
        """Return whether what was found may be told again: soon after, in time, and of objects that did not change."""
        until = kept.looked.until
        if time.monotonic() - kept.at > self._seconds or (until is not None and until <= self._resources.clock.now()):
            return False
        store = self._resources.objects.side(public=file.index.public)
        infos = await asyncio.gather(*(store.head(found.info.key) for found in kept.looked.objects))
        return all(
            info is not None and marks(info) == marks(found.info)
            for info, found in zip(infos, kept.looked.objects, strict=True)
        )

    async def _run(self, file: File, state: State) -> Examined:
        self._waiting += 1
        try:
            async with self._places, asyncio.timeout(self._limits.verify_seconds):
                run = Run(
                    resources=self._resources,
                    judging=self._judging,
                    hashes=self._hashes,
                    file=file,
                    head=state.head,
                    rows=state.rows,
                    now=self._resources.clock.now(),
                )
                return Examined(state, await run.look(), time.monotonic())
        except TimeoutError as error:
            words = f"{file.distribution.file_name} could not be verified in {self._limits.verify_seconds:g} seconds."
            raise _unavailable(words) from error
        finally:
            self._waiting -= 1

    def _keep(self, key: Hashable, found: Examined) -> None:
        self._kept[key] = found
        self._kept.move_to_end(key)
        if len(self._kept) > _REMEMBERED:
            self._kept.popitem(last=False)


def _unavailable(detail: str) -> ServiceError:
    return ServiceError(ErrorKind.UNAVAILABLE, detail, retry_after=_RETRY_AFTER)
