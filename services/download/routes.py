"""Parses a request to the download service and answers it.

A plain ASGI callable; `shared.reading.answers` says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import structlog
from starlette.types import Receive, Scope, Send

from services.download.entries import Entry
from services.download.reader import Reader
from services.download.rules import Extent, Span, extent, wanted_at
from services.download.settings import Limits
from services.download.usecases import BrokenOff, ahead, checked, open_file
from shared.errors import ErrorKind, ServiceError
from shared.faces import parse_face, service_for
from shared.problems import problem_answer
from shared.reading.access import Access
from shared.reading.answers import CORS, NO_STORE, NOSNIFF, other_method, send_prepared, with_headers
from shared.reading.headers import Asked, asked_by, http_date, not_modified
from shared.resources import Resources
from shared.service import Prepared

log = structlog.get_logger()


class DownloadRoutes:
    """The routes `+f/` and `+tuf/files/` of every index, and their aliases for the default index."""

    def __init__(self, resources: Resources, limits: Limits, access: Access, reader: Reader) -> None:
        self._resources = resources
        self._limits = limits
        self._access = access
        self._reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        if scope["method"] not in ("GET", "HEAD"):
            await other_method(scope["method"])(scope, receive, send)
            return
        asked, head = asked_by(scope["headers"]), scope["method"] == "HEAD"
        try:
            entry = await self._entry(scope["path"], asked)
            part = Extent.WHOLE if head else extent(asked, entry.etag, http_date(entry.modified), entry.length)
            if not_modified(asked, entry.etag, entry.modified):
                await send_prepared(send, entry.not_modified, head=head)
            elif part is Extent.NOTHING:
                await send_prepared(send, entry.out_of_range(), head=head)
            elif head or entry.body is not None:
                await send_prepared(send, _from_memory(entry, part), head=head)
            else:
                await self._stream(entry, part if isinstance(part, Span) else None, receive, send)
        except ServiceError as error:
            # Problem documents for all: a held file is to be told with its reason (architecture section 11.5).
            answer = with_headers(problem_answer(error), [NO_STORE, NOSNIFF, *CORS])
            await answer(scope, receive, send)

    async def _entry(self, path: str, asked: Asked) -> Entry:
        """Find the file; the right to read is checked before anything is said about what exists in the index.

        Raises:
            ServiceError: what the client is told instead.
        """
        face = parse_face(path)
        if face is None or service_for(face) != "download":
            raise ServiceError(ErrorKind.NOT_FOUND, "There is nothing at this address.")
        where = self._access.place(face)
        await self._access.check(where, asked.authorization)
        wanted = wanted_at(face)
        if wanted is None:
            raise ServiceError(ErrorKind.NOT_FOUND, f"There is nothing at this address of index {where.record.name}.")
        return await self._reader.entry(where, wanted)

    async def _stream(self, entry: Entry, span: Span | None, receive: Receive, send: Send) -> None:
        """Stream a file, or a span of it, from the store.

        Raises:
            ServiceError: the file cannot be opened; nothing was sent.
            BrokenOff: it cannot be finished; what was sent is not all, and the connection is to be closed.
        """
        started = False
        gone = asyncio.ensure_future(_until_gone(receive))
        try:
            async with open_file(self._resources, entry, span) as opened:
                status, headers = (200, entry.full.headers) if span is None else (206, entry.part(span))
                await send({"type": "http.response.start", "status": status, "headers": headers})
                started = True
                async with aclosing(checked(entry, opened) if span is None else ahead(opened.chunks)) as chunks:
                    await self._send_all(chunks, gone, send)
        except (ServiceError, TimeoutError) as error:
            if not started:
                raise
            raise BrokenOff(f"{entry.key} could not be sent to its end") from error
        finally:
            gone.cancel()

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
