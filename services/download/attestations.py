"""Verifies the attestations of a mirrored file when somebody asks, and tells step by step what was found.

Whoever may read the file may ask, and is refused as for the file. Of hosted files the whole chain is verified instead
(`services.download.verification`).
Source: contract python-index sections 4.4 and 5.1 (5); architecture section 11.6; ADR 0031.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from countermark.core.attestations.results import Step
from countermark.core.digest import InvalidDigest, Sha256, parse_sha256
from countermark.core.names import IndexName, InvalidName, parse_index_name
from services.download.callers import caller_of
from services.download.reader import Reader
from services.download.rules import FileWanted, wanted_at
from services.download.usecases import looked
from services.download.verification.fair import FairTurns, Shares
from shared.attesting.verifier import AttestationVerifier
from shared.auth.verifier import Verifier
from shared.catalogue.mirror_files import Kept
from shared.errors import ErrorKind, ServiceError
from shared.faces import Face, FaceKind
from shared.fetching.fetching import Fetching
from shared.formats.python.pages import PROVENANCE_SUFFIX
from shared.reading.access import Access
from shared.reading.mirrored import MirroredFile
from shared.resources import Resources


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class StepFailure(_Answer):
    """The first step that failed."""

    step: Step
    detail: str = Field(description="for people; may change")


class CheckedStep(_Answer):
    """A step."""

    step: Step
    passed: bool | None = Field(description="null: not looked at, since one before it failed")


class CheckedAttestation(_Answer):
    """What was found out of one attestation."""

    publisher: dict[str, Any] = Field(description="as the provenance object says")
    predicate_type: str | None
    verified: bool
    steps: list[CheckedStep]
    failure: StepFailure | None
    signed_at: int | None = Field(description="seconds since 1970, as the transparency log says; null until verified")
    certificate: dict[str, str] = Field(
        description="what the certificate says of the build, by object identifier; empty until verified"
    )
    unproven: list[str] = Field(description="keys of publisher that no certificate can bear out")


class TrustedRoot(_Answer):
    """What was verified against."""

    kind: str = Field(description="public, or configured: attestations.trusted_root")
    sha256: str | None = Field(None, description="of the trust root; null when it was not needed")


class CheckedProvenance(_Answer):
    """What was found out of a file's provenance object."""

    filename: str
    sha256: str
    provenance_sha256: str = Field(description="of the object that was verified, as it is served")
    verified: bool = Field(description="whether there is an attestation, and none failed")
    failure: StepFailure | None = Field(description="why the object as a whole is none; then attestations is empty")
    attestations: list[CheckedAttestation]
    trusted_root: TrustedRoot


_SHARES = Shares(at_once=4, at_once_each=2, waiting=64, waiting_each=8, patience=30.0)
"""So many ask the verifying processes at the same time, which uploads and verify on read need too."""


class Attesting:
    """Finds provenance objects and has them verified."""

    def __init__(self, resources: Resources, access: Access, who: Verifier, reader: Reader, fetching: Fetching) -> None:
        self._resources = resources
        self._access = access
        self._who = who
        self._reader = reader
        self._fetching = fetching
        self._turns = FairTurns(_SHARES)
        self._verifier = AttestationVerifier(resources.settings.attestations, resources.verifying)

    async def check(self, index: str, sha256: str, file_name: str, authorization: bytes | None) -> CheckedProvenance:
        """Verify the attestations of the file that an index serves under a name and a digest.

        Args:
            index: `owner/name`.

        Raises:
            ServiceError: as for the file itself; NOT_FOUND where it has no provenance object; UPSTREAM or UNAVAILABLE,
                the object cannot be had, or cannot be verified now; TOO_MANY, the caller waits for too many others.
        """
        name, digest, wanted, face = _asked(index, sha256, file_name)
        place = await self._access.enter(face, authorization)
        entry = await self._reader.entry(place, wanted)
        _, seen, _ = await looked(self._resources, place, wanted)
        file = seen.file
        if entry.source is None or not isinstance(file, MirroredFile) or file.sha256 != digest:
            raise ServiceError(
                ErrorKind.NOT_FOUND, f"{name} has no file {wanted.file_name} with this digest and provenance."
            )
        body = entry.body
        if body is None:
            body = await self._fetching.body(entry.source, Kept(entry.sha256, entry.length))
        async with self._turns.turn(self._turns.ask(caller_of(self._who, authorization))):
            found = await self._verifier.verify(body, wanted.file_name, digest)
        about = {"filename": wanted.file_name, "sha256": digest, "provenance_sha256": entry.sha256}
        return CheckedProvenance.model_validate(about | found)


def _asked(index: str, sha256: str, file_name: str) -> tuple[IndexName, Sha256, FileWanted, Face]:
    """Return which provenance object is asked for, and the address at which it is served.

    Raises:
        ServiceError: NOT_FOUND; there can be none.
    """
    try:
        name = parse_index_name(index)
    except InvalidName as error:
        raise ServiceError(ErrorKind.NOT_FOUND, "There is no such index.") from error
    try:
        digest = parse_sha256(sha256)
    except InvalidDigest as error:
        raise ServiceError(ErrorKind.NOT_FOUND, "Digests are written as 64 lower-case hex characters.") from error
    rest = f"{digest[:3]}/{digest[3:16]}/{file_name}{PROVENANCE_SUFFIX}"
    face = Face(name, FaceKind.FILE, rest, f"/{name}/")
    wanted = wanted_at(face)
    if wanted is None:
        raise ServiceError(ErrorKind.NOT_FOUND, f"There can be no file of this name in index {name}.")
    return name, digest, wanted, face
