"""`countermark-server policy dry-run`: a proposed policy on every hosted file, from what was verified of each.

Nothing is verified again: facts are what verification found when an attestation was kept. Roots are compared by their
target paths, since each policy may call them by another name.
Source: issue 7/7 item 4; ADR 0038.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.attestations.facts import MalformedFacts, RootKind, VerifiedBundle
from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.ceremony.tree import is_trust_target
from countermark.core.names import IndexName, InvalidName, parse_index_name
from countermark.core.policy import (
    MAX_POLICY_BYTES,
    InvalidPolicy,
    Policy,
    PolicyFile,
    Verdict,
    evaluate,
    parse_policy,
)
from deploy.administration import catalogue
from deploy.errors import LaunchError, UsageError
from shared.attesting.processes import Verifying
from shared.attesting.trusted import Trusted
from shared.catalogue import listings
from shared.catalogue.dry_run import HostedFile, hosted_files
from shared.clock import SystemClock
from shared.errors import ServiceError
from shared.metrics import Metrics
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that the proposed policy would refuse.

    Attributes:
        is_new: the policy that is signed now takes it.
    """

    file: HostedFile
    verdict: Verdict
    is_new: bool

    def to_document(self) -> dict[str, Any]:
        """Return this in JSON."""
        file = self.file
        about = {"index": file.index, "project": file.project, "version": file.version, "file": file.file_name}
        return {**about, "sha256": file.sha256, "new": self.is_new, "verdict": self.verdict.to_document()}


@dataclass(slots=True)
class Counts:
    """What became of the files that were looked at.

    Attributes:
        unattested: taken without evidence, because none is demanded.
        refused: by exit code.
        newly: refused, and taken by the policy that is signed now.
        unreadable: attestations whose facts could not be read, and did not count.
    """

    files: int = 0
    taken: int = 0
    unattested: int = 0
    newly: int = 0
    unreadable: int = 0
    refused: Counter[int] = field(default_factory=Counter)

    def to_document(self) -> dict[str, Any]:
        """Return this in JSON."""
        return {
            "files": self.files,
            "taken": self.taken,
            "taken_without_evidence": self.unattested,
            "refused": sum(self.refused.values()),
            "refused_by_code": {str(code): count for code, count in sorted(self.refused.items())},
            "newly_refused": self.newly,
            "unreadable_facts": self.unreadable,
        }


@dataclass(frozen=True, slots=True)
class DryRun:
    """A proposed policy beside the one that is signed.

    Attributes:
        signed: None where none is, or where it cannot be read.
    """

    proposed: Policy
    signed: Policy | None
    now: int
    counts: Counts = field(default_factory=Counts)

    def judge(self, file: HostedFile) -> Refused | None:
        """Evaluate both policies; returns what the proposed one refuses."""
        counts = self.counts
        counts.files += 1
        evidence = list(self._evidence(file.facts))
        asked = PolicyFile(file.index, file.project, file.version, file.file_name)
        names = {path: name for name, path in self.proposed.roots.items()}
        verdict = evaluate(self.proposed, asked, _renamed(evidence, self.signed, names), self.now, file.had_provenance)
        if verdict.allowed:
            counts.taken += 1
            counts.unattested += not verdict.demanded
            return None
        counts.refused[verdict.exit_code] += 1
        is_new = evaluate(self.signed, asked, evidence, self.now, file.had_provenance).allowed
        counts.newly += is_new
        return Refused(file, verdict, is_new)

    def _evidence(self, facts: Iterable[Mapping[str, Any]]) -> Iterator[VerifiedBundle]:
        for document in facts:
            try:
                yield VerifiedBundle.from_document(document)
            except MalformedFacts:
                self.counts.unreadable += 1


def _renamed(
    evidence: Iterable[VerifiedBundle], signed: Policy | None, names: Mapping[str, str]
) -> list[VerifiedBundle]:
    """Return evidence with its roots called as the proposed policy calls them.

    Args:
        names: target path -> name there.
    """
    paths: Mapping[str, str] = {} if signed is None else signed.roots
    return [
        one if one.root_kind == RootKind.KEY else replace(one, root=_root(one.root, paths, names)) for one in evidence
    ]


def _root(recorded: str, paths: Mapping[str, str], names: Mapping[str, str]) -> str:
    """Return how the proposed policy calls a root that was recorded by its path, or as the signed policy calls it."""
    path = paths.get(recorded, recorded)
    if not is_trust_target(path):
        return f"{path} (a name of an earlier policy)"
    # What the proposed policy does not name is nobody's there: a path is never a name.
    return names.get(path, path)


def read_proposed(path: Path) -> Policy:
    """Return the policy in a file.

    Raises:
        UsageError: it cannot be read, or is none.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_POLICY_BYTES + 1)
        return parse_policy(data)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except InvalidPolicy as error:
        raise UsageError(f"{path} is no policy: {error}") from error


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
        LaunchError: the catalogue cannot be read.
    """
    proposed = read_proposed(policy)
    wanted = None if index is None else _index(index)
    async with catalogue(settings) as engine, engine.connect() as connection:
        if wanted is not None and await listings.index_id(connection, wanted) is None:
            raise UsageError(f"there is no index {wanted}: see countermark-server index list")
        try:
            material = await _trusted(settings, engine)
        except ServiceError as error:
            raise LaunchError(error.detail) from error
        run = DryRun(proposed, _signed(material.policy), int(SystemClock().now().timestamp()))

        async def refused() -> AsyncIterator[Refused]:
            async for file in hosted_files(connection, wanted):
                if (found := run.judge(file)) is not None:
                    yield found

        yield run.counts, refused()


async def _trusted(settings: Settings, engine: AsyncEngine) -> TrustMaterial:
    """Return what trust signs.

    Raises:
        ServiceError: it cannot be used.
    """
    async with Verifying() as verifying:
        first_root = settings.attestations.first_root
        return await Trusted(engine, verifying, SystemClock(), Metrics(), first_root).material()


def _signed(data: bytes | None) -> Policy | None:
    try:
        return None if data is None else parse_policy(data)
    except InvalidPolicy:
        return None


def _index(text: str) -> IndexName:
    try:
        return parse_index_name(text)
    except InvalidName as error:
        raise UsageError(str(error)) from error
