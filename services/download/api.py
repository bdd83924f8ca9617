"""The download service's part of our own API: how often files were downloaded, whether attestations of mirrored ones
verify, and the whole chain of hosted ones.

Source: architecture sections 3 and 4.
"""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field

from countermark.core.names import InvalidName, parse_project_name
from services.download.attestations import Attesting, CheckedProvenance
from services.download.verification.api import Verifying, verification_router
from shared.auth.verifier import Verifier
from shared.catalogue.downloads import LISTED_FILES, project_downloads
from shared.errors import ErrorKind, ServiceError
from shared.problems import install_problem_handlers, problem_answer
from shared.reading.api import readable_index
from shared.resources import Resources


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class FileDownloads(_Answer):
    """How often a file was downloaded."""

    filename: str
    version: str
    downloads: int


class ProjectDownloads(_Answer):
    """How often the files of a project were downloaded; a few seconds old."""

    project: str
    total: int = Field(description="of all files, also of those that were removed")
    files: list[FileDownloads] = Field(description=f"visible files, the newest {LISTED_FILES} of them first")


def api_app(resources: Resources, verifier: Verifier, attesting: Attesting, verifying: Verifying) -> FastAPI:
    """Return the application of the download service's routes below /api/v1."""
    app = FastAPI(title="Countermark download", version="1", docs_url=None, redoc_url=None)
    router = APIRouter(prefix="/api/v1/indexes/{owner}/{index}")

    @router.get("/downloads/{project}")
    async def downloads_of_project(owner: str, index: str, project: str, request: Request) -> ProjectDownloads:
        """Tell how often a project was downloaded; for those who may read its index."""
        record = await readable_index(resources, verifier, request, owner, index)
        missing = ServiceError(ErrorKind.NOT_FOUND, f"There is no such project in index {record.name}.")
        try:
            name = parse_project_name(project)
        except InvalidName as error:
            raise missing from error
        async with resources.engine.connect() as connection:
            found = await project_downloads(connection, record.id, name)
        if found is None:
            raise missing
        files = [FileDownloads.model_validate(file) for file in found.files]
        return ProjectDownloads(project=name, total=found.total, files=files)

    @router.get("/attestations/{sha256}/{filename}")
    async def attestations_of_file(
        owner: str, index: str, sha256: str, filename: str, request: Request
    ) -> CheckedProvenance:
        """Verify the attestations of a mirrored file; for those who may read it."""
        said = request.headers.get("authorization")
        authorization = None if said is None else said.encode("latin-1")
        return await attesting.check(f"{owner}/{index}", sha256, filename, authorization)

    app.include_router(router)
    app.include_router(verification_router(verifying))
    install_problem_handlers(app, problem_answer)
    return app
