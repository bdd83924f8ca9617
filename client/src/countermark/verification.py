"""Download and verify: from the name that was asked for to bytes that are proven, one step after the other.

1. *root*: where trust starts (`roots`).
2. *timestamp*, *snapshot*: the metadata of the index (`updater`; trust contract section 1.1).
3. *latest* or *page*: which file is meant, from signed documents; never from a listing. An index with bases (`bases`)
   takes steps 2 to 4 in the repository of each index that is asked (`trusted_view`).
4. *target*, *pointer*: what the metadata lists, read, and bound to what was asked (`core.binding`).
5. *artifact*: streamed to a temporary file, or the local file read; length, then digest.
6. *attestation*: its bytes, when the pointer names one (`bundles`).
7. *statement*, *subject*, *signature*, *identity*, *log*, *policy*: what it proves, and what the registry's offline
   keys demand (`examining`).
8. *place*: the file gets its name.

The first failure ends the run. `chain` numbers the steps as people see them. Source: trust contract section 3.3.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from countermark.bundles import Attested, Bundles, Fetched, Sought
from countermark.chain import Report, Step, during
from countermark.choosing import NOBODY, Chooser, Chosen, Interpreter, Wanted
from countermark.core.attestations.judgements import JudgedFile
from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.binding import Asked, check_pointer
from countermark.core.digest import sha256_of
from countermark.core.errors import LocalState, PointerMismatch, PointerUnreadable, UsageFault
from countermark.core.filenames import Distribution, parse_distribution
from countermark.core.names import IndexName, InvalidName
from countermark.core.pointer import MAX_POINTER_BYTES, MalformedPointer, Pointer, Resource, parse_pointer
from countermark.credentials import Notify
from countermark.evidence import EvidenceWriter
from countermark.examining import Examiner
from countermark.further import About, Further
from countermark.location import Location
from countermark.mirrors import FILE, first_good
from countermark.placing import Part, compare, fetch_resource, holds, measure_file, part_in
from countermark.progress import Meter, Silent
from countermark.reading import Reading
from countermark.roots import PinStore, RootChoice, choose_root
from countermark.transport import ByteSource
from countermark.trusted_view import Folders, TrustedView, opened_view
from countermark.trusting import read_summary
from countermark.updater import TrustedIndex
from countermark.views import ViewChoice, ViewStore, choose_view, recorded_view


class PolicyMode(StrEnum):
    """What follows the artifact's digest: the signed policy, or nothing (the run then ends with `INTEGRITY_ONLY`)."""

    SIGNED = "signed"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Repository:
    """One index and all that is needed to read it; `cache` says whether anything but it is read, `source` reads from
    the mirrors too."""

    location: Location
    source: ByteSource
    cache: Folders
    pins: PinStore
    choice: RootChoice
    notify: Notify
    views: ViewStore
    bases: ViewChoice = field(default_factory=ViewChoice)
    mirrors: tuple[Location, ...] = ()


@dataclass(frozen=True, slots=True)
class Keeping:
    """What is kept beside the files, for proving them again without the network.

    Attributes:
        beside: the attestation of each placed file is placed beside it.
        evidence: takes all that the run was proven by.
    """

    beside: bool = False
    evidence: EvidenceWriter | None = None


@dataclass(frozen=True, slots=True)
class Proven:
    """A pointer that is signed and about what was asked, where its index lies (the address that proved it first), and
    what the trust role signs; `material` is None when no policy is to be looked at. `summary` is the index's own, read
    where the policy takes what a verifier found."""

    locations: tuple[Location, ...]
    distribution: Distribution
    pointer: Pointer
    material: TrustMaterial | None
    summary: Further | None = None


@dataclass(frozen=True, slots=True)
class Verifier:
    """Downloads and verifies from one repository.

    Attributes:
        repository: where from.
        mode: whether policy is checked.
        report: is told of each step.
        meter: follows the files that are read.
        bundles: where attestations come from.
        keeping: what is kept beside the files.
    """

    repository: Repository
    mode: PolicyMode
    report: Report
    meter: Meter = field(default_factory=Silent)
    bundles: Bundles = field(default_factory=Fetched)
    keeping: Keeping = field(default_factory=Keeping)
    _examiner: Examiner = field(init=False)

    def __post_init__(self) -> None:
        """Make what examines evidence; it stays warm for all files."""
        object.__setattr__(self, "_examiner", Examiner(self.report))

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
        with during("target"):
            chosen = self._choose(view, wanted, interpreter)
        proven = [self._prove(view, each) for each in chosen]
        for each in proven:
            if wanted.hashes and each.pointer.file.digest not in wanted.hashes:
                with during("pointer"):
                    raise PointerMismatch(
                        f"{each.distribution.file_name} is signed with sha256 {each.pointer.file.digest}, which is "
                        "none of those you allow"
                    )
        return proven

    def verify(self, file: Path) -> None:
        """Verify a local file by its name, length and digest, and by its evidence.

        Raises:
            ClientError: the first step that failed; its class has the exit code.
        """
        distribution = distribution_of(file)
        with self.metadata() as view:
            proven = self.prove_local(view, distribution)
        self.check(proven, file, self.repository.source)

    def prove_local(self, view: TrustedView, distribution: Distribution) -> Proven:
        """Do steps 3 and 4 for a file that is named as a local one is.

        Raises:
            ClientError: the first step that failed.
        """
        with during("target"):
            chosen = Chooser(view, NOBODY).find(distribution)
        return self._prove(view, chosen)

    def check(self, proven: Proven, file: Path, source: ByteSource) -> None:
        """Do steps 5 to 7 of a local file.

        Raises:
            ClientError: the first step that failed.
        """
        resource = proven.pointer.file
        with during("artifact"):
            compare(resource, measure_file(file, resource.length), str(file))
        self._report_artifact(proven)
        self._check_evidence(proven, source, file)

    @contextlib.contextmanager
    def metadata(self) -> Iterator[TrustedView]:
        """Do steps 1 and 2, the latter for the index itself; its bases follow when they are asked.

        The caches stay locked while the block runs. What is to be kept of metadata and targets is kept at its end.

        Raises:
            ClientError: a check failed.
        """
        here = self.repository
        with during("root"):
            root = choose_root(here.location, here.choice, here.pins, here.source, here.notify)
        self.report(Step("root", {"version": root.version, "sha256": root.sha256}))
        choice = replace(here.bases, may_be_remade=here.choice.trust_on_first_use)
        if here.cache.reading is Reading.ONLINE:
            view = choose_view(here.location, choice, here.views, here.source, here.notify)
        else:
            view = recorded_view(here.location, choice, here.views)
        with opened_view(view, here, root, self._report_metadata) as trusted:
            if not trusted.is_alone:
                self.report(Step("bases", view.facts()))
            trusted.index(trusted.asked)
            yield trusted
            if self.keeping.evidence is not None:
                for name, index in trusted.read().items():
                    self.keeping.evidence.keep_index(name, index.kept())

    def _report_metadata(self, name: IndexName, index: TrustedIndex) -> None:
        for role in ("timestamp", "snapshot"):
            standing = index.standing(role)
            facts = {"index": str(name), "version": standing.version, "expires": standing.expires}
            self.report(Step(role, facts))

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
        """Step 4, and what step 7 needs of the trust role: in the repository of the index that owns the file."""
        asked, name = Asked(chosen.owner, chosen.file), chosen.file.file_name
        with during("target"):
            index = view.index(chosen.owner)
            data = index.read_target(asked.target, MAX_POINTER_BYTES)
        facts = {"file": name, "target": asked.target, "sha256": sha256_of(data)}
        self.report(Step("target", {"index": str(chosen.owner), **facts}))
        with during("pointer"):
            pointer = _read_pointer(data, asked, chosen)
        resource, named = pointer.file, pointer.attestation
        stated = {"file": name, "version": pointer.version, "sha256": resource.digest, "length": resource.length}
        attested = {"attestation": None if named is None else named.digest}
        self.report(Step("pointer", {"index": str(chosen.owner), **stated, **attested}))
        if chosen.owner != view.asked:
            self.repository.notify(f"{name} is {chosen.owner}'s, a base of {view.asked}: proven there")
        material = None
        if self.mode is PolicyMode.SIGNED:
            material = self._material(view, chosen, is_named=named is not None)
        summary, file = None, chosen.file
        if material and self._examiner.takes_summaries(material.policy, str(chosen.owner), file.project):
            summary = read_summary(index, file.project, file.file_name)
        return Proven(view.locations_of(chosen.owner), file, pointer, material, summary)

    def _material(self, view: TrustedView, chosen: Chosen, *, is_named: bool) -> TrustMaterial:
        """Return what the trust role signs, with the roots where there may be evidence."""
        if not is_named:
            material = view.material(chosen.owner, with_roots=False)
            if not self._examiner.wants_evidence(material.policy, str(chosen.owner), chosen.file.project):
                return material
        return view.material(chosen.owner, with_roots=True)

    def fetch(self, proven: Proven, dest: Path, source: ByteSource) -> Path:
        """Do steps 5 to 8 of one file; files may be fetched by several threads, each with a source of its own.

        Raises:
            ClientError: the first step that failed; nothing appeared in `dest`.
        """
        name = proven.distribution.file_name
        with part_in(dest) as part:
            self._fetch_into(part, proven, source)
            self._report_artifact(proven)
            attested = self._check_evidence(proven, source)
            # The name is the one that was asked for, which the pointer was compared with; never one it brings along.
            placed = part.place(name)
        if self.keeping.beside:
            attested.place_beside(placed)
        self.report(Step("place", {"file": name, "path": str(placed)}))
        return placed

    def _fetch_into(self, part: Part, proven: Proven, source: ByteSource) -> None:
        """Do step 5: from the first address that has the signed bytes."""
        resource, name = proven.pointer.file, proven.distribution.file_name

        def fetch_from(place: Location) -> None:
            part.clear()
            with self.meter.task(name, resource.length) as advance:
                fetch_resource(resource, place.artifact_url(resource.uri), source, part.file, advance)

        with during("artifact"):
            first_good(proven.locations, fetch_from, FILE, self.repository.notify)

    def fetch_or_keep(self, proven: Proven, dest: Path, source: ByteSource) -> Path:
        """Do as `fetch`; a file that lies there with the signed bytes stays, once its evidence was checked as ever."""
        name = proven.distribution.file_name
        there = dest / name
        if not holds(there, proven.pointer.file):
            return self.fetch(proven, dest, source)
        self._report_artifact(proven)
        attested = self._check_evidence(proven, source, there)
        if self.keeping.beside:
            attested.place_beside(there)
        self.report(Step("place", {"file": name, "path": str(there), "kept": True}))
        return there

    def _report_artifact(self, proven: Proven) -> None:
        resource = proven.pointer.file
        facts = {"file": proven.distribution.file_name, "sha256": resource.digest, "length": resource.length}
        self.report(Step("artifact", facts))

    def _check_evidence(self, proven: Proven, source: ByteSource, file: Path | None = None) -> Attested:
        """Do steps 6 and 7; return the attestations that the file was allowed by.

        Args:
            file: where the file lies, when it was not just fetched.

        Raises:
            AttestationAltered: the attestation's bytes are not those that the pointer names.
            EvidenceRefused: it does not hold, or the policy does not allow the file.
        """
        if proven.material is None:
            return Attested()
        pointer, name = proven.pointer, proven.distribution.file_name
        bundle = None
        if pointer.attestation is not None:
            with during("attestation"):
                bundle = self._read_bundle(pointer.attestation, proven, source, file)
            facts = {"file": name, "sha256": pointer.attestation.digest, "length": len(bundle)}
            self.report(Step("attestation", facts))
        judged = JudgedFile(str(pointer.index), pointer.name, pointer.version, name, pointer.file.digest)
        further = self._examiner.examine(judged, proven.material, bundle, lambda: self._further(proven, source, file))
        if self.keeping.evidence is not None:
            if bundle is not None and pointer.attestation is not None:
                self.keeping.evidence.keep_attestation(pointer.attestation, bundle)
            self.keeping.evidence.keep_further(name, further)
        return Attested(bundle, further)

    def _further(self, proven: Proven, source: ByteSource, file: Path | None) -> Iterator[Further]:
        """Look for further evidence: the signed summary, then at each address of the index or on this machine."""
        if proven.summary is not None:
            yield proven.summary
        for place in proven.locations if isinstance(self.bundles, Fetched) else proven.locations[:1]:
            about = About(place, proven.pointer.name, proven.distribution.file_name)
            yield self.bundles.further(about, file, source)

    def _read_bundle(self, named: Resource, proven: Proven, source: ByteSource, file: Path | None) -> bytes:
        """Do step 6: from the first address that has the signed bytes, or from this machine."""

        def read_from(place: Location) -> bytes:
            url = place.artifact_url(named.uri)
            return self.bundles.read(Sought(named, url, proven.distribution.file_name, file), source)

        places = proven.locations if isinstance(self.bundles, Fetched) else proven.locations[:1]
        return first_good(places, read_from, FILE, self.repository.notify)


def distribution_of(file: Path) -> Distribution:
    """Return what a local file's name says.

    Raises:
        UsageFault: it is not the name of a wheel or sdist.
        LocalState: there is no such file. What an index says of its name is then not asked.
    """
    try:
        named = parse_distribution(file.name)
    except InvalidName as error:
        raise UsageFault(str(error), "Name a wheel or sdist under the name it has in the index.") from error
    if not file.is_file():
        raise LocalState(f"there is no file {file}", "Check its path.")
    return named


def _read_pointer(data: bytes, asked: Asked, chosen: Chosen) -> Pointer:
    """Return a pointer that is bound to what was asked, and states what the page states.

    Raises:
        PointerUnreadable: it is malformed.
        PointerMismatch: it is about something else.
    """
    try:
        pointer = parse_pointer(data)
    except MalformedPointer as error:
        raise PointerUnreadable(f"{asked.target}: {error}") from error
    check_pointer(pointer, asked)
    if chosen.listed not in {None, pointer.file.digest}:
        raise PointerMismatch(f"{asked.target} and the page document state different digests of the same file")
    return pointer
