"""What devpi says of a file to those who ask for JSON instead of its bytes (`devpi getjson URL`).

It is found, and refused, exactly as the file itself.
Source: contract devpi section 10.
"""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.download.entries import Entry
from services.download.reader import Reader
from services.download.rules import METADATA_SUFFIX, FileWanted, wanted_at
from shared.catalogue import audit
from shared.catalogue.devpi_reading import release_of_file
from shared.devpi import devpi_answer, devpi_error, wants_json
from shared.errors import ServiceError
from shared.faces import Face, FaceKind, parse_face
from shared.formats.python.pages import PROVENANCE_SUFFIX
from shared.problems import UnknownErrors
from shared.reading.access import Access
from shared.reading.answers import NOSNIFF, with_headers
from shared.reading.headers import asked_by, http_date
from shared.resources import Resources

_BESIDE = (METADATA_SUFFIX, PROVENANCE_SUFFIX)
"""How addresses end below `+f/` that mean what is beside a file: of that devpi says nothing."""


class DevpiFiles:
    """The route `+f/` of every index, for those who ask for JSON."""

    def __init__(self, resources: Resources, access: Access, reader: Reader) -> None:
        self._resources = resources
        self._access = access
        self._reader = reader

    def before(self, files: ASGIApp) -> ASGIApp:
        """Return an application that answers what is devpi's, and leaves the rest to `files`."""
        described = UnknownErrors(self, devpi_error)

        def app(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
            return (described if _asked_for(scope) is not None else files)(scope, receive, send)

        return app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request that is devpi's."""
        asked = _asked_for(scope)
        assert asked is not None, "`before` lets nothing else through"
        try:
            where = await self._access.enter(asked[0], asked_by(scope["headers"]).authorization)
            answer = await self._described(await self._reader.entry(where, asked[1]))
        except ServiceError as error:
            answer = devpi_error(error)
        if scope["method"] == "HEAD":
            answer = Response(status_code=answer.status_code, headers=dict(answer.headers))
        await with_headers(answer, [NOSNIFF])(scope, receive, send)

    async def _described(self, entry: Entry) -> Response:
        async with self._resources.engine.connect() as connection:
            serial = await audit.newest(connection)
            release = None if entry.counted is None else await release_of_file(connection, entry.counted)
        result = {
            "hash_spec": f"sha256={entry.sha256}",
            "hashes": {"sha256": entry.sha256},
            "last_modified": http_date(entry.modified).decode(),
        }
        if release is not None:
            result["project"], result["version"] = release
        return devpi_answer("releasefilemeta", result, headers={"X-DEVPI-SERIAL": str(serial)})


def _asked_for(scope: Scope) -> tuple[Face, FileWanted] | None:
    """Return the file that devpi's JSON is asked of; None for any other request."""
    if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
        return None
    face = parse_face(scope["path"])
    if face is None or face.kind is not FaceKind.FILE or face.rest.endswith(_BESIDE):
        return None
    if not wants_json(Headers(scope=scope)):
        return None
    wanted = wanted_at(face)
    return None if wanted is None or wanted.beside else (face, wanted)
