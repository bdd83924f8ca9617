"""`countermark-server policy dry-run`: a proposed policy on every hosted file, judged as if trust signed it.

Each file is judged by the code of upload and signing, on the bundles that are kept of it, which are read and verified
again: by the roots, keys and kinds of log that the proposed policy names. A file that is refused so, by a rule that
takes what a verifier found, is then judged as its download is: to clients the registry's own signed summary is
evidence, which the registry never takes for itself.
Source: issue 7/7 item 4; ADR 0038, 0043 and 0048.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.attestations.bundle import MAX_BUNDLE_BYTES
from countermark.core.attestations.judgements import JudgedFile, Judgement
from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.digest import Sha256
from countermark.core.names import IndexName, InvalidName, parse_index_name
from countermark.core.policy import MAX_POLICY_BYTES, InvalidPolicy, parse_policy
from deploy.administration import catalogue
from deploy.errors import LaunchError, UsageError
from deploy.open_resources import open_objects
from services.download.verification.stored import read_object
from shared.attesting.judging import Judging
from shared.attesting.own_summaries import own_summary
from shared.attesting.processes import Verifying
from shared.attesting.trusted import Trusted
from shared.catalogue import listings
from shared.catalogue.dry_run import HostedFile, hosted_files
from shared.clock import SystemClock
from shared.errors import ServiceError
from shared.metrics import Metrics
from shared.objects.interface import Key, ObjectStoreError, ObjectStores
from shared.objects.keys import bundle_key
from shared.settings import Settings

_AT_ONCE = 4
"""Files judged at the same time: bundles of one are verified while those of the next are read."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that the proposed policy would refuse.

    Attributes:
        is_new: by what is signed now it is taken.
    """

    file: HostedFile
    judgement: Judgement
    is_new: bool

    def to_document(self) -> dict[str, Any]:
        """Return this in JSON."""
        file, judgement = self.file, self.judgement
        about = {"index": str(file.index), "project": file.project, "version": file.version, "file": file.file_name}
        ends = {"exit_code": judgement.exit_code, "step": judgement.step, "reason": judgement.reason}
        return {**about, "sha256": file.sha256, "new": self.is_new, **ends, "verdict": judgement.verdict.to_document()}


@dataclass(slots=True)
class Counts:
    """What became of the files that were looked at.

    Attributes:
        unattested: taken without evidence, because none is demanded.
        vouched: taken by clients alone, on the registry's own word: neither upload nor signing would take them again.
        refused: by exit code.
        newly: refused, and taken by what is signed now.
        unreadable: attestations whose bytes are not in the store as they were kept, and did not count.
    """

    files: int = 0
    taken: int = 0
    unattested: int = 0
    vouched: int = 0
    newly: int = 0
    unreadable: int = 0
    refused: Counter[int] = field(default_factory=Counter)

    def to_document(self) -> dict[str, Any]:
        """Return this in JSON."""
        return {
            "files": self.files,
            "taken": self.taken,
            "taken_without_evidence": self.unattested,
            "taken_by_own_summary": self.vouched,
            "refused": sum(self.refused.values()),
            "refused_by_code": {str(code): count for code, count in sorted(self.refused.items())},
            "newly_refused": self.newly,
            "unreadable_attestations": self.unreadable,
        }


@dataclass(frozen=True, slots=True)
class _Evidence:
    """The bundles that are kept of a file, as bytes."""

    named: bytes | None
    others: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class _Found:
    """A judgement; `by_clients` when it is one that only clients come to."""

    judgement: Judgement
    by_clients: bool


@dataclass(frozen=True, slots=True)
class DryRun:
    """A proposed policy beside what is signed.

    Attributes:
        signed: what trust signs now, with the deployment's own keys.
        policy: the bytes of the proposed one.
        now: seconds since 1970.
    """

    engine: AsyncEngine
    objects: ObjectStores
    judging: Judging
    signed: TrustMaterial
    policy: bytes
    now: int
    counts: Counts = field(default_factory=Counts)

    async def refused(self, files: AsyncIterator[HostedFile]) -> AsyncIterator[Refused]:
        """Judge files, and yield those that the proposed policy refuses, in their order.

        Raises:
            LaunchError: one cannot be judged now: the store or the verifying process fails.
        """
        waiting: list[HostedFile] = []
        async for file in files:
            waiting.append(file)
            if len(waiting) == _AT_ONCE:
                for found in await self._judge_all(waiting):
                    yield found
                waiting.clear()
        for found in await self._judge_all(waiting):
            yield found

    async def _judge_all(self, files: Sequence[HostedFile]) -> list[Refused]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._judge(file)) for file in files]
        except* (ServiceError, ObjectStoreError) as errors:
            first = next(one for one in errors.exceptions if isinstance(one, ServiceError | ObjectStoreError))
            words = first.detail if isinstance(first, ServiceError) else str(first)
            raise LaunchError(f"not every file could be judged: {words}") from errors
        return [found for task in tasks if (found := task.result()) is not None]

    async def _judge(self, file: HostedFile) -> Refused | None:
        """Judge a file by the proposed policy, and by the signed one what that refuses."""
        counts = self.counts
        evidence = await self._evidence(file)
        found = await self._judged(replace(self.signed, policy=self.policy), file, evidence)
        judgement = found.judgement
        counts.files += 1
        if judgement.passed:
            counts.taken += 1
            counts.unattested += not judgement.verdict.demanded
            counts.vouched += found.by_clients
            return None
        is_new = (await self._judged(self.signed, file, evidence)).judgement.passed
        counts.refused[judgement.exit_code] += 1
        counts.newly += is_new
        return Refused(file, judgement, is_new)

    async def _judged(self, material: TrustMaterial, file: HostedFile, evidence: _Evidence) -> _Found:
        """Judge a file as signing does; what that refuses and summaries may satisfy, as verification of its download.

        What signing takes clients take as well: to them no key is the own one, and there is more evidence.
        """
        about = JudgedFile(str(file.index), file.project, file.version, file.file_name, file.sha256)
        named, others, had = evidence.named, evidence.others, file.had_provenance
        judgement = await self.judging.judge(material, about, named, others, self.now, had)
        by_clients = not judgement.passed and self.judging.takes_summaries(material, about)
        if by_clients:
            others = [*others, *await self._summary(file, about)]
            of_clients = replace(material, own_keys=frozenset())
            judgement = await self.judging.judge(of_clients, about, named, others, self.now, had)
        return _Found(judgement.for_clients(is_named=named is not None), by_clients)

    async def _evidence(self, file: HostedFile) -> _Evidence:
        named, others = None, list[bytes]()
        for one in file.kept:
            body = await self._read(file, bundle_key(one.sha256, file.file_name), one.sha256)
            if body is None:
                self.counts.unreadable += 1
            elif one.named:
                named = body
            else:
                others.append(body)
        return _Evidence(named, others)

    async def _summary(self, file: HostedFile, about: JudgedFile) -> list[bytes]:
        async with self.engine.connect() as connection:
            signed = await own_summary(connection, file.index_id, about)
        body = None if signed is None else await self._read(file, *signed)
        return [] if body is None else [body]

    async def _read(self, file: HostedFile, key: Key, sha256: Sha256) -> bytes | None:
        found = await read_object(self.objects.side(public=file.public), key, MAX_BUNDLE_BYTES)
        return None if found is None or found.sha256 != sha256 else found.body


def read_proposed(path: Path) -> bytes:
    """Return the bytes of the policy in a file.

    Raises:
        UsageError: it cannot be read, or is none.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_POLICY_BYTES + 1)
        parse_policy(data)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except InvalidPolicy as error:
        raise UsageError(f"{path} is no policy: {error}") from error
    return data


@asynccontextmanager
async def dry_run(
    settings: Settings, policy: Path, index: str | None
) -> AsyncIterator[tuple[Counts, AsyncIterator[Refused]]]:
    """Open a run: counts, which are true once the files that would be refused were all taken from the other.

    Args:
        policy: file with the proposed policy.
        index: `owner/name`; None for all.

    Raises:
        UsageError: the policy is none, or there is no such index.
        LaunchError: the catalogue or the store cannot be read, or a file cannot be judged now.
    """
    proposed = await asyncio.to_thread(read_proposed, policy)
    wanted = None if index is None else _index(index)
    clock, metrics = SystemClock(), Metrics()
    async with (
        catalogue(settings, pool=2 + _AT_ONCE) as engine,
        open_objects(settings, metrics) as objects,
        Verifying() as verifying,
        engine.connect() as connection,
    ):
        if wanted is not None and await listings.index_id(connection, wanted) is None:
            raise UsageError(f"there is no index {wanted}: see countermark-server index list")
        trusted = Trusted(engine, verifying, clock, metrics, settings.attestations.first_root)
        try:
            signed = await trusted.material()
        except ServiceError as error:
            raise LaunchError(error.detail) from error
        judging = Judging(settings.attestations, verifying)
        run = DryRun(engine, objects, judging, signed, proposed, int(clock.now().timestamp()))
        yield run.counts, run.refused(hosted_files(connection, wanted))


def _index(text: str) -> IndexName:
    try:
        return parse_index_name(text)
    except InvalidName as error:
        raise UsageError(str(error)) from error
