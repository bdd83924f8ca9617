"""Parses a request to the download service and answers it.

A plain ASGI callable; `shared.reading.answers` says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

import structlog
from starlette.types import Receive, Scope, Send

from services.download.counting import Downloads
from services.download.entries import Entry
from services.download.provenance import address_in_tree
from services.download.reader import Reader
from services.download.rules import Extent, Span, attested_at, extent, wanted_at
from services.download.settings import Limits
from services.download.usecases import BrokenOff, ahead, checked, open_file, presigned
from services.download.uses import Uses
from services.download.verification.guarding import Guard
from shared.errors import ErrorKind, ServiceError
from shared.faces import parse_face, service_for
from shared.fetching.fetching import Fetching
from shared.objects.interface import ByteRange
from shared.problems import problem_answer
from shared.reading.access import Access, Place
from shared.reading.answers import CORS, NO_STORE, NOSNIFF, other_method, send_prepared, with_headers
from shared.reading.headers import Asked, asked_by, http_date, not_modified
from shared.resources import Resources
from shared.service import Prepared

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Reading:
    """What the hot reader and the routes share: the files in memory, the counts of downloads, mirrors' bytes and when
    they were used, and what keeps files back that do not verify."""

    reader: Reader
    downloads: Downloads
    fetching: Fetching
    uses: Uses
    guard: Guard


class DownloadRoutes:
    """The routes `+f/`, `+tuf/files/` and `+tuf/attestations/` of every index, and their aliases for the
    default index."""

    def __init__(self, resources: Resources, limits: Limits, access: Access, reading: Reading) -> None:
        self._resources = resources
        self._limits = limits
        self._access = access
        self._reader = reading.reader
        self._downloads = reading.downloads
        self._fetching = reading.fetching
        self._uses = reading.uses
        self._guard = reading.guard
        self._redirect = resources.settings.downloads.redirect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        if scope["method"] not in ("GET", "HEAD"):
            await other_method(scope["method"])(scope, receive, send)
            return
        asked, head = asked_by(scope["headers"]), scope["method"] == "HEAD"
        try:
            where, entry = await self._entry(scope["path"], asked)
            if not_modified(asked, entry.etag, entry.modified):
                await send_prepared(send, entry.not_modified, head=head)
            elif head:
                # Never sent elsewhere: a URL of the store is signed for one method, and there are no bytes to save.
                await send_prepared(send, entry.full, head=True)
            else:
                await self._get(where, entry, asked, receive, send)
        except ServiceError as error:
            # Problem documents for all: a held file is to be told with its reason (architecture section 11.5).
            answer = with_headers(problem_answer(error), [NO_STORE, NOSNIFF, *CORS])
            await answer(scope, receive, send)

    async def _get(self, where: Place, entry: Entry, asked: Asked, receive: Receive, send: Send) -> None:
        """Send a file, or the part of it that is asked for.

        Raises:
            ServiceError: the file cannot be opened; nothing was sent.
            BrokenOff: it cannot be finished.
        """
        part: Span | Extent = Extent.WHOLE
        if asked.range is not None:
            part = extent(asked, entry.etag, http_date(entry.modified), entry.length)
        if entry.body is None and self._redirect and (entry.source is None or await self._fetching.ready(entry.source)):
            url = await presigned(self._resources, entry, open_=where.open)
            if url is not None:
                # Also for a part: the client asks the store for it, and goes on by the store's entity tag.
                self._count(entry, part)
                await send_prepared(send, entry.elsewhere(url), head=False)
                return
        if part is Extent.NOTHING:
            await send_prepared(send, entry.out_of_range(), head=False)
        elif entry.body is not None:
            self._count(entry, part)
            await send_prepared(send, _from_memory(entry, part), head=False)
        else:
            await self._stream(entry, part, receive, send)

    def _count(self, entry: Entry, part: Span | Extent) -> None:
        """Count a download when its first byte is sent: what is resumed later on is the same download."""
        if entry.source is not None:
            self._uses.note(entry.source.key)
        begins = part.start == 0 if isinstance(part, Span) else part is Extent.WHOLE
        if begins and entry.counted is not None:
            self._downloads.count(entry.counted)

    async def _entry(self, path: str, asked: Asked) -> tuple[Place, Entry]:
        """Find the file; the right to read is checked before anything is said about what exists in the index.

        Raises:
            ServiceError: what the client is told instead.
        """
        face = parse_face(path)
        if face is None or service_for(face) != "download":
            raise ServiceError(ErrorKind.NOT_FOUND, "There is nothing at this address.")
        where = await self._access.enter(face, asked.authorization)
        named = attested_at(face)
        wanted = wanted_at(face) if named is None else await address_in_tree(self._resources, where, named)
        if wanted is None:
            raise ServiceError(ErrorKind.NOT_FOUND, f"There is nothing at this address of index {where.record.name}.")
        entry = await self._reader.entry(where, wanted)
        await self._guard.admit(where, entry)
        return where, entry

    async def _stream(self, entry: Entry, part: Span | Extent, receive: Receive, send: Send) -> None:
        """Stream a file, or a span of it, from the store.

        Raises:
            ServiceError: the file cannot be opened; nothing was sent.
            BrokenOff: it cannot be finished; what was sent is not all, and the connection is to be closed.
        """
        span, started = part if isinstance(part, Span) else None, False
        gone = asyncio.ensure_future(_until_gone(receive))
        try:
            async with self._opened(entry, span) as chunks:
                status, headers = (200, entry.full.headers) if span is None else (206, entry.part(span))
                await send({"type": "http.response.start", "status": status, "headers": headers})
                started = True
                self._count(entry, part)
                async with aclosing(chunks):
                    await self._send_all(chunks, gone, send)
        except (ServiceError, TimeoutError) as error:
            if not started:
                raise
            raise BrokenOff(f"{entry.key} could not be sent to its end") from error
        finally:
            gone.cancel()

    @asynccontextmanager
    async def _opened(self, entry: Entry, span: Span | None) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """Open a file or a span of it, where it lies or as it arrives.

        Raises:
            ServiceError: it cannot be opened.
            BrokenOff: from the chunks; the bytes are not the right ones.
        """
        if entry.source is None:
            async with open_file(self._resources, entry, span) as opened:
                yield checked(entry, opened.chunks) if span is None else ahead(opened.chunks)
            return
        part = None if span is None else ByteRange(span.start, span.stop)
        async with self._fetching.open(entry.source, entry.length, part) as fetched:
            try:
                whole = span is None and not fetched.checked
                yield checked(entry, fetched.chunks) if whole else ahead(fetched.chunks)
            except BrokenOff:
                await self._fetching.forget(entry.source.key)
                raise

    async def _send_all(self, chunks: AsyncIterator[bytes], gone: asyncio.Future[None], send: Send) -> None:
        """Send chunks until the last or until the client is gone; the store's body is closed by the caller either way.

        Raises:
            TimeoutError: the client did not take a chunk in time.
        """
        async for chunk in chunks:
            async with asyncio.timeout(self._limits.stall_seconds):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if gone.done():
                log.info("client_gone")
                return
        await send({"type": "http.response.body", "body": b""})


def _from_memory(entry: Entry, part: Span | Extent) -> Prepared:
    if isinstance(part, Span):
        assert entry.body is not None
        return Prepared(206, entry.part(part), entry.body[part.start : part.stop])
    return entry.full


async def _until_gone(receive: Receive) -> None:
    """Return when the client has closed the connection; a body of a GET is read and ignored."""
    while (await receive())["type"] != "http.disconnect":
        pass
