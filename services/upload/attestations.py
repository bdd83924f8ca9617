"""Attestations on their way in: verified, bound to whoever uploads, judged by the policy, and only then kept.

1. What arrives is read (`attestation_rules`): structure, statement, subject.
2. PEP 740 objects become the Sigstore bundles that they are, in the one canonical form; those are what is kept.
3. The warm process verifies every bundle against the roots that the trust role signs. One that fails refuses all.
4. The token of a trusted publisher binds them: the certificates must be of the very run that uploads.
5. The policy decides about the file. A file that has no attestation is judged as well.
6. Bundles are stored under their digests, absent only; then rows, audit and the job of a new pointer with the file.

Nothing unverified is kept, and nothing is left out without a word.
Source: contract python-index sections 4.1 and 4.2; architecture section 11.8; ADR 0037.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.attestations.facts import MalformedFacts, VerifiedBundle
from countermark.core.attestations.judgements import JudgedFile, Judgement
from countermark.core.attestations.results import Failed
from countermark.core.attestations.summary import SUMMARY
from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.digest import Length, Sha256, sha256_of
from countermark.core.names import FileName, NormalizedName
from services.upload.attestation_rules import (
    BUILD_PROVENANCE,
    Arrived,
    NoAttestations,
    ascii_of,
    check_publisher,
    publisher_of,
    read_field,
    read_posted,
    refused,
)
from services.upload.indexes import keep_index
from services.upload.rules import Fields
from shared.attesting.judging import Judging
from shared.auth.directory import IndexRecord
from shared.auth.permissions import Decision, authorize
from shared.auth.principal import Principal, Verb
from shared.catalogue import attestations, audit, outbox
from shared.catalogue.attestations import BUNDLE, PEP740, AttestedFile, NewAttestation, Stored, TooMany
from shared.catalogue.unit_of_work import UnitOfWork
from shared.errors import ErrorKind, ServiceError
from shared.ids import FileId, OutboxId
from shared.jobs.messages import PublishIndex
from shared.objects.interface import ObjectExists, ObjectStoreError, Put
from shared.objects.keys import file_key
from shared.resources import Resources

log = structlog.get_logger()

INVALID = "Invalid attestations supplied during upload: "
"""What a refusal begins with. Source: contract python-index section 4.1."""


@dataclass(frozen=True, slots=True)
class Attested:
    """The file that attestations are about.

    Attributes:
        there: whether the index has it already; then the policy is asked about what arrives and not about the file.
        named: what was verified of the attestation that its pointer is to name already; None without one.
    """

    index: IndexRecord
    project: NormalizedName
    version: str
    file_name: FileName
    sha256: Sha256
    there: bool = False
    named: VerifiedBundle | None = None

    @property
    def judged(self) -> JudgedFile:
        """The file as judgements know it."""
        return JudgedFile(str(self.index.name), self.project, self.version, self.file_name, self.sha256)

    def __str__(self) -> str:
        return f"{self.index.name}/{self.project}/{self.version}/{self.file_name}"


@dataclass(frozen=True, slots=True)
class Proven:
    """An attestation that verified, and may be kept."""

    bundle: bytes
    origin: str
    facts: VerifiedBundle
    publisher: dict[str, object] | None
    named: bool


class Attesting:
    """The use cases of attestations."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._judging = Judging(resources.settings.attestations, resources.verifying)

    def read(self, fields: Fields, file_name: FileName, sha256: Sha256) -> list[Arrived]:
        """Return the attestations of a form.

        Raises:
            ServiceError: invalid.
        """
        try:
            return read_field(fields, file_name, sha256)
        except NoAttestations as error:
            raise _invalid(error) from error

    def read_posted(self, body: bytes, file_name: FileName, sha256: Sha256) -> Arrived:
        """Return the attestation that the body of a request is.

        Raises:
            ServiceError: invalid.
        """
        try:
            return read_posted(body, file_name, sha256)
        except NoAttestations as error:
            raise _invalid(error) from error

    async def prove(self, file: Attested, arrived: Sequence[Arrived], principal: Principal) -> list[Proven]:
        """Verify what arrived with a file, and let the policy decide about it.

        Raises:
            ServiceError: invalid, one of them fails; forbidden, the policy does not take the file; unavailable.
        """
        if file.there and not arrived:
            return []
        material, had, publisher = await self._known(file, principal, bound=bool(arrived))
        now = int(self._resources.clock.now().timestamp())
        bundles = [one.bundle for one in arrived]
        judgement = await self._judging.judge(material, file.judged, None, bundles, now, had)
        evidence = _verified(judgement, many=len(arrived) > 1)
        if publisher is not None:
            _check_publisher(publisher, evidence)
        if not file.there and not judgement.passed:
            raise ServiceError(ErrorKind.FORBIDDEN, ascii_of(f"{judgement.reason}."))
        environment = None if publisher is None else publisher.get("environment")
        found: list[Proven] = []
        for one, report in zip(arrived, judgement.bundles, strict=True):
            facts = report.verified
            assert facts is not None
            named = False
            is_summary = facts.predicate_type == SUMMARY
            if facts.predicate_type in BUILD_PROVENANCE or (
                is_summary and self._judging.takes_summaries(material, file.judged)
            ):
                verdict = self._judging.evaluate(material, file.judged, report.evidence, now, had)
                if file.there and not verdict.allowed:
                    raise ServiceError(ErrorKind.FORBIDDEN, ascii_of(f"{verdict.reason}."))
                named = verdict.allowed if not is_summary else verdict.verifier is not None
            origin = PEP740 if one.pep740 else BUNDLE
            who = publisher_of(facts, environment if isinstance(environment, str) else None)
            found.append(Proven(one.bundle, origin, facts, who, named))
        if any(one.named and one.facts.predicate_type != SUMMARY for one in found) or self._stands(
            material, file, now, had
        ):
            # Build provenance says more than that somebody else looked at it.
            found = [replace(one, named=one.named and one.facts.predicate_type != SUMMARY) for one in found]
        return found

    def _stands(self, material: TrustMaterial, file: Attested, now: int, had: bool | None) -> bool:
        """Return whether the pointer is to name build provenance already, which the policy takes."""
        if file.named is None or file.named.predicate_type == SUMMARY:
            return False
        return self._judging.evaluate(material, file.judged, [file.named], now, had).allowed

    async def store(self, file: Attested, proven: Sequence[Proven]) -> None:
        """Put the bundles under their digests: what is there already is the same.

        Raises:
            ServiceError: unavailable.
        """
        store = self._resources.objects.side(public=file.index.public)
        name = attestations.object_name(file.file_name)
        puts = (store.put(file_key(sha256_of(one.bundle), name), one.bundle, Put.ABSENT) for one in proven)
        for outcome in await asyncio.gather(*puts, return_exceptions=True):
            if isinstance(outcome, ObjectStoreError) and not isinstance(outcome, ObjectExists):
                log.error("attestation_not_stored", error=str(outcome)[:500])
                words = "The attestations could not be stored; nothing was kept. Try again."
                raise ServiceError(ErrorKind.UNAVAILABLE, words) from outcome
            if isinstance(outcome, BaseException) and not isinstance(outcome, ObjectExists):
                raise outcome

    async def keep(
        self, connection: AsyncConnection, file: Attested, file_id: FileId, proven: Sequence[Proven], by: Principal
    ) -> int:
        """Add attestations whose bytes are stored to a file, in the caller's transaction; returns how many are new.

        Raises:
            ServiceError: conflict; the file has as many as one may have.
        """
        now, new = self._resources.clock.now(), 0
        side = "public" if file.index.public else "private"
        for one in proven:
            row = _row(file, file_id, one, by, now)
            try:
                added = await attestations.insert(connection, side, row)
            except TooMany as error:
                words = f"{file.file_name} has {attestations.MOST} attestations, as many as a file may have."
                raise ServiceError(ErrorKind.CONFLICT, words) from error
            if added:
                new += 1
                await _record(connection, file, row, by)
        return new

    async def add_to(
        self, index: IndexRecord, sha256: Sha256, file_name: FileName, arrived: Sequence[Arrived], by: Principal
    ) -> tuple[int, list[OutboxId]]:
        """Add attestations to a file that is there; returns how many are new, and the jobs that publish its pointer.

        Raises:
            ServiceError: as `prove`, `store`, `keep` and `keep_index`; not-found or gone, without such a file;
                forbidden by the status of its project.
        """
        async with self._resources.engine.connect() as connection:
            found = living(
                index, file_name, await attestations.file_at(connection, index.id, index.life, sha256, file_name)
            )
            kept = await attestations.of_file(connection, found.id)
        if found.status in {"archived", "quarantined"}:
            words = f"Project {found.project} is {found.status}: it takes no attestations."
            raise ServiceError(ErrorKind.FORBIDDEN, words)
        named = next((_facts_of(one) for one in kept if one.named), None)
        file = Attested(index, found.project, found.version, file_name, sha256, there=True, named=named)
        proven = await self.prove(file, arrived, by)
        await self.store(file, proven)
        async with UnitOfWork(self._resources.engine) as work:
            await keep_index(work.connection, index)
            if not await attestations.lock_living(work.connection, found.id):
                raise _gone(index, file_name)
            new = await self.keep(work.connection, file, found.id, proven, by)
            if not new:
                return 0, await outbox.open_changes(work.connection, index.id, found.project_id)
            job = await work.enqueue(PublishIndex(index.id, found.project_id, found.id))
            await work.commit()
        log.info("attestations_added", file_id=str(found.id), file_name=file_name, count=new)
        return new, [job]

    async def listed(
        self, index: IndexRecord, sha256: Sha256, file_name: FileName, principal: Principal
    ) -> list[Stored]:
        """Return the attestations of a file, oldest first; of one that pages do not show to those who work on it.

        Raises:
            ServiceError: not-found or gone, without such a file; as for the file itself, where readers may not have it.
        """
        async with self._resources.engine.connect() as connection:
            found = await attestations.file_at(connection, index.id, index.life, sha256, file_name)
            file = living(index, file_name, found)
            if not file.visible and not _works_on(principal, index, file):
                raise _unseen(index, file_name, file)
            return await attestations.of_file(connection, file.id)

    async def _known(
        self, file: Attested, principal: Principal, *, bound: bool
    ) -> tuple[TrustMaterial, bool | None, dict[str, object] | None]:
        """Return what trust signs, whether the project had provenance, and the publisher of a token.

        Raises:
            ServiceError: unavailable.
        """
        index, publisher, had = file.index, None, None
        material = await self._resources.trusted.material()
        async with self._resources.engine.connect() as connection:
            if material.policy is not None:
                had = await attestations.project_had_provenance(connection, index.id, index.life, file.project)
            if bound and principal.token_id is not None:
                publisher = await attestations.publisher_of(connection, principal.token_id)
        return material, had, publisher


def living(index: IndexRecord, file_name: FileName, found: AttestedFile | None) -> AttestedFile:
    """Return the file that was found.

    Raises:
        ServiceError: not-found, there is none; gone, it was removed.
    """
    if found is None:
        raise _none(index, file_name)
    if found.removed:
        raise _gone(index, file_name)
    return found


_WORKING = (Verb.UPLOAD, Verb.APPROVE, Verb.CONFIGURE)
"""Rights of which one shows what is held, or waits to be approved."""


def _works_on(principal: Principal, index: IndexRecord, file: AttestedFile) -> bool:
    at = index.resource(file.project)
    return any(authorize(principal, verb, at) is Decision.ALLOWED for verb in _WORKING)


def _unseen(index: IndexRecord, file_name: FileName, file: AttestedFile) -> ServiceError:
    """Return what a reader is told of a file that no publication shows: what the download of it is told."""
    if file.held is None:
        return _none(index, file_name)
    reason = f": {file.held}" if file.held else ""
    return ServiceError(ErrorKind.FORBIDDEN, ascii_of(f"{file_name} is held for review{reason}"))


def _none(index: IndexRecord, file_name: FileName) -> ServiceError:
    return ServiceError(ErrorKind.NOT_FOUND, f"{index.name} has no file {file_name} with this digest.")


def _gone(index: IndexRecord, file_name: FileName) -> ServiceError:
    return ServiceError(ErrorKind.GONE, f"{file_name} was removed from {index.name}.")


def _facts_of(row: Stored) -> VerifiedBundle | None:
    """Return what was found of an attestation when it was kept; None for what cannot be read any more."""
    try:
        return VerifiedBundle.from_document(row.facts)
    except MalformedFacts:
        return None


def _verified(judgement: Judgement, *, many: bool) -> list[VerifiedBundle]:
    """Return what is proven of every bundle.

    Raises:
        ServiceError: invalid; one of them fails.
    """
    for number, report in enumerate(judgement.bundles, 1):
        if report.failure is not None:
            raise _invalid(refused(report.failure, number if many else None))
    return [report.verified for report in judgement.bundles if report.verified is not None]


def _check_publisher(publisher: dict[str, object], evidence: Sequence[VerifiedBundle]) -> None:
    for number, facts in enumerate(evidence, 1):
        try:
            check_publisher(publisher, facts)
        except Failed as failure:
            raise _invalid(refused(failure, number if len(evidence) > 1 else None)) from failure


def _row(file: Attested, file_id: FileId, one: Proven, by: Principal, now: datetime) -> NewAttestation:
    return NewAttestation(
        index_id=file.index.id,
        file_id=file_id,
        file_name=file.file_name,
        sha256=sha256_of(one.bundle),
        length=Length(len(one.bundle)),
        predicate_type=one.facts.predicate_type,
        origin=one.origin,
        publisher=one.publisher,
        facts=one.facts.to_document(),
        named=one.named,
        added_at=now,
        added_by=by.account,
        token_id=by.token_id,
    )


async def _record(connection: AsyncConnection, file: Attested, row: NewAttestation, by: Principal) -> None:
    """Record who brought which attestation: the registry will name it in what it signs."""
    token = {} if by.token_id is None else {"token": str(by.token_id)}
    await audit.record(
        connection,
        at=row.added_at,
        actor=by.account or "",
        action="file.attest",
        subject=str(file),
        sha256=file.sha256,
        attestation=row.sha256,
        predicate_type=row.predicate_type,
        named=row.named,
        **token,
    )


def _invalid(error: Exception) -> ServiceError:
    return ServiceError(ErrorKind.INVALID, ascii_of(f"{INVALID}{error}."))
