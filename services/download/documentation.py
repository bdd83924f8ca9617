"""Finds a page of uploaded documentation and reads it straight from the stored zip, which is never unpacked.

What a path means is looked up in the catalogue and kept for `staleness`; the central directories of zips are kept by
their digest, in bounded memory. A zip that cannot be read counts as no documentation.

Source: contract devpi section 13; architecture sections 9 and 10; ADR 0025.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog

from countermark.core.digest import Sha256
from services.download.doc_rules import DocWanted, Elsewhere, Which, member_path
from shared.catalogue import attachments
from shared.catalogue.attachments import Attached
from shared.errors import ErrorKind, ServiceError
from shared.formats.python.versions import is_stable, version_order
from shared.formats.zip_directory import (
    TAIL_BYTES,
    Directory,
    Member,
    Unpacker,
    UnreadableZip,
    find_directory,
    read_directory,
)
from shared.objects.interface import ByteRange, Key, ObjectNotFound, ObjectStore, ObjectStoreError
from shared.objects.keys import file_key
from shared.reading.access import Place
from shared.reading.loading import LOAD_TIMEOUT, RETRY_AFTER, unavailable
from shared.reading.shelf import Shelf
from shared.resources import Resources

log = structlog.get_logger()

MAX_CANDIDATES = 10
"""Versions whose documentation is tried for `latest` and `stable`: those whose zip cannot be read do not count."""

DIRECTORIES_BYTES = 32 << 20
"""Memory for central directories; the largest that is taken needs 20 MB."""

_ANSWERS_BYTES = 2 << 20
_PER_CANDIDATE = 1000
_AT_ONCE = 64 * 1024
"""Bytes that are unpacked on the event loop (about 0.3 ms); longer members are unpacked in threads."""


@dataclass(slots=True, eq=False)
class _Candidates:
    """The documentation that a path may mean, the newest version first; `until` is in monotonic seconds."""

    docs: tuple[Attached, ...]
    until: float
    size: int = field(init=False)
    groups: tuple[Hashable, ...] = ()
    lags: None = None

    def __post_init__(self) -> None:
        """Account for what is held, roughly."""
        self.size = _PER_CANDIDATE * (1 + len(self.docs))


OPENED_AT_ONCE = 2
"""Zips whose directories are read at the same time: one may be 8 MB, and take 20 MB when it is read."""


@dataclass(slots=True, eq=False)
class _Opened:
    """What is known of a zip: its directory, None when it cannot be read."""

    directory: Directory | None
    size: int = field(init=False)
    groups: tuple[Hashable, ...] = ()
    lags: None = None

    def __post_init__(self) -> None:
        """Account for what is held, roughly."""
        self.size = _PER_CANDIDATE + (0 if self.directory is None else self.directory.weight)


@dataclass(frozen=True, slots=True)
class Page:
    """A file of documentation: the member `path` of the zip under `key`."""

    sha256: Sha256
    key: Key
    public: bool
    path: str
    member: Member


class Documentation:
    """The use cases of reading documentation."""

    def __init__(self, resources: Resources, memory: int = DIRECTORIES_BYTES) -> None:
        """Args: memory: bytes of central directories kept at the most."""
        self._resources = resources
        self._candidates: Shelf[Hashable, _Candidates] = Shelf(_ANSWERS_BYTES)
        self._directories: Shelf[Hashable, _Opened] = Shelf(memory)
        self._opening = asyncio.Semaphore(OPENED_AT_ONCE)

    @property
    def kept_bytes(self) -> int:
        """Bytes of central directories in memory, roughly."""
        return self._directories.size

    async def find(self, place: Place, wanted: DocWanted) -> Page | Elsewhere:
        """Return the page that a path means.

        Raises:
            ServiceError: NOT_FOUND; FORBIDDEN, its project is held; UNAVAILABLE, the store cannot be read.
        """
        public = place.record.public
        for doc in await self._docs(place, wanted):
            if doc.held_reason is not None:
                reason = f": {doc.held_reason}" if doc.held_reason else ""
                raise ServiceError(ErrorKind.FORBIDDEN, f"{doc.file_name} is held for review{reason}")
            key = (public, doc.sha256, doc.file_name)
            opened = await self._directories.fetch(key, partial(self._opened, doc, public=public))
            if opened.directory is None:
                continue
            found = member_path(wanted, opened.directory)
            if isinstance(found, Elsewhere):
                return found
            member = opened.directory.member(found)
            assert member is not None
            return Page(doc.sha256, file_key(doc.sha256, doc.file_name), public, found, member)
        raise wanted.missing()

    async def content(self, page: Page) -> AsyncGenerator[bytes, None]:
        """Yield a page's bytes, at most 256 KiB at a time; the last ones only when its checksum is right.

        Raises:
            UnreadableZip: the archive is damaged there.
            ServiceError: UNAVAILABLE; the store failed.
        """
        member, unpacker = page.member, Unpacker(page.member)
        store = self._resources.objects.side(public=page.public)
        async with aclosing(_range(store, page.key, member.start, member.stop)) as chunks:
            async for chunk in chunks:
                pieces = unpacker.pieces(chunk)
                while (piece := await _step(member, next, pieces, None)) is not None:
                    yield piece
                if unpacker.fed:
                    break
        unpacker.finish()

    async def _docs(self, place: Place, wanted: DocWanted) -> tuple[Attached, ...]:
        record = place.record
        key = (record.id, record.life, wanted.project, wanted.version)
        found = self._candidates.get(key)
        if found is not None and found.until <= time.monotonic():
            self._candidates.drop_kept(key)
        return (await self._candidates.fetch(key, lambda: self._look(place, wanted))).docs

    async def _look(self, place: Place, wanted: DocWanted) -> _Candidates:
        begun, record = time.monotonic(), place.record
        async with self._resources.engine.connect() as connection:
            docs = await attachments.docs_of_project(connection, record.id, record.life, wanted.project, wanted.named)
        if wanted.version is Which.STABLE:
            docs = [doc for doc in docs if is_stable(doc.version)]
        docs.sort(key=lambda doc: version_order(doc.version), reverse=True)
        return _Candidates(tuple(docs[:MAX_CANDIDATES]), begun + self._resources.settings.staleness)

    async def _opened(self, doc: Attached, *, public: bool) -> _Opened:
        """Read the directory of a zip when there is a turn: each may take megabytes until it is read.

        Raises:
            ServiceError: UNAVAILABLE.
        """
        async with self._opening:
            return await self._open(doc, public=public)

    async def _open(self, doc: Attached, *, public: bool) -> _Opened:
        """Read the directory of a zip.

        Raises:
            ServiceError: UNAVAILABLE.
        """
        store, key = self._resources.objects.side(public=public), file_key(doc.sha256, doc.file_name)
        try:
            begins = max(0, doc.length - TAIL_BYTES)
            tail = await _whole(store, key, begins, doc.length)
            place = find_directory(tail, doc.length)
            if place.start >= begins:
                raw = tail[place.start - begins : place.stop - begins]
            else:
                raw = await _whole(store, key, place.start, place.stop)
            return _Opened(await asyncio.to_thread(read_directory, raw, place))
        except UnreadableZip as error:
            log.warning("documentation_unreadable", key=key, error=str(error))
            return _Opened(None)


async def _whole(store: ObjectStore, key: Key, start: int, stop: int) -> bytes:
    if start >= stop:
        raise UnreadableZip("there is nothing in it")
    async with aclosing(_range(store, key, start, stop)) as chunks:
        read = b"".join([chunk async for chunk in chunks])
    if len(read) != stop - start:
        raise unavailable("stored_object_corrupt", key, "a stored object is damaged")
    return read


async def _range(store: ObjectStore, key: Key, start: int, stop: int) -> AsyncGenerator[bytes, None]:
    """Yield bytes of a stored object.

    Raises:
        ServiceError: UNAVAILABLE; the store failed, or took too long for a chunk, or has nothing.
    """
    try:
        async with store.open(key, ByteRange(start, stop)) as opened:
            chunks = aiter(opened.chunks)
            while True:
                async with asyncio.timeout(LOAD_TIMEOUT):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    return
                yield chunk
    except ObjectNotFound as error:
        raise unavailable("stored_object_missing", key, "a stored object is missing") from error
    except (ObjectStoreError, TimeoutError) as error:
        log.warning("store_failed", key=key, error=str(error)[:500] or "timed out")
        detail = "The object store cannot be read right now; try again in a few seconds."
        raise ServiceError(ErrorKind.UNAVAILABLE, detail, retry_after=RETRY_AFTER) from error


async def _step(member: Member, do: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function, in a thread when it may take long."""
    return do(*arguments) if member.length <= _AT_ONCE else await asyncio.to_thread(do, *arguments)
