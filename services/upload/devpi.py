"""devpi's removals: of a project, a release or a file, at its own URL.

Source: contract devpi sections 3, 7, 10 and 23.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from countermark.core.names import FileName, InvalidName, NormalizedName, parse_file_name, parse_project_name
from services.upload.mirror_removals import MirrorRemovals
from services.upload.removing import Removals
from shared.auth.access import credentials_in, decided, identified, require, require_some_project
from shared.auth.directory import IndexRecord
from shared.auth.principal import Principal, Verb
from shared.auth.verifier import Verifier
from shared.devpi import devpi_answer, devpi_error, own_url
from shared.errors import ErrorKind, ServiceError
from shared.faces import Face, FaceKind, parse_face
from shared.formats.python.foreign import projects_named
from shared.reading.resolution import MIRROR
from shared.resources import Resources


@dataclass(frozen=True, slots=True)
class _Asked:
    """A removal that is permitted on its index."""

    index: IndexRecord
    principal: Principal
    face: Face


class Removing:
    """Answers DELETE below an index's URL."""

    def __init__(self, resources: Resources, removals: Removals, verifier: Verifier) -> None:
        self._resources = resources
        self._removals = removals
        self._mirrored = MirrorRemovals(resources)
        self._verifier = verifier

    async def delete(self, request: Request) -> Response:
        """Remove what the path means. The right comes first, then whether the index lets anything go."""
        face = parse_face(request.scope["path"])
        if face is None or face.kind not in {FaceKind.PROJECT, FaceKind.VERSION, FaceKind.FILE}:
            raise ServiceError(ErrorKind.NOT_FOUND, "There is nothing to remove at this address.")
        try:
            asked = await decided(self._resources.directory, lambda: self._asked(face, request))
        except ServiceError as error:
            if error.kind is not ErrorKind.UNAUTHENTICATED:
                raise
            # The one sign that makes the devpi client drop its token, and tell its user so.
            answer = devpi_error(error)
            answer.headers["Location"] = f"{own_url(request, self._resources.settings)}/+login"
            return answer
        force = "force" in request.query_params
        match face.kind:
            case FaceKind.PROJECT:
                return await self._project(asked, force=force)
            case FaceKind.VERSION:
                return await self._version(asked, force=force)
            case _:
                return await self._file(asked, force=force)

    async def _asked(self, face: Face, request: Request) -> _Asked:
        """Return who asks, when they may remove something there: an index that is not there permits nothing.

        Raises:
            ServiceError: unauthenticated for credentials that are wrong or no longer good, forbidden for all else.
        """
        directory = self._resources.directory
        principal = await identified(self._verifier, credentials_in(request.headers))
        name = face.index or directory.default_index
        index = None if name is None else directory.index(name)
        refused = ServiceError(ErrorKind.FORBIDDEN, f"no permission to remove anything from {name}")
        if index is None or principal.is_anonymous:
            # Uploads need an account whatever an index lists; so does what cannot be taken back.
            raise refused
        try:
            project = None if face.kind is FaceKind.FILE else _project_in(face)
            if project is None:
                require_some_project(principal, Verb.REMOVE, index)
            else:
                require(principal, Verb.REMOVE, index, project)
        except ServiceError as error:
            raise refused from error
        return _Asked(index, principal, face)

    async def _project(self, asked: _Asked, *, force: bool) -> Response:
        written = asked.face.rest.removesuffix("/")
        if not (asked.index.volatile or force):
            words = f"project {written!r} is on non-volatile index {asked.index.name}"
            raise ServiceError(ErrorKind.FORBIDDEN, words)
        project = _project_in(asked.face)
        if project is None or not await self._of(asked.index).remove(asked.index, asked.principal, project):
            raise ServiceError(ErrorKind.NOT_FOUND, f"no project {written!r}")
        return devpi_answer(message=f"project {written} deleted from stage {asked.index.name}")

    async def _version(self, asked: _Asked, *, force: bool) -> Response:
        _refuse_unless_removable(asked.index, force=force)
        written, _, version = asked.face.rest.removesuffix("/").partition("/")
        project, removals = _project_in(asked.face), self._of(asked.index)
        if project is None or not await removals.remove(asked.index, asked.principal, project, version):
            raise ServiceError(ErrorKind.NOT_FOUND, f"The version {version} of project {written} does not exist.")
        return devpi_answer(message=f"project {written!r} version {version!r} deleted")

    async def _file(self, asked: _Asked, *, force: bool) -> Response:
        _refuse_unless_removable(asked.index, force=force)
        path = f"{asked.index.name}/+f/{asked.face.rest}"
        missing = ServiceError(ErrorKind.NOT_FOUND, f"package {path!r} doesn't exist")
        key, file_name = _address_in(asked.face.rest)
        if file_name is None:
            raise missing
        if asked.index.type == MIRROR:
            for project in projects_named(file_name):
                require(asked.principal, Verb.REMOVE, asked.index, project)
            if await self._mirrored.remove_file(asked.index, asked.principal, key, file_name) is None:
                raise missing
            return devpi_answer(message=f"package {path!r} deleted")
        found = await self._removals.find(asked.index, key, file_name)
        if found is None:
            raise missing
        require(asked.principal, Verb.REMOVE, asked.index, found.project)
        if found.removed or not await self._removals.remove_file(asked.index, asked.principal, found):
            raise ServiceError(ErrorKind.GONE, f"file {path!r} existed, deleted in later serial")
        return devpi_answer(message=f"package {path!r} deleted")

    def _of(self, index: IndexRecord) -> Removals | MirrorRemovals:
        return self._mirrored if index.type == MIRROR else self._removals


def _refuse_unless_removable(index: IndexRecord, *, force: bool) -> None:
    if not (index.volatile or force):
        raise ServiceError(ErrorKind.FORBIDDEN, "cannot delete version on non-volatile index")


def _project_in(face: Face) -> NormalizedName | None:
    try:
        return parse_project_name(face.rest.partition("/")[0])
    except InvalidName:
        return None


def _address_in(rest: str) -> tuple[str, FileName | None]:
    """Return the digits and the name in what follows `+f/`; no name when it is no address of a file."""
    parts = rest.split("/")
    if len(parts) != 3 or (len(parts[0]), len(parts[1])) != (3, 13):
        return "", None
    try:
        return parts[0] + parts[1], parse_file_name(parts[2])
    except InvalidName:
        return "", None
