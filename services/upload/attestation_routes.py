"""The attestations of a file, of whatever format: parses and answers, nothing else.

Source: contract python-index section 4; architecture sections 11.7 and 11.8; ADR 0037.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from countermark.core.digest import InvalidDigest, Sha256, parse_sha256
from countermark.core.names import FileName, InvalidName, parse_file_name, parse_index_name
from services.upload.attestations import Attesting, living
from shared.auth.access import credentials_in, decided, reader, require, require_some_project, resolve, writer
from shared.auth.directory import Directory, IndexRecord
from shared.auth.principal import Principal, Verb
from shared.auth.verifier import Verifier
from shared.catalogue import attestations
from shared.catalogue.attestations import Stored
from shared.errors import ErrorKind, ServiceError
from shared.objects.keys import file_key
from shared.reading.resolution import MIRROR
from shared.resources import Resources

_PATH = "/api/v1/indexes/{owner}/{index}/files/{sha256}/{filename}/attestations"


@dataclass(frozen=True)
class AtFile:
    """The names in the path, as they were sent."""

    owner: str
    index: str
    sha256: str
    filename: str

    @property
    def file(self) -> tuple[Sha256, FileName]:
        """What they say of the file.

        Raises:
            ServiceError: not-found; there can be no such file.
        """
        try:
            return parse_sha256(self.sha256), parse_file_name(self.filename)
        except (InvalidDigest, InvalidName) as error:
            raise ServiceError(ErrorKind.NOT_FOUND, f"There can be no such file: {error}.") from error


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class AttestationItem(_Answer):
    """One attestation; what it proves was verified when it was added, and is verified again by whoever reads it."""

    sha256: str = Field(description="of the Sigstore bundle that is kept")
    length: int = Field(description="of it, in bytes")
    uri: str = Field(description="key of the bundle, below the artifact base; as pointers have it")
    predicate_type: str
    origin: Literal["pep740", "bundle"] = Field(description="as what it was sent")
    named: bool = Field(description="whether it is the one build provenance that the file's pointer names")
    root: str = Field(description="the root of trust that it was verified against")
    issuer: str | None = Field(description="of the identity that signed; null for keys and companies' authorities")
    identity: str | None = Field(description="that signed, as its certificate names it")
    signed_at: int = Field(description="seconds since 1970, as log or time stamp prove it; 0 where nothing does")
    log: Literal["v1", "v2", "none"]
    publisher: dict[str, Any] | None = Field(description="as PEP 740 objects name it; null where they have no word")
    added_at: datetime
    added_by: str | None

    @staticmethod
    def of(stored: Stored, file_name: FileName) -> AttestationItem:
        """Return how an attestation is told."""
        facts = stored.facts
        return AttestationItem(
            sha256=stored.sha256,
            length=stored.length,
            uri=f"/{file_key(stored.sha256, attestations.object_name(file_name))}",
            predicate_type=stored.predicate_type,
            origin="pep740" if stored.origin == "pep740" else "bundle",
            named=stored.named,
            root=facts["root"],
            issuer=facts["issuer"],
            identity=facts["san"],
            signed_at=facts["signed_at"],
            log=facts["log"],
            publisher=None if stored.publisher is None else dict(stored.publisher),
            added_at=stored.added_at,
            added_by=stored.added_by,
        )


class AttestationList(_Answer):
    """The attestations of a file, oldest first."""

    items: list[AttestationItem]


class AttestationAdded(_Answer):
    """What became of an attestation that was sent."""

    added: bool = Field(description="false: the file had it already")
    state: Literal["published", "pending"] = Field(description="whether a publication shows it")
    serial: int | None = Field(None, description="of that publication")
    items: list[AttestationItem]


_ANSWERS: dict[int | str, dict[str, Any]] = {
    202: {"model": AttestationAdded, "description": "kept; the publication that shows it is pending"}
}
_BODY = {
    "requestBody": {
        "required": True,
        "description": "one Sigstore bundle (0.1 to 0.3, DSSE), or one PEP 740 attestation object; at most 1 MiB",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}

FilePath = Annotated[AtFile, Depends(AtFile)]


def attestation_router(resources: Resources, attesting: Attesting, verifier: Verifier) -> APIRouter:
    """Return the routes of attestations."""
    router = APIRouter(tags=["attestations"])
    directory = resources.directory

    @router.get(_PATH)
    async def list_attestations(request: Request, at: FilePath) -> AttestationList:
        """List the attestations of a file; for those who may read its index.

        Of a file that is held, or waits for a publication, for those who may upload to its project, approve in the
        index, or configure it.
        """

        async def decide() -> tuple[IndexRecord, Principal]:
            principal = await reader(verifier, credentials_in(request.headers))
            index = _stage(directory, at)
            require(principal, Verb.READ, index)
            return index, principal

        index, principal = await decided(directory, decide)
        sha256, name = at.file
        found = await attesting.listed(index, sha256, name, principal)
        return AttestationList(items=[AttestationItem.of(one, name) for one in found])

    @router.post(_PATH, responses=_ANSWERS, openapi_extra=_BODY)
    async def add_attestation(request: Request, response: Response, at: FilePath) -> AttestationAdded:
        """Add an attestation to a file that is there; for those who may upload to its project.

        It is verified against the roots that the trust role signs, build provenance against the policy as well; what
        is kept leads to a new pointer. Sending the same again changes nothing.
        """
        sha256, name = at.file
        index, principal = await decided(directory, lambda: _sender(resources, verifier, request, at))
        async with resources.engine.connect() as connection:
            found = living(index, name, await attestations.file_at(connection, index.id, index.life, sha256, name))
        require(principal, Verb.UPLOAD, index, found.project)
        arrived = attesting.read_posted(await request.body(), name, sha256)
        new, jobs = await attesting.add_to(index, sha256, name, [arrived], principal)
        serial = await resources.heads.wait_settled(index.id, jobs, resources.settings.uploads.publish_wait)
        items = [AttestationItem.of(one, name) for one in await attesting.listed(index, sha256, name, principal)]
        if serial is None:
            response.status_code = 202
            response.headers["Link"] = f'</api/v1/files/{found.id}>; rel="status"'
        state: Literal["published", "pending"] = "pending" if serial is None else "published"
        return AttestationAdded(added=new > 0, state=state, serial=serial, items=items)

    return router


async def _sender(
    resources: Resources, verifier: Verifier, request: Request, at: AtFile
) -> tuple[IndexRecord, Principal]:
    """Return the index and who sends, when they may upload something there."""
    principal = await writer(verifier, credentials_in(request.headers))
    if principal.token_id is None and not resources.settings.is_open_devpi:
        # As for uploads: what a build machine holds is scoped, expires and can be revoked.
        words = "Passwords are not taken for attestations: make a token with the right to upload, and send it instead."
        raise ServiceError(ErrorKind.FORBIDDEN, words)
    index = _stage(resources.directory, at)
    require_some_project(principal, Verb.UPLOAD, index)
    return index, principal


def _stage(directory: Directory, at: AtFile) -> IndexRecord:
    """Return the index that the path names, which hosts files.

    Raises:
        ServiceError: not-found.
    """
    try:
        name = parse_index_name(f"{at.owner}/{at.index}")
    except InvalidName as error:
        raise ServiceError(ErrorKind.NOT_FOUND, "There is no index of this name.") from error
    index = resolve(directory, name)
    if index.type == MIRROR:
        words = f"{name} is a mirror: its files have the attestations of its upstream, and no others can be kept."
        raise ServiceError(ErrorKind.NOT_FOUND, words)
    return index
