"""The address of a file as the place to send test results to, and the answer to documentation: parses and answers.

Source: contract devpi sections 9, 12 and 23.
"""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import PlainTextResponse, Response

from services.upload.attaching import FORBIDDEN, Attaching, Documentation, read_result
from services.upload.attaching_rules import address_of
from services.upload.sending import Sent
from shared.auth.access import credentials_in, decided, reader, require, resolve
from shared.auth.directory import IndexRecord
from shared.auth.permissions import Decision, authorize_some_project
from shared.auth.principal import Principal, Verb
from shared.auth.verifier import Verifier
from shared.devpi import devpi_answer, devpi_error
from shared.errors import ErrorKind, ServiceError
from shared.faces import Face
from shared.http import bind_principal
from shared.resources import Resources


class TestResults:
    """`POST` to a file's address, in devpi's way."""

    def __init__(self, resources: Resources, attaching: Attaching, verifier: Verifier) -> None:
        self._resources = resources
        self._attaching = attaching
        self._verifier = verifier

    async def take(self, request: Request, face: Face) -> Response:
        """Answer one request."""
        try:
            return await self._take(request, face)
        except ServiceError as error:
            return devpi_error(error)

    async def _take(self, request: Request, face: Face) -> Response:
        authorization = credentials_in(request.headers)
        index, sender = await decided(self._resources.directory, lambda: self._sender(face, authorization))
        at = address_of(face.rest)
        if at is None:
            where = f"{index.name}/+f/{face.rest[:300]}".encode("ascii", "backslashreplace").decode("ascii")
            raise ServiceError(ErrorKind.NOT_FOUND, f"no release file found at {where}")
        body = await read_result(request.stream(), int(request.headers.get("content-length") or 0))
        kept = await self._attaching.tested(index, sender, at, body)
        return devpi_answer("toxresultpath", f"{index.name}/+f/{kept.path}#sha256={kept.sha256}")

    async def _sender(self, face: Face, authorization: str | None) -> tuple[IndexRecord, Principal]:
        """Return the index and who sends a result about a file of it; wrong credentials count as none.

        Raises:
            ServiceError: NOT_FOUND; FORBIDDEN, in devpi's words, also where credentials would help.
        """
        principal = await reader(self._verifier, authorization)
        bind_principal(principal)
        index = resolve(self._resources.directory, face.index)
        # Whoever may not read an index is told nothing of what is in it.
        require(principal, Verb.READ, index)
        if authorize_some_project(principal, Verb.TEST_RESULT, index.resource()) is not Decision.ALLOWED:
            raise ServiceError(ErrorKind.FORBIDDEN, FORBIDDEN)
        return index, principal


def documentation_answer(kept: Documentation, sent: Sent) -> Response:
    """Answer exactly 200: the devpi client takes nothing else for success."""
    index = sent.index
    if kept.already_there and not index.volatile:
        return PlainTextResponse("200 Upload of identical file to non volatile index.\n")
    if sent.devpi:
        return Response()
    words = "was already there" if kept.already_there else "is stored"
    return PlainTextResponse(f"{kept.file_name} {words} in {index.name}.\n")
