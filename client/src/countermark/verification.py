"""Download and verify: from the name that was asked for to bytes that are proven, one step after the other.

1. *root*: where trust starts (`roots`).
2. *metadata*: root, timestamp, snapshot, targets (`updater`; trust contract section 1.1).
3. *latest* or *page*: which file is meant, from signed documents; never from a listing. An index with bases (`bases`)
   takes steps 2 to 4 in the repository of each index that is asked (`trusted_view`).
4. *pointer*: read, and bound to what was asked (`core.binding`).
5. *artifact*: streamed to a temporary file, or the local file read; length, then digest.
6. *attestation*: its bytes, when the pointer names one.
7. *policy*: what the registry's offline keys demand.
8. *place*: the file gets its name.

The first failure ends the run. Source: trust contract section 3.3.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from countermark.cache import Cache
from countermark.choosing import NOBODY, Chooser, Chosen, Interpreter, Wanted
from countermark.core.binding import Asked, check_pointer
from countermark.core.errors import (
    ArtifactRefused,
    AttestationAltered,
    AttestationUnreadable,
    PointerMismatch,
    PointerUnreadable,
    PolicyRefused,
    UsageFault,
)
from countermark.core.filenames import Distribution, parse_distribution
from countermark.core.names import IndexName, InvalidName
from countermark.core.pointer import MAX_POINTER_BYTES, MalformedPointer, Pointer, Resource, parse_pointer
from countermark.credentials import Notify
from countermark.location import Location
from countermark.placing import compare, fetch_resource, holds, measure_file, part_in
from countermark.progress import Meter, Silent
from countermark.roots import PinStore, RootChoice, choose_root
from countermark.transport import ByteSource
from countermark.trusted_view import TrustedView, opened_view
from countermark.updater import POLICY_TARGET
from countermark.views import ViewChoice, ViewStore, choose_view

MAX_ATTESTATION_BYTES = 16 * 1024 * 1024
"""Bytes; a bundle has some ten thousand."""


class PolicyMode(StrEnum):
    """What follows the artifact's digest: the signed policy, or nothing (the run then ends with `INTEGRITY_ONLY`)."""

    SIGNED = "signed"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Step:
    """One finished step, with facts that are JSON-ready."""

    name: str
    facts: Mapping[str, object] = field(default_factory=dict)


_WHAT_INSTEAD = "Take a newer countermark; or, to stop after the digest, run with --policy none (exit code 3)."

Report = Callable[[Step], None]
"""Is told of each finished step."""


@dataclass(frozen=True, slots=True)
class Repository:
    """One index and all that is needed to read it."""

    location: Location
    source: ByteSource
    cache: Cache
    pins: PinStore
    choice: RootChoice
    notify: Notify
    views: ViewStore
    bases: ViewChoice = field(default_factory=ViewChoice)


@dataclass(frozen=True, slots=True)
class Proven:
    """A pointer that is signed and about what was asked, where it lies, and whether the trust role holds a policy."""

    location: Location
    distribution: Distribution
    pointer: Pointer
    has_policy: bool


@dataclass(frozen=True, slots=True)
class Verifier:
    """Downloads and verifies from one repository.

    Attributes:
        repository: where from.
        mode: whether policy is checked.
        report: is told of each step.
        meter: follows the files that are read.
    """

    repository: Repository
    mode: PolicyMode
    report: Report
    meter: Meter = field(default_factory=Silent)

    def download(self, wanted: Wanted, dest: Path, interpreter: Interpreter, *, may_keep: bool = False) -> list[Path]:
        """Download and verify; return the placed files.

        Args:
            wanted: what.
            dest: the folder to place files in.
            interpreter: what a wheel is chosen for, when a version and no file is asked for.
            may_keep: a file that lies in `dest` with the signed bytes is not fetched again.

        Raises:
            ClientError: the first step that failed; its class has the exit code.
        """
        with self.metadata() as view:
            proven = self.prove(view, wanted, interpreter)
        fetch = self.fetch_or_keep if may_keep else self.fetch
        return [fetch(each, dest, self.repository.source) for each in proven]

    def prove(self, view: TrustedView, wanted: Wanted, interpreter: Interpreter) -> list[Proven]:
        """Do steps 3 and 4: choose the files that are meant, and read the pointer of each.

        Raises:
            ClientError: the first step that failed.
        """
        chosen = self._choose(view, wanted, interpreter)
        proven = [self._prove(view, each) for each in chosen]
        for each in proven:
            if wanted.hashes and each.pointer.file.digest not in wanted.hashes:
                raise PointerMismatch(
                    f"{each.distribution.file_name} is signed with sha256 {each.pointer.file.digest}, which is none of "
                    "those you allow"
                )
        return proven

    def verify(self, file: Path) -> None:
        """Verify a local file by its name, length and digest.

        Raises:
            ClientError: the first step that failed; its class has the exit code.
        """
        try:
            distribution = parse_distribution(file.name)
        except InvalidName as error:
            raise UsageFault(str(error), "Name a wheel or sdist under the name it has in the index.") from error
        with self.metadata() as view:
            proven = self._prove(view, Chooser(view, NOBODY).find(distribution))
        resource = proven.pointer.file
        compare(resource, measure_file(file, resource.length), str(file))
        self._report_artifact(proven)
        self._check_evidence(proven, self.repository.source)

    @contextlib.contextmanager
    def metadata(self) -> Iterator[TrustedView]:
        """Do steps 1 and 2, the latter for the index itself; its bases follow when they are asked.

        The caches stay locked while the block runs.

        Raises:
            ClientError: a check failed.
        """
        here = self.repository
        root = choose_root(here.location, here.choice, here.pins, here.source, here.notify)
        self.report(Step("root", {"sha256": root.sha256, "version": root.version}))
        choice = replace(here.bases, may_be_remade=here.choice.trust_on_first_use)
        view = choose_view(here.location, choice, here.views, here.source, here.notify)
        with opened_view(view, here, root, self._report_metadata) as trusted:
            if not trusted.is_alone:
                self.report(Step("bases", view.facts()))
            trusted.index(trusted.asked)
            yield trusted

    def _report_metadata(self, index: IndexName, versions: Mapping[str, int]) -> None:
        self.report(Step("metadata", {"index": str(index), "versions": dict(versions)}))

    def _choose(self, view: TrustedView, wanted: Wanted, interpreter: Interpreter) -> list[Chosen]:
        """Step 3: the files that are meant."""
        chosen = Chooser(view, interpreter).choose(wanted)
        for each in chosen:
            if each.yanked:
                self.repository.notify(f"{each.file.file_name} is yanked: its publisher advises against it")
        first = chosen[0]
        about = {"project": wanted.project, "version": str(first.file.version)}
        if first.listed is not None:
            self.report(Step("page", {**about, "files": [each.file.file_name for each in chosen]}))
        elif wanted.file is None:
            self.report(Step("latest", {**about, "file": first.file.file_name}))
        return chosen

    def _prove(self, view: TrustedView, chosen: Chosen) -> Proven:
        """Step 4, and the question to the trust role that step 7 needs: in the repository of the index that owns it."""
        index, asked = view.index(chosen.owner), Asked(chosen.owner, chosen.file)
        try:
            pointer = parse_pointer(index.read_target(asked.target, MAX_POINTER_BYTES))
        except MalformedPointer as error:
            raise PointerUnreadable(f"{asked.target}: {error}") from error
        check_pointer(pointer, asked)
        if chosen.listed not in {None, pointer.file.digest}:
            raise PointerMismatch(f"{asked.target} and the page document state different digests of the same file")
        facts = {"target": asked.target, "sha256": pointer.file.digest, "attestation": pointer.attestation is not None}
        self.report(Step("pointer", {"index": str(chosen.owner), **facts}))
        if chosen.owner != view.asked:
            self.repository.notify(f"{chosen.file.file_name} is {chosen.owner}'s, a base of {view.asked}: proven there")
        has_policy = self.mode is PolicyMode.SIGNED and index.holds(POLICY_TARGET)
        return Proven(view.location_of(chosen.owner), chosen.file, pointer, has_policy)

    def fetch(self, proven: Proven, dest: Path, source: ByteSource) -> Path:
        """Do steps 5 to 8 of one file; files may be fetched by several threads, each with a source of its own.

        Raises:
            ClientError: the first step that failed; nothing appeared in `dest`.
        """
        resource = proven.pointer.file
        url = proven.location.artifact_url(resource.uri)
        with part_in(dest) as part:
            with self.meter.task(proven.distribution.file_name, resource.length) as advance:
                fetch_resource(resource, url, source, part.file, advance)
            self._report_artifact(proven)
            self._check_evidence(proven, source)
            # The name is the one that was asked for, which the pointer was compared with; never one it brings along.
            placed = part.place(proven.distribution.file_name)
        self.report(Step("place", {"file": proven.distribution.file_name, "path": str(placed)}))
        return placed

    def fetch_or_keep(self, proven: Proven, dest: Path, source: ByteSource) -> Path:
        """Do as `fetch`; a file that lies there with the signed bytes stays, once its evidence was checked as ever."""
        name = proven.distribution.file_name
        there = dest / name
        if not holds(there, proven.pointer.file):
            return self.fetch(proven, dest, source)
        self._report_artifact(proven)
        self._check_evidence(proven, source)
        self.report(Step("place", {"file": name, "path": str(there), "kept": True}))
        return there

    def _report_artifact(self, proven: Proven) -> None:
        resource = proven.pointer.file
        facts = {"file": proven.distribution.file_name, "sha256": resource.digest, "length": resource.length}
        self.report(Step("artifact", facts))

    def _check_evidence(self, proven: Proven, source: ByteSource) -> None:
        """Steps 6 and 7, failing closed: this version reads neither attestations nor policies.

        Raises:
            AttestationAltered: the attestation's bytes are not those that the pointer names.
            AttestationUnreadable: the pointer names an attestation.
            PolicyRefused: the trust role holds a policy.
        """
        if self.mode is PolicyMode.NONE:
            return
        name = proven.distribution.file_name
        if proven.pointer.attestation is not None:
            self._fetch_attestation(proven.pointer.attestation, proven.location, source)
            raise AttestationUnreadable(
                f"{name} comes with an attestation, which this version of countermark cannot evaluate", _WHAT_INSTEAD
            )
        if proven.has_policy:
            raise PolicyRefused(
                f"the registry's signed policy demands evidence of {name} that this version of countermark cannot "
                "evaluate",
                _WHAT_INSTEAD,
            )
        reason = "the signed trust role holds no policy and the pointer names no attestation"
        self.report(Step("policy", {"file": name, "demanded": False, "reason": reason}))

    def _fetch_attestation(self, attestation: Resource, location: Location, source: ByteSource) -> None:
        if attestation.length > MAX_ATTESTATION_BYTES:
            raise AttestationAltered(
                f"the attestation is longer than the {MAX_ATTESTATION_BYTES} bytes that are allowed"
            )
        url = location.artifact_url(attestation.uri)
        with tempfile.TemporaryFile() as file:
            try:
                fetch_resource(attestation, url, source, file)
            except ArtifactRefused as error:
                raise AttestationAltered(error.problem) from error
