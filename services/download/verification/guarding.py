"""Keeps back files of indexes that verify on read: bytes are served only while the file's whole chain holds.

What held is believed for a minute, while the head is the same and the store says that the object is; then the chain is
gone through again, and the object is hashed again only when it changed. What broke is believed for nothing but what
broke it: it is looked at again at every read, by all readers together. What follows is for `refusing`.
Source: architecture sections 4, 5 and 11.5; ADR 0039; ADR 0044.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError

from countermark.core.filenames import parse_distribution
from countermark.core.names import InvalidName
from services.download.callers import source_of_request
from services.download.entries import Entry, Hosted
from services.download.settings import Limits
from services.download.verification.chain import File
from services.download.verification.hashes import Hashes, marks
from services.download.verification.refusing import Refusals
from services.download.verification.verifying import READ, Examinations, Examined
from shared.auth.directory import IndexRecord
from shared.errors import ErrorKind, ServiceError
from shared.objects.interface import ObjectStoreError
from shared.reading.access import Place
from shared.resources import Resources

_MOST = 50_000
"""Files whose chain is remembered to hold: some 50 MB."""

_RETRY_AFTER = timedelta(seconds=5)


@dataclass(slots=True)
class _Held:
    """A chain that held: under which head, until when (monotonic seconds and the clock), of which object."""

    head: tuple[int, int] | None
    until: float
    examined: Examined

    def vouches(self, entry: Entry, hosted: Hosted) -> bool:
        """Return whether it is for these bytes: a file's, or its core metadata, of the digest that is signed."""
        signed = self.examined.looked.core_metadata if entry.counted is None else hosted.sha256
        return entry.sha256 == signed


class Guard:
    """Admits the files of a process, or refuses them."""

    def __init__(self, resources: Resources, limits: Limits) -> None:
        self._resources = resources
        self._seconds = limits.holds_seconds
        self._examinations = Examinations(resources, limits, Hashes(remember=True), READ, limits.holds_seconds)
        self._refusals = Refusals(resources)
        self._held: OrderedDict[Hashable, _Held] = OrderedDict()
        self._looking: dict[Hashable, asyncio.Task[_Held]] = {}

    def admits_at_once(self, place: Place, entry: Entry) -> bool:
        """Return whether memory alone can tell that bytes in memory may be served. For hot paths."""
        hosted = entry.hosted
        if hosted is None:
            return True
        if self._verifying(place, hosted) is None:
            return not self._lost(place, hosted)
        # The bytes in memory were checked when they came there: the object is not what is served.
        kept = self._kept(hosted)
        return entry.body is not None and kept is not None and kept.vouches(entry, hosted)

    async def admit(self, place: Place, entry: Entry) -> None:
        """Return when a file may be served.

        Raises:
            ServiceError: FORBIDDEN, its chain is broken, and it is held, or the policy does not take it; UNAVAILABLE,
                the index's chain is broken, or nobody can tell now, or the caller waits for too many others.
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
        vouched = kept is not None and kept.vouches(entry, hosted)
        if kept is not None and vouched and (entry.body is not None or await self._unchanged(owner, entry, kept)):
            return
        try:
            kept = await self._looked(owner, hosted)
            if not kept.vouches(entry, hosted):
                raise _unavailable(f"What is known of {hosted.file_name} is out of date; try again in a few seconds.")
        except ServiceError as error:
            if error.kind is ErrorKind.UNAVAILABLE:
                # What memory holds may be of a row that was another: the next to ask reads it anew.
                entry.until = time.monotonic()
            raise

    async def _looked(self, owner: IndexRecord, hosted: Hosted) -> _Held:
        """Go through the chain of a file, once for all who read it now.

        Raises:
            ServiceError: it does not hold, or nobody can tell now.
        """
        key, file = _key(hosted), _file(owner, hosted)
        caller = source_of_request()
        looking = self._looking.get(key)
        if looking is None:
            looking = self._looking[key] = asyncio.create_task(self._examine(file, hosted, caller))

            def done(task: asyncio.Task[_Held]) -> None:
                del self._looking[key]
                if not task.cancelled():
                    task.exception()

            looking.add_done_callback(done)
        else:
            self._examinations.share(file, caller)
        try:
            return await asyncio.shield(looking)
        except ServiceError as error:
            raise error.again() from error

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
        hashed = next((one.info for one in kept.examined.looked.seen if one.key == entry.key), None)
        try:
            info = await self._resources.objects.side(public=owner.public).head(entry.key)
        except ObjectStoreError as error:
            raise _unavailable("The object store cannot be read right now; try again in a few seconds.") from error
        return info is not None and hashed is not None and marks(info) == marks(hashed)

    async def _examine(self, file: File, hosted: Hosted, caller: str) -> _Held:
        """Go through the chain of a file.

        Raises:
            ServiceError: it does not hold, or nobody can tell now.
        """
        head = self._head(hosted)
        try:
            state = await self._examinations.state(file)
        except (SQLAlchemyError, OSError) as error:
            raise _unavailable("The database cannot be read right now; try again in a few seconds.") from error
        if state is None or state.rows.file is None or state.rows.file.facts.sha256 != hosted.sha256:
            raise _unavailable("The index is being published right now; try again in a few seconds.")
        examined = await self._examinations.examine(file, state, caller)
        failure, key = examined.looked.verification.failure, _key(hosted)
        if failure is not None:
            self._held.pop(key, None)
            raise await self._refusals.refuse(key, file.index, hosted, failure)
        self._refusals.forget(key)
        held = self._held[key] = _Held(head, time.monotonic() + self._seconds, examined)
        self._held.move_to_end(key)
        if len(self._held) > _MOST:
            self._held.popitem(last=False)
        return held


def _file(owner: IndexRecord, hosted: Hosted) -> File:
    """Return the file that is verified.

    Raises:
        ServiceError: FORBIDDEN; there is no chain for its name.
    """
    try:
        return File(owner, parse_distribution(hosted.file_name))
    except InvalidName as error:
        words = f"{hosted.file_name} cannot be verified, as {owner.name} demands: its name is no wheel's or sdist's."
        raise ServiceError(ErrorKind.FORBIDDEN, words) from error


def _key(hosted: Hosted) -> Hashable:
    return hosted.owner, hosted.id, hosted.sha256


def _unavailable(detail: str) -> ServiceError:
    return ServiceError(ErrorKind.UNAVAILABLE, detail, retry_after=_RETRY_AFTER)
