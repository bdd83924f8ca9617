"""New files, and visible ones with a new attestation, are judged once more before they are signed.

Upload judged them before they were admitted. Since then the policy may have become another one, and bytes in the store
may have been replaced: so bundles are read and hashed again, verified again by the roots that trust signs now, and
evaluated by the policy that it signs now. What fails is refused, and its upload's status says why. Where nothing can
be judged nothing is signed.
Source: trust contract sections 2.6 and 4; ADR 0040.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.attestations.judgements import JudgedFile, Judgement
from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.digest import sha256_of
from countermark.core.names import NormalizedName
from countermark.core.policy import InvalidPolicy, Policy, parse_policy
from services.signing.publication import tree
from services.signing.publication.batch import Batch
from services.signing.publication.summaries import summary
from shared.attesting.judging import Judging
from shared.attesting.trusted import TrustRefused
from shared.catalogue import attestations
from shared.catalogue.attestations import Stored
from shared.catalogue.publication_rows import FileState, ProjectState
from shared.errors import ErrorKind, ServiceError
from shared.ids import FileId, ProjectId
from shared.objects.interface import ObjectStore
from shared.resources import Resources

log = structlog.get_logger()

T = TypeVar("T")

_AT_ONCE = 4
"""Files judged at the same time."""

_UNUSABLE = "what the trust role signs for attestations cannot be used"

_TRIES, _PAUSE = 3, 2.0
"""How often a file is judged when that cannot be done, and seconds in between."""


@dataclass(frozen=True, slots=True)
class _Question:
    """A file to judge; `wanted` are the types of attestations that the policy's rule asks for."""

    file: FileState
    about: JudgedFile
    named: Stored | None
    others: Sequence[Stored]
    had_provenance: bool | None
    wanted: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """What was found.

    Attributes:
        faults: files that must not be signed with the attestations that they are to have, each with the reason.
        summaries: of files that were shown to satisfy a policy.
    """

    faults: dict[FileId, str] = field(default_factory=dict)
    summaries: dict[FileId, bytes] = field(default_factory=dict)


class Judge:
    """Judges the files of batches; keeps what trust signs, as long as that is the newest."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._judging = Judging(resources.settings.attestations, resources.verifying)
        self._material: tuple[TrustMaterial, Policy | None] | None = None

    async def judge(self, batch: Batch, projects: Sequence[ProjectState], files: Sequence[FileState]) -> Judged:
        """Judge files by what trust signs now.

        Args:
            files: those that become visible, and visible ones whose pointers are to name another attestation.

        Raises:
            ObjectStoreError: the store cannot be read.
        """
        if not files:
            return Judged()
        names = {project.id: project.name for project in projects}
        try:
            material, policy = await self._current()
        except (ServiceError, InvalidPolicy) as error:
            # Files that are published, and what takes them away, need no judgement and go on.
            words = error.detail if isinstance(error, ServiceError) else f"{_UNUSABLE}: {error}"
            log.error("nothing_to_judge_by", index=str(batch.index.name), error=words)
            return Judged(dict.fromkeys((file.id for file in files), words))
        async with self._resources.engine.connect() as connection:
            questions = await _questions(connection, batch, policy, names, files)
        store = self._resources.objects.side(public=batch.index.public)
        places, found = asyncio.Semaphore(_AT_ONCE), Judged()

        async def ask(question: _Question) -> None:
            async with places:
                said = await self._asked(store, material, question, int(batch.started_at.timestamp()))
            if isinstance(said, str):
                found.faults[question.file.id] = said
            elif material.policy is not None:
                told = summary(question.about, said, sha256_of(material.policy), batch.started_at)
                if told is not None:
                    found.summaries[question.file.id] = told

        async with asyncio.TaskGroup() as group:
            for question in questions:
                group.create_task(ask(question))
        return found

    async def _current(self) -> tuple[TrustMaterial, Policy | None]:
        """Return what trust signs now, and its policy.

        Raises:
            ServiceError: UNAVAILABLE; it cannot be used, or could not be verified.
            InvalidPolicy: the policy cannot be read.
        """
        material = await _tried(self._resources.trusted.material)
        if self._material is None or material is not self._material[0]:
            self._material = material, None if material.policy is None else parse_policy(material.policy)
        return self._material

    async def _asked(
        self, store: ObjectStore, material: TrustMaterial, question: _Question, now: int
    ) -> Judgement | str:
        """Return the judgement that lets a file be signed, or why it may not be."""
        bodies: list[bytes] = []
        rows = [*([] if question.named is None else [question.named]), *question.others]
        for row in rows:
            found = await tree.read_bundle(store, question.file, row.sha256, row.length)
            if isinstance(found, str):
                return found
            bodies.append(found)
        named, others = (None, bodies) if question.named is None else (bodies[0], bodies[1:])
        about, had = question.about, question.had_provenance
        try:
            judgement = await _tried(lambda: self._judging.judge(material, about, named, others, now, had))
        except ServiceError as error:
            return f"its attestations could not be judged: {error.detail}"
        return _words(judgement) or self._fault_of_named(material, question, judgement, now) or judgement

    def _fault_of_named(
        self, material: TrustMaterial, question: _Question, judgement: Judgement, now: int
    ) -> str | None:
        """Return why the attestation that the pointer is to name is not one to name: clients have that one, and who
        knows which others. What is of a type that the rule asks for has to satisfy it by itself."""
        named = question.named
        if named is None or named.predicate_type not in question.wanted:
            return None
        evidence = judgement.bundles[0].evidence
        verdict = self._judging.evaluate(material, question.about, evidence, now, question.had_provenance)
        if verdict.allowed:
            return None
        return (
            f"the policy does not take the attestation that its pointer would name ({verdict.step}): {verdict.reason}"
        )


async def _tried(ask: Callable[[], Awaitable[T]]) -> T:
    """Return what is asked for, tried again while that cannot be done.

    Raises:
        ServiceError: UNAVAILABLE, at the last try; at the first, what trying again does not change.
    """
    for _ in range(_TRIES - 1):
        try:
            return await ask()
        except TrustRefused:
            raise
        except ServiceError as error:
            if error.kind is not ErrorKind.UNAVAILABLE:
                raise
        await asyncio.sleep(_PAUSE)
    return await ask()


def _words(judgement: Judgement) -> str | None:
    """Return why a file is not signed, as one sentence; None when it may be. Pure."""
    if judgement.passed:
        return None
    if (judgement.bundles and not judgement.verdict.allowed) or not judgement.bundles:
        return f"the policy for attestations does not let it be signed ({judgement.step}): {judgement.reason}"
    return f"its attestation does not verify ({judgement.step}): {judgement.reason}"


async def _questions(
    connection: AsyncConnection,
    batch: Batch,
    policy: Policy | None,
    names: Mapping[ProjectId, NormalizedName],
    files: Sequence[FileState],
) -> list[_Question]:
    """Return what is to be judged: without a policy the attestations that pointers name, with one every file."""
    index = str(batch.index.name)
    asked = [file for file in files if policy is not None or file.attestation is not None]
    rows = await attestations.of_files(connection, [file.id for file in asked])
    questions = []
    for file in asked:
        project = names[file.project_id]
        mine = rows.get(file.id, [])
        named = next((row for row in mine if row.sha256 == file.named_sha256), None)
        others = [row for row in mine if row is not named] if policy is not None else []
        had = None
        rule = None if policy is None else policy.rule_for(index, project)
        if rule is not None and rule.continuity:
            had = await attestations.had_provenance(connection, file.project_id, before=file.uploaded_at)
        about = JudgedFile(index, project, file.version, file.file_name, file.sha256)
        wanted = rule.types if rule is not None and rule.attested else ()
        questions.append(_Question(file, about, named, others, had, wanted))
    return questions
