"""The route of the download-verification service: the chain of one file, with the evidence of every step.

Whoever may read a file may ask, and is refused as for the file. A file of a base is verified in the index that it
belongs to, as clients do; what mirrors have is never signed.
Source: architecture sections 3, 4 and 11.5; trust contract section 3.3; ADR 0039.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from packaging.version import InvalidVersion, Version
from pydantic import BaseModel, ConfigDict, Field

from countermark.core.filenames import Distribution, parse_distribution
from countermark.core.names import IndexName, InvalidName, parse_index_name
from services.download.callers import caller_of
from services.download.provenance import addresses
from services.download.rules import FileWanted, Named, named_by, refusal
from services.download.usecases import looked
from services.download.verification.chain import File
from services.download.verification.steps import NO_TARGET, Result, Step
from services.download.verification.verifying import Examinations, Examined
from shared.auth.verifier import Verifier
from shared.described import problem_for_now
from shared.errors import ErrorKind, ServiceError
from shared.faces import Face, FaceKind
from shared.reading.access import Access, Place
from shared.reading.mirrored import MirroredFile
from shared.resources import Resources

_LATER: dict[int | str, dict[str, Any]] = {
    429: problem_for_now("Four files of this caller wait already: ask again later"),
    503: problem_for_now("Too many files wait, or store, catalogue or verifying cannot be used now: ask again later"),
}


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class StepAnswer(_Answer):
    """A step of the chain."""

    number: int
    name: str
    result: Result
    code: str | None = Field(
        description="of a step that failed: what `countermark verify --json` tells machines of the same; stays as it is"
    )
    reason: str = Field(description="for people; may change")
    evidence: Mapping[str, Any] = Field(description="versions and digests of the documents that were looked at")

    @classmethod
    def of(cls, step: Step) -> StepAnswer:
        """Return what is told of a step."""
        return cls(
            number=step.number,
            name=step.name,
            result=step.result,
            code=step.code,
            reason=step.reason,
            evidence=dict(step.evidence),
        )


class VerificationAnswer(_Answer):
    """What was found of a file's chain."""

    index: str = Field(description="the file belongs to; of an inherited one the base's")
    project: str
    version: str
    filename: str
    verified: bool
    exit_code: int = Field(description="what `countermark verify` ends with for the same")
    failed: str | None = Field(description="name of the first step that failed")
    code: str | None = Field(description="of the step that failed")
    reason: str = Field(description="of the step that failed, else of the last; for people")
    serial: int = Field(description="of the publication that was looked at")
    checked_at: datetime
    steps: list[StepAnswer]


class Verifying:
    """Finds the file that is meant and has its chain verified."""

    def __init__(self, resources: Resources, access: Access, verifier: Verifier, examinations: Examinations) -> None:
        self._resources = resources
        self._access = access
        self._verifier = verifier
        self._examinations = examinations

    async def verify(self, index: str, named: Named, authorization: bytes | None) -> VerificationAnswer:
        """Verify a file.

        Raises:
            ServiceError: as for the file; NOT_FOUND where there is none, or none that is signed; UNAVAILABLE, it cannot
                be verified now; TOO_MANY, the caller waits for too many others.
        """
        name, distribution = _asked(index, named)
        place = await self._access.enter(Face(name, FaceKind.INTEGRITY, "", f"/{name}/"), authorization)
        file = await self._found(place, named, distribution)
        state = await self._examinations.state(file)
        if state is None:
            raise ServiceError(ErrorKind.NOT_FOUND, f"{file.index.name} has no publication: nothing of it is signed.")
        found = await self._examinations.examine(file, state, caller_of(self._verifier, authorization))
        verification = found.looked.verification
        if state.rows.file is None and verification.exit_code == NO_TARGET:
            raise ServiceError(ErrorKind.NOT_FOUND, f"{file.index.name} has no file {named.file_name}.")
        return _answer(file, found, self._resources.clock.now())

    async def _found(self, place: Place, named: Named, distribution: Distribution) -> File:
        """Return the file in the index that it belongs to; one that no row knows may still be signed in this one.

        Raises:
            ServiceError: it is held or removed, or it is a mirror's.
        """
        refused: ServiceError | None = None
        for wanted in await addresses(self._resources, place, named):
            about = FileWanted(wanted.path_key, wanted.file_name, metadata=False)
            own, seen, _ = await looked(self._resources, place, about)
            if isinstance(seen.file, MirroredFile) or seen.hidden is not None:
                words = f"{named.file_name} is a mirror's: what mirrors have is never signed, so there is no chain."
                raise ServiceError(ErrorKind.NOT_FOUND, words)
            shown = own if seen.file is None else seen.file
            why = refusal(about, shown)
            if why is None:
                return File(seen.owner, distribution)
            refused = refused or why
        if refused is not None and refused.kind is not ErrorKind.NOT_FOUND:
            raise refused
        return File(place.record, distribution)


def _asked(index: str, named: Named) -> tuple[IndexName, Distribution]:
    """Return what is asked about.

    Raises:
        ServiceError: NOT_FOUND; there can be no such file.
    """
    missing = ServiceError(ErrorKind.NOT_FOUND, "There is no file of this index, project, version and name.")
    try:
        distribution = parse_distribution(named.file_name)
        name, version = parse_index_name(index), Version(named.version)
    except (InvalidName, InvalidVersion, ValueError) as error:
        raise missing from error
    if (distribution.project, distribution.version) != (named.project, version):
        raise missing
    return name, distribution


def _answer(file: File, found: Examined, now: datetime) -> VerificationAnswer:
    verification, distribution = found.looked.verification, file.distribution
    failure = verification.failure
    return VerificationAnswer(
        index=str(file.index.name),
        project=distribution.project,
        version=str(distribution.version),
        filename=distribution.file_name,
        verified=verification.verified,
        exit_code=verification.exit_code,
        failed=None if failure is None else failure.name,
        code=None if failure is None else failure.code,
        reason=verification.steps[-1].reason if failure is None else failure.reason,
        serial=found.state.head.serial,
        checked_at=now,
        steps=[StepAnswer.of(step) for step in verification.steps],
    )


def verification_router(verifying: Verifying) -> APIRouter:
    """Return the route below /api/v1/verify."""
    router = APIRouter(prefix="/api/v1/verify")

    @router.get("/{owner}/{index}/{project}/{version}/{filename}", responses=_LATER)
    async def verify_file(
        owner: str, index: str, project: str, version: str, filename: str, request: Request
    ) -> VerificationAnswer:
        """Verify the chain of a file, from the first root to the policy; for those who may read it."""
        said = request.headers.get("authorization")
        named = named_by(project, version, filename)
        if named is None:
            raise ServiceError(ErrorKind.NOT_FOUND, "There is no file of this index, project, version and name.")
        return await verifying.verify(f"{owner}/{index}", named, None if said is None else said.encode("latin-1"))

    return router
