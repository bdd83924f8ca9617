"""Answers devpi's documents of projects and versions, and its request to read a project's page anew.

The catalogue is asked at each request, since test results and documentation show at once, and no publication tells of
them: first whether the document that was answered last is still true, else for everything. What a request costs is
bounded: a handful of statements, then the metadata part by part, and a document of many parts is sent while it is
written.
Source: contract devpi sections 3, 4, 7, 15 and 23; architecture section 11.5.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from countermark.core.names import FileName
from services.index.devpi_memory import DocumentMemory
from services.index.devpi_rules import (
    DocumentWanted,
    Nothing,
    Plan,
    RefreshWanted,
    Renamed,
    is_devpi,
    is_known,
    no_project,
    no_version,
    parts_of,
    plan_of,
    releases_in,
    verdata,
    version_in,
    wanted_at,
    weight_of,
    with_mirrored,
    with_root,
    written,
)
from services.index.mirrored_parts import UpstreamsAway
from services.index.mirrored_versions import MirroredVersions
from services.index.reader import Reader, key_of
from services.index.refreshing import Refreshing
from services.index.rules import Coding, Media, PageWanted
from shared.auth.directory import IndexRecord
from shared.catalogue import audit
from shared.catalogue.devpi_reading import VersionSought, holdings_of, mark_of, metadata_of
from shared.catalogue.merged import held_names, standings
from shared.devpi import devpi_answer, devpi_error, devpi_headers, is_devpi_client, own_url
from shared.errors import ErrorKind, ServiceError
from shared.faces import Face, parse_face
from shared.formats.python.names import release_key
from shared.ids import ReleaseId
from shared.problems import UnknownErrors
from shared.reading.access import Access, Place
from shared.reading.answers import NOSNIFF, with_headers
from shared.reading.devpi_rows import Holdings
from shared.reading.headers import asked_by
from shared.reading.merging import members_showing
from shared.reading.resolution import MIRROR, resolution_order
from shared.resources import Resources
from shared.threads import sized

_WRITERS = 4
"""Parts of documents that are written at the same time: it bounds what they take of memory and of the pool."""

_BEGIN, _END = b'{"type":"projectconfig","result":{', b"}}"


@dataclass(frozen=True, slots=True)
class _Found:
    """What there is of a project.

    Attributes:
        members: that show it or say that it is in quarantine, nearest first.
        open_members: those that show it.
        hidden: names of files that the index that was asked holds for review.
    """

    holdings: Holdings
    members: Sequence[IndexRecord]
    open_members: Sequence[IndexRecord]
    hidden: frozenset[FileName]


class DevpiDocuments:
    """The routes `/{owner}/{index}/{project}[/{version}]`, and `refresh` of pages."""

    def __init__(self, resources: Resources, access: Access, reader: Reader, refreshing: Refreshing) -> None:
        self._resources = resources
        self._access = access
        self._reader = reader
        self._refreshing = refreshing
        self._writing = asyncio.Semaphore(_WRITERS)
        self._memory = DocumentMemory()

    def before(self, others: ASGIApp) -> ASGIApp:
        """Return an application that answers what is devpi's, and leaves the rest to `others`."""
        documents = UnknownErrors(self, devpi_error)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await (documents if scope["type"] == "http" and _is_devpi(scope) else others)(scope, receive, send)

        return app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request that is devpi's."""
        request = Request(scope)
        try:
            answer = await self._answer(request)
        except ServiceError as error:
            answer = devpi_error(error)
            if error.kind is ErrorKind.UNAUTHENTICATED and is_devpi_client(request.headers):
                # The client drops a token that ended only when the answer says where to get another one.
                answer.headers["Location"] = f"{self._base(request)}/+login"
        send = _without_body(send) if scope["method"] == "HEAD" else send
        await with_headers(answer, [NOSNIFF])(scope, receive, send)

    def _base(self, request: Request) -> str:
        return own_url(request, self._resources.settings)

    async def _answer(self, request: Request) -> Response:
        """Find the answer; the right to read is checked before anything is said about what exists in the index.

        Raises:
            ServiceError: what the client is told instead.
        """
        scope = request.scope
        face = parse_face(scope["path"])
        assert face is not None, "`before` lets nothing else through"
        where = await self._entered(face, scope)
        index_url = f"{self._base(request)}{face.base}"
        match wanted_at(face, scope["query_string"]):
            case Nothing(detail):
                raise ServiceError(ErrorKind.NOT_FOUND, detail)
            case Renamed(path):
                return _elsewhere(index_url + path, scope["query_string"])
            case RefreshWanted(project):
                await self._refreshing.refresh(where, project)
                return _elsewhere(f"{index_url}+simple/{project}/", b"")
            case DocumentWanted() as wanted:
                return await self._document(request, where, wanted)

    async def _entered(self, face: Face, scope: Scope) -> Place:
        """Return the index and its view, which the caller may read.

        Raises:
            ServiceError: as `Access.enter`; an index that is not there is told in devpi's words.
        """
        try:
            return await self._access.enter(face, asked_by(scope["headers"]).authorization)
        except ServiceError as error:
            if error.kind is not ErrorKind.NOT_FOUND or face.index is None:
                raise
            detail = f"The stage {face.index} could not be found."
            raise ServiceError(ErrorKind.NOT_FOUND, detail) from error

    async def _document(self, request: Request, where: Place, wanted: DocumentWanted) -> Response:
        """Return the document of a project or version.

        Raises:
            ServiceError: NOT_FOUND; there is no such project or version. UPSTREAM; a mirror may have it whose upstream
                gives no answer.
        """
        record = where.record
        order = (record,) if wanted.own else resolution_order(record, self._resources.directory.index)
        base = self._base(request)
        if wanted.version is not None:
            return await self._version(order, where, wanted, wanted.version, base)
        # Not the address: there are as many of the host as clients can think of.
        key = (wanted.project, wanted.own, tuple(map(_telling, order)))
        async with self._resources.engine.connect() as connection:
            mark = await mark_of(connection, {member.id: member.life for member in order}, wanted.project)
        mirrored = await self._mirrored(order, where, wanted, "")
        rows = f"{mark.rows} {mirrored.mark}"
        headers = devpi_headers({"X-DEVPI-SERIAL": str(mark.serial), **mirrored.headers})
        known = self._memory.find(key, rows)
        if known is not None:
            return Response(await _rooted(known, base), headers=headers)
        found = await self._found(order, wanted)
        plan = with_mirrored(plan_of(found.open_members, found.holdings, "", found.hidden), await mirrored.versions())
        if not plan and not _is_there(found, mirrored) and not await self._known_to_bases(where, wanted):
            raise ServiceError(ErrorKind.NOT_FOUND, no_project(wanted.project).detail)
        parts = list(parts_of(plan))
        if request.method == "HEAD":
            return StreamingResponse(self._written(()), headers=headers)
        texts = self._memory.passed_on(key, rows, self._written(parts))
        body = (await _rooted(text, base) async for text in texts)
        if len(parts) > 1:
            return StreamingResponse(body, headers=headers)
        return Response(b"".join([text async for text in body]), headers=headers)

    async def _version(
        self, order: Sequence[IndexRecord], where: Place, wanted: DocumentWanted, sought: str, base: str
    ) -> Response:
        """Return the document of a version.

        Raises:
            ServiceError: NOT_FOUND; there is no such version. UPSTREAM.
        """
        async with self._resources.engine.connect() as connection:
            serial = await audit.newest(connection)
        mirrored = await self._mirrored(order, where, wanted, base)
        found = await self._found(order, wanted)
        hosted = plan_of(found.open_members, found.holdings, base, found.hidden)
        plan = with_mirrored(hosted, await mirrored.versions(sought))
        version = version_in(plan, sought)
        shown = None if version is None else verdata(plan[version], await self._metadata(plan))
        if shown is None:
            raise ServiceError(ErrorKind.NOT_FOUND, no_version(wanted.project, sought).detail)
        return devpi_answer("versiondata", shown, headers={"X-DEVPI-SERIAL": str(serial), **mirrored.headers})

    async def _mirrored(
        self, order: Sequence[IndexRecord], where: Place, wanted: DocumentWanted, base: str
    ) -> MirroredVersions:
        """Return what the mirrors of a view show of a project: what its page shows of them.

        Raises:
            ServiceError: UPSTREAM; nobody here has the project, and an upstream that may have it gives no answer.
        """
        mirrors = {member.name: f"{base}/{member.name}" for member in order if member.type == MIRROR}
        if not mirrors:
            return MirroredVersions(where.record.name, wanted.project, mirrors)
        try:
            page = await self._reader.document(where, PageWanted(wanted.project))
        except UpstreamsAway as error:
            # devpi's client knows no "come again later": it prints this, and the status that is said to be wrong.
            raise ServiceError(ErrorKind.UPSTREAM, error.detail, retry_after=error.retry_after) from error
        asked = key_of(where, PageWanted(wanted.project))
        variant = await self._reader.variant(asked, page, Media.JSON, Coding.ZSTD)
        return MirroredVersions(where.record.name, wanted.project, mirrors, page, variant.etag)

    async def _known_to_bases(self, where: Place, wanted: DocumentWanted) -> bool:
        """Return whether a project is there for one who leaves out bases: then it has no versions, else it is 404."""
        if not wanted.own or not where.record.bases:
            return False
        order = resolution_order(where.record, self._resources.directory.index)
        found = await self._found(order, wanted)
        try:
            return _is_there(found, await self._mirrored(order, where, wanted, ""))
        except ServiceError as error:
            # It cannot be said that nobody has it; and that the index itself has nothing is true.
            return error.kind is ErrorKind.UPSTREAM

    async def _found(self, order: Sequence[IndexRecord], wanted: DocumentWanted) -> _Found:
        """Return what the members of a view have of a project.

        Which of them show it, and which names show nowhere, is decided as it is for pages and files: by the index that
        was asked, `order[0]` (architecture section 11.5).
        """
        sought = None if wanted.version is None else VersionSought(wanted.version, release_key(wanted.version))
        lives = {member.id: member.life for member in order}
        async with self._resources.engine.connect() as connection:
            there = await standings(connection, lives, wanted.project)
            # What it holds of its own is not visible anyway.
            merged = len(order) > 1 and order[0].id in there
            hidden = await held_names(connection, order[0].id, wanted.project) if merged else frozenset()
            holdings = await holdings_of(connection, lives, wanted.project, sought) if there else Holdings({})
        members = members_showing(order, wanted.project, there)
        # Who put the project into quarantine is the last member, and shows nothing of it.
        open_members = [member for member in members if member.id not in there or not there[member.id].closed]
        return _Found(holdings, members, open_members, hidden)

    async def _written(self, parts: Sequence[Plan]) -> AsyncIterator[bytes]:
        """Write a project's document; no connection is held while a client takes what was written."""
        yield _BEGIN
        between = b""
        for part in parts:
            async with self._writing:
                metadata = await self._metadata(part)
                text = await sized(weight_of(part), written, part, metadata)
            if text:
                yield between + text
                between = b","
        yield _END

    async def _metadata(self, plan: Plan) -> dict[ReleaseId, str]:
        """Return the metadata of a plan's releases, by release."""
        async with self._resources.engine.connect() as connection:
            return await metadata_of(connection, releases_in(plan))


def _is_devpi(scope: Scope) -> bool:
    face, asked = parse_face(scope["path"]), asked_by(scope["headers"])
    agent = next((value for name, value in scope["headers"] if name == b"user-agent"), b"")
    return face is not None and is_devpi(face, scope["method"], asked.accept or b"", agent)


def _is_there(found: _Found, mirrored: MirroredVersions) -> bool:
    """Return whether there is a project to tell of, though it may have no version."""
    mirrors = any(member.type == MIRROR for member in found.members)
    return is_known(found.members, found.holdings) or (mirrored.known and mirrors)


def _telling(member: IndexRecord) -> Hashable:
    """Return what of an index makes a difference to a document, beside the rows of its project."""
    return member.id, member.life, member.type, member.mirror_whitelist, member.whitelist_inheritance


async def _rooted(text: bytes, root: str) -> bytes:
    """Return a document, or a part of one, with the host's URL in its links."""
    # To replace is quicker by far than to read: about 0.2 ms for 256 KiB.
    return await sized(len(text) >> 2, with_root, text, root)


def _elsewhere(location: str, query: bytes) -> Response:
    more = f"?{query.decode('latin-1')}" if query else ""
    return Response(status_code=HTTPStatus.FOUND, headers=devpi_headers({"Location": location + more}))


def _without_body(send: Send) -> Send:
    """Return a sender for HEAD: what is sent are the headers."""
    ended = False

    async def bare(message: Message) -> None:
        nonlocal ended
        if message["type"] == "http.response.start":
            await send(message)
        elif not ended:
            ended = True
            await send({"type": "http.response.body", "body": b""})

    return bare
