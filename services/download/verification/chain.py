"""Runs the chain of one file: from the first root to the policy, over what is stored and served, with evidence.

Nothing that was found before is believed but the digest of an object that has not changed since (`Hashes`). What cannot
be looked at now is an error and no step: a store that is away says nothing about a file.
Source: trust contract section 3.3; architecture section 5; ADR 0039.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from countermark.core.attestations.bundle import MAX_BUNDLE_BYTES
from countermark.core.attestations.judgements import JudgedFile
from countermark.core.attestations.trust_material import BadTrustMaterial, TrustMaterial
from countermark.core.binding import Asked, check_pointer
from countermark.core.codes import judgement_code
from countermark.core.digest import Sha256
from countermark.core.errors import PointerRefused
from countermark.core.filenames import Distribution
from countermark.core.pointer import MAX_POINTER_BYTES, MalformedPointer, Pointer, Resource, parse_pointer
from services.download.verification.hashes import Hashes
from services.download.verification.judged import note_judgement
from services.download.verification.metadata import HeadRow, checked_metadata, is_signed_material
from services.download.verification.pages import NoPage, SignedPages
from services.download.verification.rows import Rows
from services.download.verification.steps import (
    ATTESTATION,
    CATALOGUE,
    DIGEST,
    MISSING,
    NOTHING,
    POINTER,
    POLICY,
    TARGET,
    UNREADABLE,
    Broken,
    Chain,
    Fault,
    Verification,
    fault_of,
)
from services.download.verification.stored import Found, Seen, read_object
from shared.attesting.judging import Judging
from shared.attesting.own_summaries import own_summary
from shared.auth.directory import IndexRecord
from shared.catalogue.attestations import object_name
from shared.catalogue.trust_material import POLICY as POLICY_TARGET
from shared.catalogue.trust_material import named_material
from shared.objects.interface import Key, ObjectStore
from shared.objects.keys import InvalidKey, check_key, core_metadata_key, file_key, target_key
from shared.reading.facts import FileFacts
from shared.resources import Resources
from shared.trust.links import MetadataReport


@dataclass(frozen=True, slots=True)
class File:
    """The file that is asked about, in the index that it belongs to."""

    index: IndexRecord
    distribution: Distribution


@dataclass(frozen=True, slots=True)
class Looked:
    """What a verification found.

    Attributes:
        until: when the first of the metadata files expires; None where the chain broke before that was known.
        seen: what the store said of the objects that were read, also of those that broke it: file, pointer, bundles,
            core metadata.
        core_metadata: digest of the file's core metadata as its page is signed; None where it has none, or where the
            chain broke before that was known.
    """

    verification: Verification
    until: datetime | None
    seen: tuple[Seen, ...] = ()
    core_metadata: Sha256 | None = None

    @property
    def settled(self) -> bool:
        """Whether head, rows and `seen` decide all of it, so that it is the same for as long as they are.

        What broke at the metadata, or for want of what to judge by, says nothing of a moment later.
        """
        failure = self.verification.failure
        return failure is None or fault_of(failure) is not Fault.OF_THE_INDEX


@dataclass(slots=True)
class Run:
    """One run over the chain of a file; make one for each."""

    resources: Resources
    judging: Judging
    hashes: Hashes
    pages: SignedPages
    file: File
    head: HeadRow
    rows: Rows
    now: datetime
    chain: Chain = field(default_factory=Chain)
    seen: list[Seen] = field(default_factory=list)
    until: datetime | None = None
    core_metadata: Sha256 | None = None

    async def look(self) -> Looked:
        """Go through the chain.

        Raises:
            ServiceError: UNAVAILABLE; something cannot be looked at now.
            ObjectStoreError: the store cannot be read now.
        """
        try:
            report = await self._metadata()
            pointer = self._pointer(await self._pointer_bytes(report), report)
            await self._bytes(pointer.file)
            named = await self._attestation(pointer.attestation)
            await self._judge(pointer, named, report)
            await self._catalogue(pointer)
        except Broken:
            pass
        return Looked(Verification(self.chain.finished()), self.until, tuple(self.seen), self.core_metadata)

    @property
    def _asked(self) -> Asked:
        return Asked(self.file.index.name, self.file.distribution)

    async def _metadata(self) -> MetadataReport:
        """Root, timestamp, snapshot, target."""
        report = await checked_metadata(self.resources, self.file.index, self.head, self._asked.target, self.now)
        for link in report.links:
            if link.code:
                raise self.chain.failed(link.name, link.code, link.reason, **link.evidence)
            if link.name != TARGET:
                self.chain.passed(link.name, link.reason, **link.evidence)
        self.until = report.expires
        return report

    async def _pointer_bytes(self, report: MetadataReport) -> bytes:
        """The target's own bytes: the last of what the metadata vouches for."""
        assert report.sha256 is not None, "the links hold"
        evidence = report.links[-1].evidence
        if report.length > MAX_POINTER_BYTES:
            self.chain.passed(TARGET, report.links[-1].reason, **evidence)
            raise self.chain.failed(
                POINTER, 30, f"it is signed with {report.length} bytes, and {MAX_POINTER_BYTES} count"
            )
        key = target_key(self.file.index.name, self._asked.target, report.sha256)
        found = await self._read(key, report.length)
        if found is None:
            raise self.chain.failed(TARGET, NOTHING, f"{key} is missing in the object store", **evidence)
        if (found.sha256, found.length) != (report.sha256, report.length):
            reason = f"{key} is not what was signed: it has sha256 {found.sha256}"
            raise self.chain.failed(TARGET, 23, reason, **evidence, found=found.sha256)
        self.chain.passed(TARGET, report.links[-1].reason, **evidence)
        return found.body

    def _pointer(self, body: bytes, report: MetadataReport) -> Pointer:
        """The pointer, read and bound to what was asked."""
        about = {"sha256": report.sha256}
        try:
            pointer = parse_pointer(body)
            check_pointer(pointer, self._asked)
        except MalformedPointer as error:
            raise self.chain.failed(POINTER, 30, str(error), **about) from error
        except PointerRefused as error:
            raise self.chain.failed(POINTER, error.exit_code, error.problem, **about) from error
        told = {"index": str(pointer.index), "project": pointer.name, "version": pointer.version, **about}
        named = pointer.attestation
        told |= {"file_sha256": pointer.file.digest, "attestation_sha256": None if named is None else named.digest}
        self.chain.passed(POINTER, "it names this file of this index, project and version", **told)
        return pointer

    async def _bytes(self, resource: Resource) -> None:
        """The file's bytes, hashed."""
        key = self._key_of(resource, DIGEST)
        signed = {"sha256": resource.digest, "length": resource.length, "uri": resource.uri}
        found = await self._hash(key, resource.length)
        if found is None:
            raise self.chain.failed(DIGEST, NOTHING, f"{key} is missing in the object store", **signed)
        seen = {"found_sha256": found.sha256, "found_length": found.info.length}
        if found.length != resource.length or found.info.length != resource.length:
            reason = f"the stored object has {found.info.length} bytes, {resource.length} are signed"
            raise self.chain.failed(DIGEST, 40, reason, **signed, **seen)
        if found.sha256 != resource.digest:
            reason = f"the stored object has sha256 {found.sha256}, {resource.digest} is signed"
            raise self.chain.failed(DIGEST, 41, reason, **signed, **seen)
        self.chain.passed(DIGEST, "the stored bytes have the signed length and digest", **signed, **seen)

    async def _attestation(self, resource: Resource | None) -> bytes | None:
        """The bytes of the bundle that the pointer names."""
        if resource is None:
            self.chain.skipped(ATTESTATION, "the pointer names no attestation")
            return None
        key = self._key_of(resource, ATTESTATION)
        signed = {"sha256": resource.digest, "length": resource.length, "uri": resource.uri}
        if resource.length > MAX_BUNDLE_BYTES:
            reason = f"the attestation is signed with {resource.length} bytes, and {MAX_BUNDLE_BYTES} are allowed"
            raise self.chain.failed(ATTESTATION, 50, reason, **signed)
        found = await self._read(key, resource.length)
        if found is None:
            raise self.chain.failed(ATTESTATION, NOTHING, f"{key} is missing in the object store", **signed)
        if (found.sha256, found.length) != (resource.digest, resource.length):
            reason = f"the stored attestation has sha256 {found.sha256}, {resource.digest} is signed"
            raise self.chain.failed(ATTESTATION, 50, reason, **signed, found_sha256=found.sha256)
        self.chain.passed(ATTESTATION, "the stored attestation has the signed length and digest", **signed)
        return found.body

    async def _judge(self, pointer: Pointer, named: bytes | None, report: MetadataReport) -> None:
        """What the bundles prove, and what the policy makes of it: by the code that the client runs."""
        material = await self._material(report)
        asked = JudgedFile(
            str(pointer.index), pointer.name, pointer.version, self.file.distribution.file_name, pointer.file.digest
        )
        others = [*await self._others(pointer.attestation), *await self._summary(material, asked)]
        now = int(self.now.timestamp())
        # What earlier releases had is not for a client to know, and this tells what a client ends with.
        judged = await self.judging.judge(material, asked, named, others, now, None)
        judgement = judged.for_clients(is_named=named is not None)
        if not judgement.passed and self.judging.is_unreadable(material):
            self.chain.skip_to(POLICY, "not looked at, since the policy cannot be read")
            code = judgement_code(judgement)
            raise self.chain.refused(POLICY, judgement.exit_code, code, judgement.reason, policy=UNREADABLE)
        note_judgement(self.chain, judgement, material)

    async def _material(self, report: MetadataReport) -> TrustMaterial:
        """Return what this index's own trust file names, which may be an older one than the newest."""
        try:
            async with self.resources.engine.connect() as connection:
                material = await named_material(connection, report.trusted, self._trust_version(report))
        except (LookupError, BadTrustMaterial) as error:
            raise self._no_material(NOTHING, str(error)) from error
        contents = {**material.roots, **({} if material.policy is None else {POLICY_TARGET: material.policy})}
        altered = await asyncio.to_thread(is_signed_material, report.trusted, contents)
        if altered is not None:
            raise self._no_material(23, f"{altered} in the catalogue is not what key holders signed")
        return material

    def _no_material(self, code: int, reason: str) -> Broken:
        """Return that nothing can be judged: the steps of bundles were not looked at for want of it."""
        self.chain.skip_to(POLICY, "not looked at, since what to verify against cannot be had")
        return self.chain.failed(POLICY, code, reason)

    @staticmethod
    def _trust_version(report: MetadataReport) -> int | None:
        version = report.links[-1].evidence["roles"]["trust"]["version"]
        return version if isinstance(version, int) else None

    async def _others(self, named: Resource | None) -> Sequence[bytes]:
        """Return the file's other bundles whose bytes are those that were kept; another is no evidence of anything."""
        digests = [one for one in self.rows.bundles if named is None or one != named.digest]
        found = await asyncio.gather(*(self._bundle(one) for one in digests))
        kept = [one for digest, one in zip(digests, found, strict=True) if one is not None and one.sha256 == digest]
        return [one.body for one in kept]

    async def _summary(self, material: TrustMaterial, asked: JudgedFile) -> Sequence[bytes]:
        """Return the signed summary of the file, where the policy takes what a verifier found; it proves itself."""
        if not self.judging.takes_summaries(material, asked):
            return ()
        async with self.resources.engine.connect() as connection:
            signed = await own_summary(connection, self.file.index.id, asked)
        if signed is None:
            return ()
        key, digest = signed
        found = await self._read(key, MAX_BUNDLE_BYTES)
        return () if found is None or found.sha256 != digest else (found.body,)

    async def _bundle(self, digest: Sha256) -> Found | None:
        return await self._read(file_key(digest, object_name(self.file.distribution.file_name)), MAX_BUNDLE_BYTES)

    async def _catalogue(self, pointer: Pointer) -> None:
        """What rows say of the file, by which it is found and served, and what lies beside it, against what is
        signed."""
        contradictions = self.rows.contradictions(pointer, self.file.distribution)
        if contradictions:
            raise self._contradicted(contradictions)
        if self.file.distribution.is_wheel or self._row.core_metadata_sha256 is not None:
            await self._beside()
        evidence = {"core_metadata_sha256": self.core_metadata}
        self.chain.passed(CATALOGUE, "rows, and what lies beside the file, are what is signed", **evidence)

    async def _beside(self) -> None:
        """The core metadata of the file: its page is signed with their digest."""
        asked, row = self.file.distribution, self._row
        try:
            listed = await self.pages.listed(
                self.resources, self.file.index, self.head, asked.project, asked.file_name, self.now
            )
        except NoPage as error:
            raise self.chain.failed(CATALOGUE, NOTHING, str(error), page=UNREADABLE) from error
        if contradictions := self.rows.unlike_page(listed):
            raise self._contradicted(contradictions)
        if row.core_metadata_sha256 is None:
            return
        length = row.core_metadata_length or 0
        key = core_metadata_key(row.sha256, asked.file_name)
        found = await self._hash(key, length)
        signed = {"core_metadata_sha256": row.core_metadata_sha256}
        if found is None:
            reason = f"{key} is missing in the object store"
            raise self.chain.failed(CATALOGUE, NOTHING, reason, **signed, page=MISSING)
        if (found.sha256, found.info.length) != (row.core_metadata_sha256, length):
            reason = f"the stored core metadata have sha256 {found.sha256}, {row.core_metadata_sha256} is signed"
            raise self.chain.failed(CATALOGUE, NOTHING, reason, **signed, found_sha256=found.sha256)
        self.core_metadata = row.core_metadata_sha256

    def _contradicted(self, contradictions: Sequence[str]) -> Broken:
        reason = "; ".join(contradictions)
        return self.chain.failed(CATALOGUE, NOTHING, f"{reason}: this host cannot serve it rightly")

    @property
    def _row(self) -> FileFacts:
        assert self.rows.file is not None, "rows without the file contradict"
        return self.rows.file.facts

    async def _read(self, key: Key, most: int) -> Found | None:
        """Read an object, and note what the store said of it."""
        found = await read_object(self._store, key, most)
        self.seen.append(Seen(key, None if found is None else found.info))
        return found

    async def _hash(self, key: Key, length: int) -> Found | None:
        """Hash an object, and note what the store said of it."""
        found = await self.hashes.of(self._store, key, length)
        self.seen.append(Seen(key, None if found is None else found.info))
        return found

    @property
    def _store(self) -> ObjectStore:
        return self.resources.objects.side(public=self.file.index.public)

    def _key_of(self, resource: Resource, step: str) -> Key:
        """Return the key that a pointer names.

        Raises:
            Broken: it is none of the store's.
        """
        try:
            return check_key(resource.uri.removeprefix("/"))
        except InvalidKey as error:
            raise self.chain.failed(step, NOTHING, str(error)) from error
