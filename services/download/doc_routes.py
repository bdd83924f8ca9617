"""Answers `+doc/` and `+d/` of every index; what is no documentation is passed on.

Pages of documentation are other people's programs on the host of the API: every answer below `+doc` is sandboxed, no
cookie is read or set, nothing is cached longer than a minute.

Source: contract devpi sections 7 and 13; ADR 0025.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing

import structlog
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from services.download import doc_rules
from services.download.doc_rules import HEAD_BYTES, STRICT, Elsewhere, equipped
from services.download.documentation import Documentation, Page
from services.download.settings import Limits
from services.download.usecases import BrokenOff
from shared.devpi import devpi_error, wants_json
from shared.errors import ErrorKind, ServiceError
from shared.faces import Face, FaceKind, parse_face
from shared.formats.zip_directory import UnreadableZip
from shared.problems import text_answer
from shared.reading.access import Access, Place
from shared.reading.answers import NO_STORE, Headers, send_prepared, with_headers
from shared.reading.headers import asked_by, not_modified
from shared.service import Prepared

log = structlog.get_logger()

_MARK = "/+d"
"""What every path of documentation holds."""

_READS = ("GET", "HEAD")


class DocRoutes:
    """The routes of documentation, in front of the others of the service."""

    def __init__(self, documentation: Documentation, limits: Limits, access: Access, others: ASGIApp) -> None:
        self._documentation = documentation
        self._limits = limits
        self._access = access
        self._others = others

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request, or pass it on."""
        face = parse_face(scope["path"]) if scope["type"] == "http" and _MARK in scope["path"] else None
        if face is None or face.kind is not FaceKind.DOC:
            return self._others(scope, receive, send)
        return self._own(face, scope, receive, send)

    async def _own(self, face: Face, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in _READS:
            # Also OPTIONS: no page of another origin may send more than plain reads.
            words = "Documentation can only be read.\n"
            refused = PlainTextResponse(words, 405, headers={"allow": ", ".join(_READS)})
            await with_headers(refused, [NO_STORE, *STRICT])(scope, receive, send)
            return
        try:
            await self._answer(scope, face, send)
        except ServiceError as error:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            answer = devpi_error(error) if wants_json(headers) else text_answer(error)
            await with_headers(answer, STRICT if wants_json(headers) else [NO_STORE, *STRICT])(scope, receive, send)

    async def _answer(self, scope: Scope, face: Face, send: Send) -> None:
        """Answer a GET or HEAD.

        Raises:
            ServiceError: nothing was sent.
            BrokenOff: the page cannot be finished.
        """
        asked, head = asked_by(scope["headers"]), scope["method"] == "HEAD"
        place = await self._access.enter(face, asked.authorization)
        wanted = doc_rules.wanted_at(scope["path"], scope["query_string"])
        found = wanted if isinstance(wanted, Elsewhere) else await self._documentation.find(place, wanted)
        if isinstance(found, Elsewhere):
            location = found.location.encode("latin-1")
            headers = [(b"location", location), (b"content-length", b"0"), NO_STORE, *STRICT]
            await send_prepared(send, Prepared(302, headers, b""), head=head)
            return
        etag = doc_rules.etag_of(found.sha256)
        kept = doc_rules.kept_headers(etag, open_=place.open)
        if not_modified(asked, etag, None):
            await send_prepared(send, Prepared(304, kept, b""), head=head)
            return
        await self._send(place, found, kept, send, head=head)

    async def _send(self, place: Place, page: Page, kept: Headers, send: Send, *, head: bool) -> None:
        """Send a page or another file.

        Raises:
            ServiceError: it cannot be read; nothing was sent.
            BrokenOff: it cannot be finished.
        """
        kind, length = doc_rules.media_type(page.path), page.member.length
        if head and not kind.page:
            headers = doc_rules.described(kind, length, kept, open_=place.open)
            await send_prepared(send, Prepared(200, headers, b""), head=True)
            return
        whole = length <= self._limits.small
        async with aclosing(self._documentation.content(page)) as content:
            beginning = await _beginning(page, content, length if whole else HEAD_BYTES)
            body = equipped(beginning) if kind.page else beginning
            headers = doc_rules.described(kind, length + len(body) - len(beginning), kept, open_=place.open)
            if head or whole:
                await send_prepared(send, Prepared(200, headers, body), head=head)
            else:
                await self._stream(page, headers, (body, content), send)

    async def _stream(
        self,
        page: Page,
        headers: list[tuple[bytes, bytes]],
        content: tuple[bytes, AsyncIterator[bytes]],
        send: Send,
    ) -> None:
        first, rest = content
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            await self._piece(first, send)
            async for piece in rest:
                await self._piece(piece, send)
        except (UnreadableZip, ServiceError, TimeoutError) as error:
            raise BrokenOff(f"{page.path[:200]} of {page.key} could not be sent to its end") from error
        await send({"type": "http.response.body", "body": b""})

    async def _piece(self, piece: bytes, send: Send) -> None:
        async with asyncio.timeout(self._limits.stall_seconds):
            await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _beginning(page: Page, content: AsyncIterator[bytes], least: int) -> bytes:
    """Read the first `least` bytes of a page or some more; all, when it is not longer, and then its checksum is right.

    Raises:
        ServiceError: NOT_FOUND; they cannot be read. UNAVAILABLE; the store failed.
    """
    read = bytearray()
    try:
        async for piece in content:
            read += piece
            if len(read) >= least and len(read) < page.member.length:
                break
    except UnreadableZip as error:
        log.warning("documentation_unreadable", key=page.key, member=page.path[:200], error=str(error))
        words = f"File {page.path[:300]} cannot be read from the documentation."
        raise ServiceError(ErrorKind.NOT_FOUND, _ascii(words)) from error
    return bytes(read)


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode("ascii")
