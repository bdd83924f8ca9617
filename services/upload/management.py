"""The routes of projects, releases and files below /api/v1: parse and answer, nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from packaging.version import Version

from countermark.core.names import InvalidName, parse_file_name, parse_index_name, parse_project_name
from services.upload.managing import Place, Projects
from services.upload.schemas import (
    ChangeAnswer,
    FileItem,
    ProjectItem,
    ProjectView,
    Provenance,
    ReleaseItem,
    ReleaseView,
    Status,
    StatusChange,
    YankRequest,
)
from shared.auth.access import credentials_in, decided, reader, require, resolve, writer
from shared.auth.directory import IndexRecord
from shared.auth.principal import Principal, Verb
from shared.auth.verifier import Verifier
from shared.catalogue.projects import latest_release
from shared.errors import ErrorKind, ServiceError
from shared.paging import DEFAULT_LIMIT, After, Limit, Page, cursor_text, decode_cursor, page_of
from shared.resources import Resources

_ANSWERS: dict[int | str, dict[str, Any]] = {
    202: {"model": ChangeAnswer, "description": "done; the publication that shows it is pending"}
}
_MAX_VERSION = 200


@dataclass(frozen=True)
class AtIndex:
    """The names in the path of an index's routes, as they were sent."""

    owner: str
    index: str


@dataclass(frozen=True)
class AtProject(AtIndex):
    """The names in the path of a project's routes."""

    project: str

    @property
    def url(self) -> str:
        """Where the project's state is told."""
        return f"/api/v1/indexes/{self.owner}/{self.index}/projects/{self.project}"


@dataclass(frozen=True)
class AtRelease(AtProject):
    """The names in the path of a release's routes."""

    version: str


@dataclass(frozen=True)
class AtFile(AtRelease):
    """The names in the path of a file's routes."""

    filename: str


IndexPath = Annotated[AtIndex, Depends(AtIndex)]
ProjectPath = Annotated[AtProject, Depends(AtProject)]
ReleasePath = Annotated[AtRelease, Depends(AtRelease)]
FilePath = Annotated[AtFile, Depends(AtFile)]
Search = Annotated[str | None, Query(max_length=200, description="part of the name, in any case")]


class _Access:
    """From the names in a path to what they mean, for those who may."""

    def __init__(self, resources: Resources, verifier: Verifier) -> None:
        self._directory = resources.directory
        self._verifier = verifier

    async def index(self, request: Request, at: AtIndex) -> IndexRecord:
        """Return an index for its readers."""

        async def decide() -> IndexRecord:
            principal = await reader(self._verifier, credentials_in(request.headers))
            record = self._record(at)
            require(principal, Verb.READ, record)
            return record

        return await decided(self._directory, decide)

    async def to_read(self, request: Request, at: AtProject) -> Place:
        """Return what a path means for the readers of its index."""
        return _place(await self.index(request, at), at)

    async def to_change(self, request: Request, at: AtProject, verb: Verb) -> tuple[Place, Principal]:
        """Return what a path means for those who may do `verb` to its project, and who asks."""

        async def decide() -> tuple[Place, Principal]:
            principal = await writer(self._verifier, credentials_in(request.headers))
            place = _place(self._record(at), at)
            require(principal, verb, place.index, place.project)
            return place, principal

        return await decided(self._directory, decide)

    def _record(self, at: AtIndex) -> IndexRecord:
        try:
            name = parse_index_name(f"{at.owner}/{at.index}")
        except InvalidName as error:
            raise ServiceError(ErrorKind.NOT_FOUND, "There is no index of this name.") from error
        return resolve(self._directory, name)


def management_router(resources: Resources, projects: Projects, verifier: Verifier) -> APIRouter:
    """Return the routes of projects, below /api/v1/indexes/{owner}/{index}/projects."""
    router = APIRouter(prefix="/api/v1/indexes/{owner}/{index}/projects", tags=["projects"])
    access = _Access(resources, verifier)
    _add_reads(router, projects, access)
    _add_status(router, projects, access)
    _add_marks_of_releases(router, projects, access)
    _add_marks_of_files(router, projects, access)
    return router


def _add_reads(router: APIRouter, projects: Projects, access: _Access) -> None:
    @router.get("")
    async def list_projects(
        request: Request, at: IndexPath, q: Search = None, limit: Limit = DEFAULT_LIMIT, after: After = None
    ) -> Page[ProjectItem]:
        """List the projects of an index that have files, by name."""
        index = await access.index(request, at)
        begin = None if after is None else cursor_text(decode_cursor(after), "name")
        wanted = (q or "").strip().replace("\x00", "") or None
        rows = await projects.page(index, containing=wanted, after=begin, limit=limit + 1)
        return page_of(rows, limit, ProjectItem.of, lambda row: {"name": row.name})

    @router.get("/{project}")
    async def show_project(request: Request, at: ProjectPath) -> ProjectView:
        """Tell of a project and its releases."""
        found, releases = await projects.project(await access.to_read(request, at))
        latest = latest_release([line for line, _ in releases])
        return ProjectView(
            name=found.name,
            display_name=found.display_name,
            status=Status(found.status),
            status_reason=found.status_reason,
            created_at=found.created_at,
            serial=found.serial,
            releases=[ReleaseItem.of(line, provenance) for line, provenance in releases],
            latest_version=None if latest is None else latest.version,
        )

    @router.get("/{project}/releases/{version}")
    async def show_release(request: Request, at: ReleasePath) -> ReleaseView:
        """Tell of a release, its metadata and its files, the removed ones as well."""
        found, files, provenance = await projects.release(await access.to_read(request, at))
        return ReleaseView(
            version=found.version,
            created_at=found.created_at,
            metadata=dict(found.core_metadata),
            files=[FileItem.of(line) for line in files],
            provenance=Provenance.of(provenance),
        )


def _add_status(router: APIRouter, projects: Projects, access: _Access) -> None:
    @router.patch("/{project}", responses=_ANSWERS)
    async def change_status(
        request: Request, response: Response, at: ProjectPath, change: StatusChange
    ) -> ChangeAnswer:
        """Change a project's status. Archived: no uploads. Quarantined: no uploads, and nothing of it is served."""
        place, principal = await access.to_change(request, at, Verb.CONFIGURE)
        return _answer(response, at, await projects.set_status(place, principal, change.status, change.reason))


def _add_marks_of_releases(router: APIRouter, projects: Projects, access: _Access) -> None:
    path = "/{project}/releases/{version}"

    @router.post(f"{path}/yank", responses=_ANSWERS)
    async def yank_release(
        request: Request, response: Response, at: ReleasePath, asked: YankRequest | None = None
    ) -> ChangeAnswer:
        """Yank the files of a release: installers take them only where this version is pinned."""
        place, principal = await access.to_change(request, at, Verb.UPLOAD)
        return _answer(response, at, await projects.yank(place, principal, _reason(asked)))

    @router.delete(f"{path}/yank", responses=_ANSWERS)
    async def unyank_release(request: Request, response: Response, at: ReleasePath) -> ChangeAnswer:
        """Take the yank of a release back."""
        place, principal = await access.to_change(request, at, Verb.UPLOAD)
        return _answer(response, at, await projects.unyank(place, principal))

    @router.delete(path, responses=_ANSWERS)
    async def remove_release(request: Request, response: Response, at: ReleasePath) -> ChangeAnswer:
        """Remove the files of a release for good; their names cannot be used again."""
        place, principal = await access.to_change(request, at, Verb.REMOVE)
        return _answer(response, at, await projects.remove(place, principal))


def _add_marks_of_files(router: APIRouter, projects: Projects, access: _Access) -> None:
    path = "/{project}/releases/{version}/files/{filename}"

    @router.post(f"{path}/yank", responses=_ANSWERS)
    async def yank_file(
        request: Request, response: Response, at: FilePath, asked: YankRequest | None = None
    ) -> ChangeAnswer:
        """Yank one file."""
        place, principal = await access.to_change(request, at, Verb.UPLOAD)
        return _answer(response, at, await projects.yank(place, principal, _reason(asked)))

    @router.delete(f"{path}/yank", responses=_ANSWERS)
    async def unyank_file(request: Request, response: Response, at: FilePath) -> ChangeAnswer:
        """Take the yank of one file back."""
        place, principal = await access.to_change(request, at, Verb.UPLOAD)
        return _answer(response, at, await projects.unyank(place, principal))

    @router.delete(f"{path}/hold", responses=_ANSWERS)
    async def unhold_file(request: Request, response: Response, at: FilePath) -> ChangeAnswer:
        """Serve a file again that was held; where an index verifies on read it is held again if it still fails."""
        place, principal = await access.to_change(request, at, Verb.CONFIGURE)
        return _answer(response, at, await projects.unhold(place, principal))

    @router.delete(path, responses=_ANSWERS)
    async def remove_file(request: Request, response: Response, at: FilePath) -> ChangeAnswer:
        """Remove one file for good; its name cannot be used again."""
        place, principal = await access.to_change(request, at, Verb.REMOVE)
        return _answer(response, at, await projects.remove(place, principal))


def _place(index: IndexRecord, at: AtProject) -> Place:
    """Return what the names in a path mean; names that cannot be any are not found."""
    try:
        place = Place(index, parse_project_name(at.project))
        if isinstance(at, AtRelease):
            if len(at.version) > _MAX_VERSION:
                raise ValueError("longer than any version")
            place = replace(place, version=str(Version(at.version)))
        if isinstance(at, AtFile):
            place = replace(place, file_name=parse_file_name(at.filename))
    except ValueError as error:  # `InvalidName`, `InvalidVersion`, or a number of more digits than Python converts.
        raise ServiceError(ErrorKind.NOT_FOUND, f"There is nothing of this name in {index.name}.") from error
    return place


def _reason(asked: YankRequest | None) -> str | None:
    return None if asked is None else asked.reason


def _answer(response: Response, at: AtProject, serial: int | None) -> ChangeAnswer:
    if serial is not None:
        return ChangeAnswer(state="published", serial=serial)
    response.status_code = 202
    response.headers["Link"] = f'<{at.url}>; rel="status"'
    return ChangeAnswer(state="pending")
