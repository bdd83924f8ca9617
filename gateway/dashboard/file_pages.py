"""The page of one file: its trust path, verified while the page is made, and the commands that check it again.

Source: architecture section 11.9; trust contract section 3.3.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.dashboard.desk import Desk, index_url, project_of
from gateway.dashboard.remote import api_path
from gateway.dashboard.setup import Recipe
from gateway.dashboard.shapes import File, Release, Verification
from gateway.dashboard.trust_pages import RoleState, TrustState
from gateway.dashboard.trust_path import trust_path
from gateway.words import bounded
from shared.auth.directory import IndexRecord
from shared.auth.principal import Verb
from shared.errors import ErrorKind, ServiceError

_HOLDERS = 6


@dataclass(frozen=True, slots=True)
class _Named:
    """What the page's path names."""

    index: IndexRecord
    project: str
    version: str
    filename: str

    @property
    def api(self) -> tuple[str, ...]:
        """Segments of owner and name of the index."""
        return (self.index.name.owner, self.index.name.name)


class FilePages:
    """The pages of files."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        base = "/indexes/{owner}/{index}/projects/{project}/releases/{version}/files/{filename}"
        self.routes: list[BaseRoute] = [Route(base, self.file)]

    async def file(self, request: Request) -> Response:
        """Show how far a file can be traced back, and what of that is proven."""
        visitor = await self._desk.visitor(request)
        record = self._desk.index(visitor, request)
        params = request.path_params
        named = _Named(record, project_of(request), params["version"], params["filename"])
        token = await self._desk.reading(visitor)
        verifying = asyncio.create_task(self._verified(named, token))
        trusting = asyncio.create_task(self._may_sign(token))
        try:
            release = await self._release(named, token)
            found = await verifying
            may_sign = await trusting
        finally:
            verifying.cancel()
            trusting.cancel()
        file = None if release is None else _file(release, named.filename)
        if file is None and isinstance(found, ServiceError):
            raise found
        refused = found if isinstance(found, ServiceError) else None
        verification = found if isinstance(found, Verification) else None
        url = index_url(self._desk.addresses, record)
        return self._desk.answer(
            "file.html",
            visitor,
            index=record,
            named=named,
            file=file,
            provenance=None if release is None else release.provenance,
            refused=None if refused is None else bounded(refused.detail, 1000),
            found=verification,
            path=None if verification is None else trust_path(verification, may_sign),
            recipes=check_recipes(
                index_url(self._desk.addresses, record), named.project, named.version, named.filename
            ),
            attesting=attest_recipes(url, named.filename),
            may_upload=visitor.may(Verb.UPLOAD, record, named.project),
            api_path=api_path("verify", *named.api, named.project, named.version, named.filename),
        )

    async def _release(self, named: _Named, token: str) -> Release | None:
        """Return the release that the file is of, None where this index has none: it may be a base's."""
        path = api_path("indexes", *named.api, "projects", named.project, "releases", named.version)
        try:
            return await self._desk.remote.get(Release, path, token)
        except ServiceError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
            return None

    async def _verified(self, named: _Named, token: str) -> Verification | ServiceError:
        """Return what is found of the file's chain now, or why nothing is."""
        path = api_path("verify", *named.api, named.project, named.version, named.filename)
        try:
            return await self._desk.remote.get(Verification, path, token)
        except ServiceError as error:
            return error

    async def _may_sign(self, token: str) -> Mapping[str, str]:
        """Return who may sign each role, in words; a page is whole without it."""
        try:
            state = await self._desk.remote.get(TrustState, api_path("trust"), token)
        except ServiceError:
            return {}
        return {role.role: _signers(role) for role in state.roles}


def check_recipes(url: str, project: str, version: str, filename: str) -> list[Recipe]:
    """Return how to check a file again on one's own machine, believing nobody.

    Args:
        url: of the index, without a trailing slash.
    """
    repository = f"--repository {shlex.quote(url)}"
    name = shlex.quote(filename)
    fetch = f"countermark download {shlex.quote(f'{project}=={version}')} --file {name} {repository}"
    return [
        Recipe("A file that you have", "Where it lies", f"countermark verify {name} {repository}"),
        Recipe("Fetch and check", "Placed when every step holds", fetch),
    ]


def attest_recipes(url: str, filename: str) -> list[Recipe]:
    """Return how build provenance is made and sent along."""
    path = shlex.quote(f"dist/{filename}")
    build = f"countermark build .\ncountermark attest {path}\ncountermark upload {path} --index {url}/"
    # Not dist/*: what `countermark build` lays beside the files, twine takes for files.
    sent = f"{path} {path}.*.attestation"
    twine = f"countermark attest --pep740 {path}\ntwine upload --attestations --repository-url {url}/ {sent}"
    return [
        Recipe("In the pipeline", "Build, sign, send", build),
        Recipe("twine", "With the attestations that PEP 740 knows", twine),
    ]


def _file(release: Release, filename: str) -> File | None:
    return next((file for file in release.files if file.filename == filename), None)


def _signers(role: RoleState) -> str:
    """Return who may sign a role: how many of which keys, and whose they are said to be."""
    whose = [bounded(key.holder, 60) for key in role.keys[:_HOLDERS] if key.holder]
    who = "this server" if role.online else ", ".join(whose) or "holders not named"
    return f"{role.threshold} of {len(role.keys)}: {who}"
