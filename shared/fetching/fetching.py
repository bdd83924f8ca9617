"""Brings bytes of upstreams into the object store, and lets readers follow them on their way.

One process fetches, elected by a row of `fetch`; the readers of that process get what has arrived so far, other
processes wait for the stored object. What takes them too long they fetch for themselves: no build is to fail because
another replica has a slow line. Nothing is stored before its digest and length are known to be right.
Source: architecture section 11.6; contract python-index section 5.1; ADR 0028.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import structlog

from countermark.core.digest import Length, Sha256
from shared.catalogue import fetches, mirror_faults, mirror_files
from shared.catalogue.engine import CATALOGUE_AWAY, one_by_one
from shared.catalogue.fetches import Looking, Turn
from shared.catalogue.mirror_files import Kept
from shared.catalogue.mirror_pages import MirrorId
from shared.errors import ErrorKind, ServiceError
from shared.fetching.flight import SMALL, Flight
from shared.fetching.keeping import Keeping
from shared.fetching.receiving import LATER, FetchLimits, Receiver
from shared.fetching.wanted import Wanted
from shared.ids import IndexId
from shared.objects.interface import ByteRange, Key, ObjectNotFound, ObjectStoreError, Put
from shared.reading.loading import load_checked
from shared.resources import Resources
from shared.turnstile import Turnstile

log = structlog.get_logger()

_LOOK_AGAIN = 0.5
"""Seconds after which a process that waits for another one looks into the store, though it was not told."""

_HELD, _HELD_EACH = 24 << 10, 3
"""Bytes that a small file takes until it is noted, and as many more for each of its own: they arrived, were read, are
stored."""

_FAILURES_KEPT = 10_000
_SEEN_KEPT = 10_000
_SOON = timedelta(seconds=2)
"""How long what failed is not tried again where it may have been the line."""

_WITHDRAWN_SHORTLY, _WITHDRAWN = timedelta(minutes=2), timedelta(hours=1)
"""How long core metadata is not announced that could not be had: where it may be the line, and where it is wrong."""

_LONGEST_RETRY = timedelta(minutes=10)
"""How long an upstream may ask to be left alone with a file."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Bytes being read; `checked` when they are known to be right by whoever sends them."""

    chunks: AsyncIterator[bytes]
    checked: bool


class Fetching:
    """Bytes of upstreams, for one process."""

    def __init__(self, resources: Resources, limits: FetchLimits | None = None) -> None:
        self._resources = resources
        self._limits = limits or FetchLimits()
        self._store = resources.objects.side(public=False)
        self._folder = resources.settings.data / "staging"
        self._waiting = fetches.Waiting(resources.listener)
        self._keeping = Keeping(resources.engine, self._store, resources.clock)
        self._receiver = Receiver(resources, self._limits)
        self._places = asyncio.Semaphore(self._limits.at_once)
        # One mirror's upstream that drips takes no more than half of them.
        most = max(1, self._limits.at_once // 2)
        self._of_mirror = defaultdict[IndexId, asyncio.Semaphore](lambda: asyncio.Semaphore(most))
        self._flights: dict[Key, Flight] = {}
        self._followers = Turnstile()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: dict[Key, tuple[float, ServiceError]] = {}
        self._seen: set[Key] = set()
        """What lay in the store once: it is looked for there first."""
        self.most = resources.settings.uploads.max_file_bytes
        """Bytes of a file whose length no page says."""
        self.stored_bytes = 0
        """Bytes that this process put into the store so far."""

    async def ready(self, wanted: Wanted) -> bool:
        """Return whether something lies in the store, and stays there for a while."""
        return await self._keeping.lying(wanted) is not None

    async def whole(self, wanted: Wanted, *, wait: float | None = None) -> Kept:
        """Have something in the store, and return what it is.

        Args:
            wait: seconds; None for as long as clients wait.

        Raises:
            ServiceError: NOT_FOUND, UPSTREAM or UNAVAILABLE.
        """
        if (flight := self._flights.get(wanted.key)) is None:
            if self._failed(wanted.key) and (kept := await self._keeping.lying(wanted)) is not None:
                return kept
            flight = self._flights.get(wanted.key) or self._start(wanted)
        try:
            async with asyncio.timeout(self._limits.wait if wait is None else wait):
                await flight.over()
        except TimeoutError as error:
            raise _slow(wanted) from error
        return flight.outcome(wanted.file_name)

    async def small(self, wanted: Wanted) -> tuple[Kept, bytes]:
        """Return what something small is, with its bytes: from the store, or as soon as it arrived and is right; it is
        put into the store then.

        Raises:
            ServiceError: NOT_FOUND, UPSTREAM or UNAVAILABLE.
        """
        if (flight := self._flights.get(wanted.key)) is None:
            if self._failed(wanted.key) and (lying := await self._keeping.lying(wanted)) is not None:
                return lying, await self.body(wanted, lying)
            flight = self._flights.get(wanted.key) or self._start(wanted)
        if (arrived := await self._arrived(wanted, flight)) is not None:
            return arrived
        kept = flight.outcome(wanted.file_name)
        return kept, await self.body(wanted, kept)

    async def body(self, wanted: Wanted, kept: Kept) -> bytes:
        """Return the bytes of something small that is kept, or is about to be; damaged ones are fetched again.

        Raises:
            ServiceError: NOT_FOUND, UPSTREAM or UNAVAILABLE.
        """
        flight = self._flights.get(wanted.key)
        if flight is not None and (arrived := await self._arrived(wanted, flight)) is not None:
            return arrived[1]
        try:
            return await load_checked(self._store, wanted.key, kept.sha256, kept.length)
        except ServiceError:
            await self.forget(wanted.key)
        kept = await self.whole(wanted)
        return await load_checked(self._store, wanted.key, kept.sha256, kept.length)

    async def _arrived(self, wanted: Wanted, flight: Flight) -> tuple[Kept, bytes] | None:
        """Return what something small is that is on its way, with its bytes, stored or not; None when it ended without.

        Raises:
            ServiceError: UNAVAILABLE; it takes too long.
        """
        with flight.reading():
            try:
                async with asyncio.timeout(self._limits.wait):
                    await flight.checked()
            except TimeoutError as error:
                raise _slow(wanted) from error
            if not flight.right:
                return None
            kept = Kept(Sha256(flight.sha256()), Length(flight.received))
            return kept, b"".join([chunk async for chunk in flight.chunks(0, kept.length)])

    @asynccontextmanager
    async def open(self, wanted: Wanted, length: Length, span: ByteRange | None = None) -> AsyncIterator[Opened]:
        """Open something, or a span of it: from the store, or as it arrives.

        Raises:
            ServiceError: NOT_FOUND, UPSTREAM or UNAVAILABLE; also from the chunks.
        """
        try:
            async with AsyncExitStack() as stack:
                yield await self._opened(stack, wanted, length, span)
        except ObjectStoreError as error:
            log.warning("store_failed", key=wanted.key, error=str(error)[:500])
            detail = "The object store cannot be read right now; try again in a few seconds."
            raise ServiceError(ErrorKind.UNAVAILABLE, detail) from error

    async def withdraw(self, wanted: Wanted, error: ServiceError) -> None:
        """Have core metadata announced no more that cannot be had; where it may be the line, for a moment only."""
        assert wanted.sha256 is not None, "core metadata is announced with a digest"
        passing = error.kind is ErrorKind.UNAVAILABLE
        until = self._resources.clock.now() + (_WITHDRAWN_SHORTLY if passing else _WITHDRAWN)
        mirror = MirrorId(wanted.mirror.id, wanted.mirror.life)
        async with self._resources.engine.begin() as connection:
            await mirror_faults.withdraw(connection, mirror, wanted.project, wanted.sha256, error.detail, until)

    async def is_withdrawn(self, wanted: Wanted) -> bool:
        """Return whether core metadata is not announced now."""
        mirror, now = MirrorId(wanted.mirror.id, wanted.mirror.life), self._resources.clock.now()
        async with one_by_one(self._resources.engine) as connection:
            found = await mirror_faults.withdrawn(connection, [mirror], wanted.project, now)
        return wanted.sha256 in found.get(mirror.id, {})

    async def forget(self, key: Key) -> None:
        """Drop stored bytes that are not the right ones: they are fetched again, where right ones do not replace them
        just now.
        """
        self._seen.discard(key)
        flight = self._flights.get(key)
        if flight is None or not flight.right:
            await self._keeping.forget(key)

    async def _opened(self, stack: AsyncExitStack, wanted: Wanted, length: Length, span: ByteRange | None) -> Opened:
        """Open what is known to be in the store there, and all else as it arrives.

        The catalogue says whether something is kept, in the question that takes the turn to fetch it. To look into the
        store before that would take as long again, for everybody who waits for the first byte of something new.
        """
        key = wanted.key
        for _ in range(3):
            flight = self._flights.get(key)
            if flight is None:
                if key in self._seen or self._failed(key):
                    chunks = await self._stored(stack, key, length, span)
                    if chunks is not None:
                        self._note_seen(key)
                        return Opened(chunks, checked=False)
                    self._seen.discard(key)
                flight = self._flights.get(key) or self._start(wanted)
            stack.enter_context(flight.reading())
            try:
                async with asyncio.timeout(self._limits.wait):
                    await flight.begun()
            except TimeoutError as error:
                raise _slow(wanted) from error
            # All wake at once: the first is to have its first bytes before the others take their next step.
            await self._followers.passed()
            if flight.released:
                if flight.error is not None and not flight.right:
                    raise flight.error.again()
                start, stop = (0, length) if span is None else (span.start, span.stop or length)
                return Opened(flight.chunks(start, stop), checked=True)
            # It is in the store; or it could not be had, and may be there all the same.
        raise ServiceError(ErrorKind.UNAVAILABLE, f"{wanted.file_name} is fetched and removed again all the time.")

    async def _stored(
        self, stack: AsyncExitStack, key: Key, length: Length, span: ByteRange | None
    ) -> AsyncIterator[bytes] | None:
        """Open what is in the store, None when there is nothing of the right length."""
        async with AsyncExitStack() as opening:
            try:
                opened = await opening.enter_async_context(self._store.open(key, span))
            except ObjectNotFound:
                return None
            if opened.info.length != length:
                log.error("stored_object_corrupt", key=key, length=opened.info.length)
                return None
            stack.push_async_exit(opening.pop_all())
            return opened.chunks
        return None

    def _start(self, wanted: Wanted) -> Flight:
        """Begin to fetch something.

        Raises:
            ServiceError: it failed a moment ago.
        """
        if (error := self._failed(wanted.key)) is not None:
            raise error.again()
        flight = Flight(self._folder)
        self._flights[wanted.key] = flight
        task = asyncio.create_task(self._fly(wanted, flight))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return flight

    def _failed(self, key: Key) -> ServiceError | None:
        """Return how something failed a moment ago, None when it may be tried."""
        until, error = self._failures.get(key, (0.0, None))
        return error if asyncio.get_running_loop().time() < until else None

    async def _fly(self, wanted: Wanted, flight: Flight) -> None:
        error: ServiceError | None = ServiceError(ErrorKind.UNAVAILABLE, f"{wanted.file_name} could not be fetched.")
        try:
            await self._brought(wanted, flight)
            error = None
            self._failures.pop(wanted.key, None)
        except ServiceError as failure:
            error = failure
        except CATALOGUE_AWAY as failure:
            # Also a disk that is full.
            log.error("fetch_failed", key=wanted.key, error=f"{type(failure).__name__}: {failure}"[:500])
        except ObjectStoreError as failure:
            log.error("store_failed", key=wanted.key, error=str(failure)[:500])
        except Exception:
            log.exception("fetch_failed", key=wanted.key)
        finally:
            if error is not None:
                self._note_failure(wanted, error)
            if flight.kept is not None:
                self._note_seen(wanted.key)
            del self._flights[wanted.key]
            flight.end(error)

    async def _brought(self, wanted: Wanted, flight: Flight) -> None:
        """Fetch something, or wait until another process has.

        Raises:
            ServiceError: NOT_FOUND, UPSTREAM or UNAVAILABLE.
            ObjectStoreError: the store cannot be used.
        """
        engine, what = self._resources.engine, fetches.what_object(wanted.key)
        loop = asyncio.get_running_loop()
        until = loop.time() + self._limits.others
        look: Looking | None = mirror_files.unless_kept(wanted.key)
        while True:
            with self._waiting.on(what) as told:
                async with fetches.turn(engine, what, look) as turn:
                    if turn.mine or loop.time() > until:
                        if look is None and (kept := await self._keeping.found(wanted)) is not None:
                            # Who had the turn before has brought it meanwhile.
                            flight.kept = kept
                            return
                        await self._received_or_found(wanted, flight, turn)
                        return
                if turn.found is None or mirror_files.kept_of(turn.found) is None:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK_AGAIN):
                            await told.wait()
            flight.kept = await self._keeping.found(wanted)
            if flight.kept is not None:
                return
            # What is noted and does not lie there is fetched: only the first look keeps from the turn.
            look = None

    async def _received_or_found(self, wanted: Wanted, flight: Flight, turn: Turn) -> None:
        """Fetch something of which nothing is noted; what cannot be had may lie in the store all the same.

        Raises:
            ServiceError: NOT_FOUND, UPSTREAM or UNAVAILABLE; nothing is kept.
            ObjectStoreError: the store cannot be used.
        """
        try:
            await self._received(wanted, flight, turn)
        except ServiceError:
            flight.kept = None if flight.released else await self._keeping.found(wanted)
            if flight.kept is None:
                raise

    async def _received(self, wanted: Wanted, flight: Flight, turn: Turn) -> None:
        """Fetch something and keep it.

        Raises:
            ServiceError: NOT_FOUND, UPSTREAM or UNAVAILABLE; nothing is kept.
            ObjectStoreError: it arrived, and cannot be stored; readers got it all the same.
        """
        async with self._of_mirror[wanted.mirror.id], self._places:
            await self._receiver.receive(wanted, flight)
        flight.release()
        if flight.received > SMALL:
            # It takes the clients longer than it takes to be stored.
            await self._stored_now(wanted, flight, turn, later=True)
            return
        async with self._resources.leisure.put_off(_HELD + _HELD_EACH * flight.received, flight.hurry) as waited:
            await self._stored_now(wanted, flight, turn, later=waited)

    async def _stored_now(self, wanted: Wanted, flight: Flight, turn: Turn, *, later: bool) -> None:
        """Store what arrived, and note it.

        Args:
            later: whether others may go first, unless somebody waits for it by then.
        """
        # What is checked whenever it is read, since it is small, need not outlast a power cut.
        lasting = flight.received > SMALL
        await self._store.put(wanted.key, flight.body, Put.REPLACE, durable=lasting)
        self.stored_bytes += flight.received
        kept = Kept(Sha256(flight.sha256()), Length(flight.received))
        await self._keeping.note(wanted, kept, turn, later=later and not flight.hurry.asked)
        flight.kept = kept

    def _note_seen(self, key: Key) -> None:
        """Remember that something is in the store."""
        if len(self._seen) >= _SEEN_KEPT:
            self._seen.clear()
        self._seen.add(key)

    def _note_failure(self, wanted: Wanted, error: ServiceError) -> None:
        """Remember a failure: a crowd that comes again at once is not to become a crowd at the upstream."""
        pause = LATER if error.kind in (ErrorKind.NOT_FOUND, ErrorKind.UPSTREAM) else _SOON
        pause = max(pause, min(error.retry_after or pause, _LONGEST_RETRY))
        if len(self._failures) >= _FAILURES_KEPT:
            self._failures.clear()
        # Another than was raised: that one knows what arrived.
        self._failures[wanted.key] = (asyncio.get_running_loop().time() + pause.total_seconds(), error.again())


def _slow(wanted: Wanted) -> ServiceError:
    detail = f"{wanted.file_name} is still being fetched from the upstream of {wanted.mirror.name}; try again."
    return ServiceError(ErrorKind.UNAVAILABLE, detail)
