"""Parses a request to the index service and answers it.

A plain ASGI callable; `shared.reading.answers` says why.
"""

from __future__ import annotations

from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from services.index.documents import PAGE_CACHING, unchanged, vary
from services.index.list_documents import LongList
from services.index.pasts import Past, Pasts, below_moment
from services.index.reader import DocumentKey, Reader, key_of
from services.index.rules import (
    OFFERED,
    Coding,
    Elsewhere,
    ListWanted,
    Media,
    PageWanted,
    Wanted,
    choose_coding,
    choose_media,
    chooses_page,
    page_of,
    unslashed_page,
    wanted_at,
)
from shared.devpi import own_url
from shared.errors import ErrorKind, ServiceError
from shared.faces import Face, FaceKind, parse_face, service_for
from shared.problems import problem_answer, text_answer
from shared.reading.access import Access, Place
from shared.reading.answers import CORS, NO_STORE, NOSNIFF, other_method, send_prepared, with_headers
from shared.reading.headers import MAX_HEADER, Asked, asked_by, not_modified
from shared.service import Prepared
from shared.settings import Settings

_DOCUMENTS = frozenset([FaceKind.PROJECT, FaceKind.VERSION])


class IndexRoutes:
    """The routes `+simple/`, `pypi/` and `+tuf/` of every index, their aliases for the default index, and `+at/`.

    devpi's documents of projects and releases are answered by another application, unless their address is asked for a
    simple page.
    """

    def __init__(self, access: Access, reader: Reader, pasts: Pasts, settings: Settings, documents: ASGIApp) -> None:
        """Args: documents: answers devpi's documents of projects and releases."""
        self._pasts = pasts
        self._access = access
        self._reader = reader
        self._settings = settings
        self._documents = documents

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        if scope["method"] not in ("GET", "HEAD"):
            await other_method(scope["method"])(scope, receive, send)
            return
        face = parse_face(scope["path"])
        if face is not None and face.kind in _DOCUMENTS and not _chooses_page(face, scope):
            await self._documents(scope, receive, send)
            return
        try:
            answer = await self._answer(scope, face)
        except ServiceError as error:
            render = problem_answer if face is not None and face.kind is FaceKind.AT else text_answer
            answer = with_headers(render(error), [NO_STORE, NOSNIFF, vary(False, forms=True), *CORS])
        if isinstance(answer, Prepared):
            await send_prepared(send, answer, head=scope["method"] == "HEAD")
        else:
            await answer(scope, receive, send)

    async def _answer(self, scope: Scope, face: Face | None) -> Prepared | Response:
        """Find the answer; the right to read is checked before anything is said about what exists in the index.

        Raises:
            ServiceError: what the client is told instead.
        """
        path, asked = scope["path"], asked_by(scope["headers"])
        if face is None or service_for(face) != "index":
            raise ServiceError(ErrorKind.NOT_FOUND, "There is nothing at this address.")
        where = await self._access.enter(face, asked.authorization)
        shown: Reader | Past = self._reader
        if face.kind is FaceKind.AT:
            shown, face = self._pasts.enter(face)
        wanted = page_of(face) if face.kind is FaceKind.PROJECT else wanted_at(path, face)
        if isinstance(wanted, Elsewhere) and wanted.status == HTTPStatus.MOVED_PERMANENTLY:
            media = choose_media(_text(asked.accept), scope["query_string"])
            wanted = unslashed_page(face, media, Headers(scope=scope).get("user-agent")) or wanted
        if wanted is None:
            raise ServiceError(ErrorKind.NOT_FOUND, f"There is nothing at this address of index {where.record.name}.")
        if isinstance(wanted, Elsewhere):
            return _moved(wanted, scope["query_string"], where)
        media, coding = _chosen(asked, scope["query_string"], wanted)
        past = isinstance(shown, Past)
        if past and isinstance(wanted, PageWanted):
            wanted = below_moment(wanted)
        # Relative links hold for everybody: of the past nobody gets others.
        if asked.absolute and not past and isinstance(wanted, PageWanted):
            root = f"{own_url(Request(scope), self._settings)}/{where.record.name}/"
            return _unkept(await self._reader.absolute(where, wanted.project, root, (media, coding)))
        document = await shown.document(where, wanted)
        if isinstance(document, LongList) and coding is Coding.IDENTITY:
            return await self._unpacked(scope, asked, shown, key_of(where, wanted), document, media)
        variant = await shown.variant(key_of(where, wanted), document, media, coding)
        if document.status == 200 and not_modified(asked, variant.etag, None):
            return variant.not_modified
        return variant.full

    async def _unpacked(
        self, scope: Scope, asked: Asked, shown: Reader | Past, key: DocumentKey, document: LongList, media: Media
    ) -> Prepared | Response:
        """Return a long list to a client that takes no compression."""
        await shown.variant(key, document, media, Coding.ZSTD)
        headers = document.headers(media)
        if not_modified(asked, document.plain[media].etag, None):
            return unchanged(headers)
        if scope["method"] == "HEAD":
            return Prepared(HTTPStatus.OK, headers, b"")
        response = StreamingResponse(document.unpacked(media))
        response.raw_headers = headers
        return response


def _chooses_page(face: Face, scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return chooses_page(face, headers.get("user-agent"), headers.get("accept"))


def _unkept(answer: Prepared) -> Prepared:
    """Return an answer that no cache may give to others: it was made for the host that one client named."""
    headers = [(name, value) for name, value in answer.headers if name not in (b"cache-control", b"etag", b"vary")]
    choosing = next(value for name, value in answer.headers if name == b"vary")
    return Prepared(answer.status, [*headers, NO_STORE, (b"vary", choosing + b", X-Devpi-Absolute-Urls")], answer.body)


async def no_documents(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer for devpi's documents of projects and releases where there are none."""
    error = ServiceError(ErrorKind.NOT_FOUND, "There is nothing at this address.")
    await with_headers(text_answer(error), [NO_STORE, NOSNIFF, *CORS])(scope, receive, send)


def _chosen(asked: Asked, query: bytes, wanted: Wanted) -> tuple[Media, Coding]:
    """Return form and coding of the answer.

    Raises:
        ServiceError: NOT_ACCEPTABLE; the client takes none of the forms that pages have.
    """
    coding = choose_coding(_text(asked.accept_encoding))
    if not isinstance(wanted, PageWanted | ListWanted):
        return Media.JSON, coding
    media = choose_media(_text(asked.accept), query)
    if media is None:
        raise ServiceError(ErrorKind.NOT_ACCEPTABLE, f"Pages are served as one of: {OFFERED}. Ask for one of them.")
    return media, coding


def _moved(elsewhere: Elsewhere, query: bytes, where: Place) -> Response:
    location = elsewhere.location + (f"?{query.decode('latin-1')}" if query else "")
    caching = PAGE_CACHING[0 if where.open else 1].decode()
    response = Response(status_code=elsewhere.status, headers={"location": location, "cache-control": caching})
    name, choosing = vary(where.open, forms=True)
    return with_headers(response, [(name, choosing + b", User-Agent"), *CORS])


def _text(value: bytes | None) -> str | None:
    return None if value is None else value[:MAX_HEADER].decode("latin-1")
