"""The integrity API: the provenance object of a file by its name, in one of two Content-Types.

Errors are `{"message"}`, as the public index's.
Source: contract python-index section 1.8.
"""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from services.download.entries import Entry
from services.download.provenance import addresses
from services.download.routes import Reading
from services.download.rules import PROVENANCE_TYPES, Named, named_at, provenance_type
from shared.catalogue.mirror_files import Kept
from shared.devpi import devpi_error
from shared.errors import ErrorKind, ServiceError
from shared.faces import Face, FaceKind, parse_face
from shared.reading.access import Access, Place
from shared.reading.answers import CORS, NO_STORE, NOSNIFF, other_method, send_prepared, with_headers
from shared.reading.headers import asked_by, not_modified
from shared.resources import Resources

_MARK = f"/{FaceKind.INTEGRITY}/"
"""What every path of this face holds."""


class IntegrityRoutes:
    """The face `+integrity/` of every index, and of the default index at the root; in front of the others."""

    def __init__(self, resources: Resources, access: Access, reading: Reading, others: ASGIApp) -> None:
        self._resources = resources
        self._access = access
        self._reading = reading
        self._others = others

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request, or pass it on."""
        face = parse_face(scope["path"]) if scope["type"] == "http" and _MARK in scope["path"] else None
        if face is None or face.kind is not FaceKind.INTEGRITY:
            return self._others(scope, receive, send)
        return self._answer(face, scope, receive, send)

    async def _answer(self, face: Face, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await other_method(scope["method"])(scope, receive, send)
            return
        asked = asked_by(scope["headers"])
        try:
            place = await self._access.enter(face, asked.authorization)
            kind = provenance_type(asked.accept)
            if kind is None:
                offered = b" or ".join(PROVENANCE_TYPES).decode()
                raise ServiceError(ErrorKind.NOT_ACCEPTABLE, f"Provenance objects are of the type {offered}.")
            entry = await self._found(place, named_at(face))
            if not_modified(asked, entry.etag, entry.modified):
                await send_prepared(send, entry.not_modified, head=True)
                return
            answer = entry.of_kind(kind, await self._body(entry))
            await send_prepared(send, answer, head=scope["method"] == "HEAD")
        except ServiceError as error:
            refused = with_headers(devpi_error(error), [NO_STORE, NOSNIFF, *CORS])
            await refused(scope, receive, send)

    async def _found(self, place: Place, named: Named | None) -> Entry:
        """Return the object; where no address serves one, why the likeliest does not.

        Raises:
            ServiceError: there is none, and why; or it cannot be had now.
        """
        if named is None:
            raise ServiceError(ErrorKind.NOT_FOUND, "Ask for {project}/{version}/{file name}/provenance here.")
        refused: ServiceError | None = None
        for wanted in await addresses(self._resources, place, named):
            try:
                return await self._reading.reader.entry(place, wanted)
            except ServiceError as error:
                if error.kind is ErrorKind.UNAVAILABLE:
                    raise
                refused = refused or error
        raise refused or ServiceError(
            ErrorKind.NOT_FOUND, f"{place.record.name} has no file {named.file_name} of this project and version."
        )

    async def _body(self, entry: Entry) -> bytes:
        """Return the object's bytes; a large one of a mirror is not in memory."""
        if entry.body is not None:
            return entry.body
        assert entry.source is not None, "what is hosted is in memory"
        return await self._reading.fetching.body(entry.source, Kept(entry.sha256, entry.length))
