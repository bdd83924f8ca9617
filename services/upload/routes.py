"""The upload URLs of indexes, and the state of a file that was uploaded: parses and answers, nothing else.

Source: contract python-index sections 2.1 and 2.2; contract devpi sections 1, 9 and 23; architecture section 11.7.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import PlainTextResponse, Response

from countermark.core.names import IndexName
from services.upload.attaching import Documentation
from services.upload.attaching_routes import TestResults, documentation_answer
from services.upload.devpi import Removing
from services.upload.form import DEFAULT_LIMITS
from services.upload.push_routes import PushRoutes, is_push
from services.upload.schemas import FileApproval, FileState
from services.upload.sending import Sent
from services.upload.usecases import Receipt, Uploads
from shared.auth.access import (
    credentials_in,
    decided,
    may_read,
    reader,
    require,
    resolve,
    writer,
)
from shared.auth.directory import IndexRecord
from shared.auth.principal import NOBODY, Verb
from shared.auth.verifier import Verifier
from shared.devpi import is_devpi_client
from shared.errors import ErrorKind, ServiceError
from shared.faces import FaceKind, parse_face
from shared.ids import FileId, IndexId
from shared.reading.resolution import MIRROR
from shared.resources import Resources


class Uploading:
    """Answers posts to the URLs of indexes. What is no form for an index belongs to modules of its own: a post of JSON
    to an index is a push, one to a file a test result."""

    def __init__(self, resources: Resources, uploads: Uploads, pushes: PushRoutes, verifier: Verifier) -> None:
        self._resources = resources
        self._uploads = uploads
        self._pushes = pushes
        self._verifier = verifier
        self._test_results = TestResults(resources, uploads.attaching, verifier)

    async def post(self, request: Request) -> Response:
        """Take an upload form."""
        face = parse_face(request.scope["path"])
        if face is not None and face.kind is FaceKind.FILE:
            return await self._test_results.take(request, face)
        if face is not None and face.index is not None and is_push(face, request):
            return await self._pushes.answer(request, face.index)
        if face is None or face.kind is not FaceKind.INDEX:
            raise ServiceError(ErrorKind.NOT_FOUND, "Uploads go to the URL of an index: /{owner}/{index}/ or /legacy/.")
        # The token comes before the body: `Expect: 100-continue` is answered only when somebody reads.
        sent = await decided(self._resources.directory, lambda: self._sent(face.index, request.headers))
        limit = self._resources.settings.uploads.max_file_bytes
        if int(request.headers.get("content-length") or 0) > limit + DEFAULT_LIMITS.max_overhead_bytes:
            raise ServiceError(ErrorKind.TOO_LARGE, f"The file is larger than {limit} bytes, the limit of this server.")
        receipt = await self._uploads.receive(sent, request.headers.get("content-type", ""), request.stream())
        if isinstance(receipt, Documentation):
            return documentation_answer(receipt, sent)
        return Response() if receipt is None else _answer(receipt, sent)

    async def _sent(self, name: IndexName | None, headers: Mapping[str, str]) -> Sent:
        """Return who sends to which index, when they may upload something there. Source: contract devpi section 9."""
        directory = self._resources.directory
        known = None if name is None else directory.index(name)
        if known is not None and may_read(NOBODY, known):
            _refuse_mirror(known)
        principal = await writer(self._verifier, credentials_in(headers))
        if principal.token_id is None and not self._resources.settings.is_open_devpi:
            # Contract sections 2.3 (row 1) and 6: what a build machine holds must be scoped, expiring and revocable.
            # Scripts that were made for a plain devpi-server have passwords (architecture section 11.11).
            words = "Passwords are not taken for uploads: make a token with the right to upload, and send it instead."
            raise ServiceError(ErrorKind.FORBIDDEN, words)
        sent = Sent(resolve(directory, name), principal, on_index=name is not None, devpi=is_devpi_client(headers))
        sent.permit()
        _refuse_mirror(sent.index)
        return sent


async def _where(request: Request) -> Response:
    raise ServiceError(
        ErrorKind.NOT_FOUND, f"This is an upload URL. Pages are at {request.scope['path'].rstrip('/')}/+simple/."
    )


ATTESTATIONS = "X-Countermark-Attestations"
"""Header of an answer: how many of the attestations that came along are kept, and how many of these are new."""


def devpi_app(uploading: Uploading, removing: Removing) -> FastAPI:
    """Return the application of everything below an index's URL; how it tells of errors, `answering` decides."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.add_api_route("/{path:path}", uploading.post, methods=["POST"])
    app.add_api_route("/{path:path}", removing.delete, methods=["DELETE"])
    app.add_api_route("/{path:path}", _where, methods=["GET"])
    return app


def api_router(resources: Resources, uploads: Uploads, verifier: Verifier) -> APIRouter:
    """Return the routes below /api/v1."""
    router = APIRouter(prefix="/api/v1")

    @router.get("/files/{file_id}", response_model=FileState)
    async def file_state(file_id: UUID, request: Request) -> FileState:
        """Tell how far a file has come; for those who may read its index."""
        progress = await uploads.progress(FileId(file_id))

        async def decide() -> IndexRecord:
            principal = await reader(verifier, credentials_in(request.headers))
            index = resources.directory.index_by_id(IndexId(progress.index_id))
            if index is None:
                raise ServiceError(ErrorKind.NOT_FOUND, "There is no such file.")
            require(principal, Verb.READ, index)
            return index

        index = await decided(resources.directory, decide)
        file, now = progress.file, resources.clock.now()
        return FileState(
            id=file.id,
            index=str(index.name),
            project=file.project,
            version=file.version,
            filename=file.file_name,
            sha256=file.sha256,
            length=file.length,
            uploaded_at=file.uploaded_at,
            state=progress.state(now),
            serial=progress.published_serial,
            error=progress.error,
            approval=None if progress.approval is None else FileApproval.of(progress.approval, now),
        )

    return router


def _answer(receipt: Receipt, sent: Sent) -> Response:
    """Answer exactly 200: the devpi client takes nothing else for success. Warnings stand below the one line."""
    index = sent.index
    warnings = "".join(f"Warning: {warning}\n" for warning in receipt.warnings)
    if receipt.attested:
        warnings = f"{_attested_words(receipt)}\n{warnings}"
    headers = {ATTESTATIONS: f"kept={receipt.attested}, new={receipt.attested_anew}"} if receipt.attested else {}
    if receipt.serial is not None and sent.devpi:
        again = receipt.already_there and not index.volatile
        said = "200 Upload of identical file to non volatile index.\n" if again else ""
        return PlainTextResponse(said, headers=headers)
    if receipt.serial is not None:
        words = "was already there" if receipt.already_there else "is published"
        said = f"{receipt.file_name} {words} in {index.name}, serial {receipt.serial}.\n{warnings}"
        return PlainTextResponse(said, headers=headers)
    status = f"/api/v1/files/{receipt.file_id}"
    headers["Link"] = f'<{status}>; rel="status"'
    if receipt.waiting is not None:
        words = (
            f"{receipt.file_name} is stored and not yet in {index.name}: {receipt.waiting}, see {status}\n{warnings}"
        )
        return PlainTextResponse(words, headers=headers)
    return PlainTextResponse(
        f"{receipt.file_name} is stored; its publication in {index.name} is pending: see {status}\n{warnings}",
        headers=headers,
    )


def _attested_words(receipt: Receipt) -> str:
    there = receipt.attested - receipt.attested_anew
    kept = f"Attestations verified and kept: {receipt.attested}"
    return f"{kept}, of which {there} were there already." if there else f"{kept}."


def _refuse_mirror(index: IndexRecord) -> None:
    if index.type == MIRROR:
        raise ServiceError(ErrorKind.NOT_FOUND, "cannot submit to mirror index")
