"""Keeps back files of indexes that verify on read: bytes are served only while the file's whole chain holds.

What held is believed for a minute, while the head is the same and the store says that the object is; then the chain is
gone through again, and the object is hashed again only when it changed. A file that fails is refused at once, by every
process that reads it, and the upload service is asked to hold it: so it leaves the pages as well. What fails for no
fault of one file (metadata that expired, a store that is away) holds nothing: all of the index is 503 then.
Source: architecture sections 4, 5 and 11.5; ADR 0039.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from countermark.core.filenames import parse_distribution
from countermark.core.names import InvalidName
from services.download.entries import Entry, Hosted
from services.download.settings import Limits
from services.download.verification.chain import File
from services.download.verification.hashes import Hashes, marks
from services.download.verification.steps import (
    CATALOGUE,
    NOTHING,
    POLICY,
    ROOT,
    SNAPSHOT,
    TARGET,
    TIMESTAMP,
    UNREADABLE,
    Step,
)
from services.download.verification.verifying import Examinations, Examined
from shared.auth.directory import IndexRecord
from shared.catalogue import audit
from shared.catalogue.tables import Outbox
from shared.catalogue.unit_of_work import UnitOfWork
from shared.errors import ErrorKind, ServiceError
from shared.jobs.messages import HoldFile
from shared.objects.interface import ObjectStoreError
from shared.reading.access import Place
from shared.resources import Resources

log = structlog.get_logger()

_MOST = 50_000
"""Files whose chain is remembered to hold: some 50 MB."""

_REFUSED_SECONDS = 5.0
"""For which a refusal is repeated without another look."""

_RETRY_AFTER = timedelta(seconds=5)
_OF_THE_INDEX = (ROOT, TIMESTAMP, SNAPSHOT)
_OTHER_METADATA = 23
_NO_TARGET = 11


@dataclass(slots=True)
class _Held:
    """A chain that held: under which head, until when (monotonic seconds and the clock), of which object."""

    head: tuple[int, int] | None
    until: float
    examined: Examined


@dataclass(slots=True)
class _Refused:
    error: ServiceError
    until: float


class Guard:
    """Admits the files of a process, or refuses them."""

    def __init__(self, resources: Resources, limits: Limits) -> None:
        self._resources = resources
        self._seconds = limits.holds_seconds
        self._examinations = Examinations(resources, limits, Hashes(remember=True), limits.holds_seconds)
        self._held: OrderedDict[Hashable, _Held] = OrderedDict()
        self._refused: OrderedDict[Hashable, _Refused] = OrderedDict()

    def admits_at_once(self, place: Place, entry: Entry) -> bool:
        """Return whether memory alone can tell that bytes in memory may be served. For hot paths."""
        hosted = entry.hosted
        if hosted is None:
            return True
        if self._verifying(place, hosted) is None:
            return not self._lost(place, hosted)
        # The bytes in memory were checked when they came there: the object is not what is served.
        return entry.body is not None and self._kept(hosted) is not None

    async def admit(self, place: Place, entry: Entry) -> None:
        """Return when a file may be served.

        Raises:
            ServiceError: FORBIDDEN, its chain is broken, and it is held; UNAVAILABLE, the index's is, or nobody can
                tell now.
        """
        hosted = entry.hosted
        if hosted is None:
            return
        owner = self._verifying(place, hosted)
        if owner is None:
            if self._lost(place, hosted):
                raise _unavailable(f"The index that {hosted.file_name} belongs to is no more; try again in a moment.")
            return
        kept = self._kept(hosted)
        if kept is not None and (entry.body is not None or await self._unchanged(owner, entry, kept)):
            return
        refused = self._refused.get(_key(hosted))
        if refused is not None and refused.until > time.monotonic():
            raise refused.error.again()
        await self._examine(owner, hosted)

    def _verifying(self, place: Place, hosted: Hosted) -> IndexRecord | None:
        """Return the index that a file is verified in, None where nobody asks for that."""
        owner = self._resources.directory.index_by_id(hosted.owner)
        if owner is None or not (owner.verify_on_read or place.record.verify_on_read):
            return None
        return owner

    def _lost(self, place: Place, hosted: Hosted) -> bool:
        """Return whether a file is to be verified and memory knows the index no more that it belongs to."""
        return place.record.verify_on_read and self._resources.directory.index_by_id(hosted.owner) is None

    def _kept(self, hosted: Hosted) -> _Held | None:
        """Return that a chain held a moment ago, if nothing in memory says otherwise."""
        kept = self._held.get(_key(hosted))
        if kept is None or kept.until <= time.monotonic() or kept.head != self._head(hosted):
            return None
        until = kept.examined.looked.until
        return kept if until is not None and until > self._resources.clock.now() else None

    def _head(self, hosted: Hosted) -> tuple[int, int] | None:
        head = self._resources.heads.get(hosted.owner)
        return None if head is None else (head.serial, head.timestamp_version)

    async def _unchanged(self, owner: IndexRecord, entry: Entry, kept: _Held) -> bool:
        """Return whether the store says that the object is the one that was hashed.

        Raises:
            ServiceError: UNAVAILABLE.
        """
        hashed = next((one.info for one in kept.examined.looked.objects if one.info.key == entry.key), None)
        if hashed is None:
            # Core metadata: not signed by themselves; they are checked by the catalogue's digest when they are read.
            return True
        try:
            info = await self._resources.objects.side(public=owner.public).head(entry.key)
        except ObjectStoreError as error:
            raise _unavailable("The object store cannot be read right now; try again in a few seconds.") from error
        return info is not None and marks(info) == marks(hashed)

    async def _examine(self, owner: IndexRecord, hosted: Hosted) -> None:
        """Go through the chain of a file.

        Raises:
            ServiceError: it does not hold, or nobody can tell now.
        """
        head = self._head(hosted)
        try:
            file = File(owner, parse_distribution(hosted.file_name))
        except InvalidName as error:
            words = (
                f"{hosted.file_name} cannot be verified, as {owner.name} demands: its name is no wheel's or sdist's."
            )
            raise ServiceError(ErrorKind.FORBIDDEN, words) from error
        try:
            state = await self._examinations.state(file)
        except (SQLAlchemyError, OSError) as error:
            raise _unavailable("The database cannot be read right now; try again in a few seconds.") from error
        if state is None or state.rows.file is None or state.rows.file.facts.sha256 != hosted.sha256:
            raise _unavailable("The index is being published right now; try again in a few seconds.")
        examined = await self._examinations.examine(file, state)
        failure = examined.looked.verification.failure
        if failure is not None:
            raise await self._refuse(owner, hosted, failure)
        self._held[_key(hosted)] = _Held(head, time.monotonic() + self._seconds, examined)
        self._held.move_to_end(_key(hosted))
        if len(self._held) > _MOST:
            self._held.popitem(last=False)

    async def _refuse(self, owner: IndexRecord, hosted: Hosted, failure: Step) -> ServiceError:
        """Return what is told of a file whose chain is broken; an alarm, and a hold where it is the file's own."""
        self._held.pop(_key(hosted), None)
        self._resources.metrics.refused_read(failure.name)
        facts = {"step": failure.name, "exit_code": str(failure.code)}
        why = f"verification on read failed at step {failure.number}, {failure.name}: {failure.reason}"
        why = why.encode("ascii", "replace").decode()[:400]
        holds = of_the_file(failure)
        log.error("read_refused", index=str(owner.name), file=hosted.file_name, holds=holds, reason=why, **facts)
        if holds:
            await self._ask_to_hold(owner, hosted, failure, why)
            error = ServiceError(ErrorKind.FORBIDDEN, f"{hosted.file_name} is held for review: {why}", facts=facts)
        else:
            words = f"{hosted.file_name} cannot be served: {why}. The operator sees it in the log; nothing was sent."
            error = ServiceError(ErrorKind.UNAVAILABLE, words, retry_after=_RETRY_AFTER, facts=facts)
        self._refused[_key(hosted)] = _Refused(error, time.monotonic() + _REFUSED_SECONDS)
        if len(self._refused) > _MOST:
            self._refused.popitem(last=False)
        return error.again()

    async def _ask_to_hold(self, owner: IndexRecord, hosted: Hosted, failure: Step, why: str) -> None:
        """Ask the upload service to hold a file, once; a catalogue that is away is asked at the next read."""
        asked: dict[str, Any] = {"file": hosted.file_name, "reason": why, "step": failure.name, "code": failure.code}
        waiting = select(Outbox.id).where(
            Outbox.index_id == owner.id,
            Outbox.kind == HoldFile.kind,
            Outbox.ids["file_id"].astext == str(hosted.id),
            Outbox.done_at.is_(None),
            Outbox.dead_at.is_(None),
        )
        try:
            async with UnitOfWork(self._resources.engine) as work:
                if await work.connection.scalar(waiting.limit(1)) is not None:
                    return
                audit_id = await audit.record(
                    work.connection,
                    at=self._resources.clock.now(),
                    actor="download",
                    action="file.unverified",
                    subject=f"{owner.name}/{hosted.file_name}",
                    **asked,
                )
                await work.enqueue(HoldFile(owner.id, hosted.id, audit_id))
                await work.commit()
        except (SQLAlchemyError, OSError) as error:
            log.error("hold_not_asked", file=hosted.file_name, error=str(error)[:500])


def of_the_file(failure: Step) -> bool:
    """Return whether a broken link is the fault of one file, and not of its index, of the policy's bytes or of one that
    cannot be read, or of a store that lacks something. Pure."""
    if failure.name in _OF_THE_INDEX:
        return False
    if failure.name == TARGET:
        return failure.code == _NO_TARGET
    if failure.name == POLICY and (failure.code == _OTHER_METADATA or failure.evidence.get("policy") == UNREADABLE):
        return False
    return failure.name == CATALOGUE or failure.code != NOTHING


def _key(hosted: Hosted) -> Hashable:
    return hosted.owner, hosted.id, hosted.sha256


def _unavailable(detail: str) -> ServiceError:
    return ServiceError(ErrorKind.UNAVAILABLE, detail, retry_after=_RETRY_AFTER)
