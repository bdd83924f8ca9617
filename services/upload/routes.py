"""The upload URLs of indexes, and the state of a file that was uploaded: parses and answers, nothing else.

Source: contract python-index sections 2.1 and 2.2; architecture section 11.7.
"""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import PlainTextResponse, Response

from countermark.core.names import IndexName
from services.upload.form import DEFAULT_LIMITS
from services.upload.push_routes import PushRoutes, is_push
from services.upload.schemas import FileState
from services.upload.usecases import Receipt, Uploads
from shared.auth.access import credentials_in, decided, reader, require, require_some_project, resolve, writer
from shared.auth.directory import IndexRecord
from shared.auth.principal import Principal, Verb
from shared.auth.verifier import Verifier
from shared.errors import ErrorKind, ServiceError
from shared.faces import FaceKind, parse_face
from shared.ids import FileId, IndexId
from shared.resources import Resources


def form_app(resources: Resources, uploads: Uploads, pushes: PushRoutes, verifier: Verifier) -> FastAPI:
    """Return the application of the form routes, whose errors are text/plain."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    async def uploader(name: IndexName | None, authorization: str | None) -> tuple[Principal, IndexRecord]:
        principal = await writer(verifier, authorization)
        if principal.token_id is None:
            # Contract sections 2.3 (row 1) and 6: what a build machine holds must be scoped, expiring and revocable.
            words = "Passwords are not taken for uploads: make a token with the right to upload, and send it instead."
            raise ServiceError(ErrorKind.FORBIDDEN, words)
        index = resolve(resources.directory, name)
        require_some_project(principal, Verb.UPLOAD, index)
        return principal, index

    @app.post("/{path:path}")
    async def upload(request: Request) -> Response:
        face = parse_face(request.scope["path"])
        if face is not None and face.index is not None and is_push(face, request):
            return await pushes.answer(request, face.index)
        if face is None or face.kind is not FaceKind.INDEX:
            raise ServiceError(ErrorKind.NOT_FOUND, "Uploads go to the URL of an index: /{owner}/{index}/ or /legacy/.")
        # The token comes before the body: `Expect: 100-continue` is answered only when somebody reads.
        authorization = credentials_in(request.headers)
        principal, index = await decided(resources.directory, lambda: uploader(face.index, authorization))
        limit = resources.settings.uploads.max_file_bytes
        if int(request.headers.get("content-length") or 0) > limit + DEFAULT_LIMITS.max_overhead_bytes:
            raise ServiceError(ErrorKind.TOO_LARGE, f"The file is larger than {limit} bytes, the limit of this server.")
        receipt = await uploads.receive(index, principal, request.headers.get("content-type", ""), request.stream())
        return _answer(receipt, str(index.name))

    @app.get("/{path:path}")
    async def where(request: Request) -> Response:
        raise ServiceError(
            ErrorKind.NOT_FOUND, f"This is an upload URL. Pages are at {request.scope['path'].rstrip('/')}/+simple/."
        )

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
        file = progress.file
        return FileState(
            id=file.id,
            index=str(index.name),
            project=file.project,
            version=file.version,
            filename=file.file_name,
            sha256=file.sha256,
            length=file.length,
            uploaded_at=file.uploaded_at,
            state=progress.state,
            serial=progress.published_serial,
            error=progress.error,
        )

    return router


def _answer(receipt: Receipt, index: str) -> Response:
    """Answer exactly 200: the devpi client takes nothing else for success. Warnings stand below the one line."""
    warnings = "".join(f"Warning: {warning}\n" for warning in receipt.warnings)
    if receipt.serial is not None:
        words = "was already there" if receipt.already_there else "is published"
        return PlainTextResponse(f"{receipt.file_name} {words} in {index}, serial {receipt.serial}.\n{warnings}")
    status = f"/api/v1/files/{receipt.file_id}"
    return PlainTextResponse(
        f"{receipt.file_name} is stored; its publication in {index} is pending: see {status}\n{warnings}",
        headers={"Link": f'<{status}>; rel="status"'},
    )
