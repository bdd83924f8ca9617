"""Attestations of files that are pushed: they go along, and the policy decides for the index that the files go to.

Those of a stage were verified when they were added, and are verified again before the target's pointers are signed; so
they are looked at here only where a policy asks about the files. Those of a mirror are its upstream's: what verifies by
the roots that trust signs goes along as if it had been uploaded; what does not stays behind, and the client is told.
Source: architecture sections 11.6 and 11.8; ADR 0037.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from countermark.core.attestations.converting import bundle_of_pep740
from countermark.core.attestations.facts import VerifiedBundle
from countermark.core.attestations.judgements import JudgedFile
from countermark.core.attestations.provenance import read_provenance
from countermark.core.attestations.results import Failed
from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.digest import Length, Sha256, sha256_of
from services.upload.attestation_rules import BUILD_PROVENANCE, ascii_of, publisher_of
from services.upload.carrying import Carrier, put_absent
from services.upload.parcel import Parcel
from services.upload.push_rules import ActionLine
from shared.attesting.judging import Judging
from shared.auth.directory import IndexRecord
from shared.auth.principal import Principal
from shared.catalogue import attestations
from shared.catalogue.attestations import PEP740
from shared.catalogue.promotion_rows import Carried, CarriedAttestation
from shared.errors import ErrorKind, ServiceError
from shared.objects.keys import file_key
from shared.resources import Resources

_MOST_TOLD = 20
"""Files whose refusals are told."""


class PushedAttestations:
    """Verifies what comes from mirrors, and asks the policy about what is pushed."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._judging = Judging(resources.settings.attestations, resources.verifying)

    async def brought(self, target: IndexRecord, parcel: Parcel, by: Principal) -> Parcel:
        """Return a parcel with those attestations of its provenance objects that verify; their bytes are stored.

        Raises:
            ServiceError: unavailable.
        """
        if not parcel.provenance:
            return parcel
        material = await self._resources.trusted.material()
        kept: list[CarriedAttestation] = []
        bundles: dict[Sha256, bytes] = {}
        told: list[ActionLine] = []
        for file in parcel.files:
            if file.id not in parcel.provenance:
                continue
            judged = _judged(target, parcel, file)
            found, left = await self._verified(material, judged, parcel.provenance[file.id])
            told += [(200, "attestation", file.file_name, ascii_of(f"stays behind: {why}")) for why in left]
            if found:
                told.append((200, "attestations", file.file_name, f"{len(found)} verified and taken along"))
            kept += self._rows(file, found, by)
            bundles |= {sha256_of(body): body for body, _, _ in found}
        store = self._resources.objects.side(public=target.public)
        for one in kept:
            await put_absent(store, file_key(one.sha256, one.file_name), bundles[one.sha256])
        return replace(parcel, attestations=kept, bundles=bundles, told=told)

    async def permit(self, target: IndexRecord, parcel: Parcel, carrier: Carrier) -> None:
        """Return when the policy takes every file in the target, with the attestations that go along.

        Raises:
            ServiceError: forbidden, with the reason for each file that is not taken; unavailable.
        """
        release = parcel.release
        material = await self._resources.trusted.material()
        if material.policy is None:
            return
        async with self._resources.engine.connect() as connection:
            place = (target.id, target.life, release.project)
            had = await attestations.project_had_provenance(connection, *place)
        refused: list[str] = []
        for file in parcel.files:
            named: bytes | None = None
            others: list[bytes] = []
            for one in parcel.attestations:
                if one.file_id == file.id:
                    body = parcel.bundles.get(one.sha256) or await carrier.read(one)
                    named, others = (body, others) if one.named else (named, [*others, body])
            judged = _judged(target, parcel, file)
            judgement = await self._judging.judge(material, judged, named, others, self._now, had)
            if not judgement.passed:
                refused.append(f"{file.file_name}: {judgement.reason}")
        if refused:
            told = "; ".join(refused[:_MOST_TOLD])
            words = f"The policy does not take this in {target.name}, so that nothing is pushed: {told}."
            raise ServiceError(ErrorKind.FORBIDDEN, ascii_of(words))

    @property
    def _now(self) -> int:
        return int(self._resources.clock.now().timestamp())

    async def _verified(
        self, material: TrustMaterial, file: JudgedFile, provenance: bytes
    ) -> tuple[list[tuple[bytes, VerifiedBundle, bool]], list[str]]:
        """Return what verifies of a provenance object, each with whether the policy takes it as build provenance, and
        why each of the others stays behind."""
        try:
            claimed = read_provenance(provenance)
            bodies = list(dict.fromkeys(bundle_of_pep740(one.document) for one in claimed))
        except Failed as failure:
            return [], [f"the provenance object fails the check {failure.step}: {failure.detail}"]
        judgement = await self._judging.judge(material, file, None, bodies, self._now, None)
        found: list[tuple[bytes, VerifiedBundle, bool]] = []
        left: list[str] = []
        for number, (body, report) in enumerate(zip(bodies, judgement.bundles, strict=True), 1):
            if report.failure is not None or report.verified is None:
                left.append(f"attestation {number} fails {report.failure}")
                continue
            named = False
            if report.verified.predicate_type in BUILD_PROVENANCE:
                named = self._judging.evaluate(material, file, report.evidence, self._now, None).allowed
            found.append((body, report.verified, named))
        return found, left

    def _rows(
        self, file: Carried, found: Sequence[tuple[bytes, VerifiedBundle, bool]], by: Principal
    ) -> list[CarriedAttestation]:
        """Return verified attestations as rows of the index that their file goes to; the last that may be is named."""
        last = max((place for place, (_, _, named) in enumerate(found) if named), default=-1)
        return [
            CarriedAttestation(
                file_id=file.id,
                file_name=attestations.object_name(file.file_name),
                sha256=sha256_of(body),
                length=Length(len(body)),
                predicate_type=facts.predicate_type,
                origin=PEP740,
                publisher=publisher_of(facts),
                facts=facts.to_document(),
                named=place == last,
                added_at=self._resources.clock.now(),
                added_by=by.account,
                token_id=by.token_id,
            )
            for place, (body, facts, _) in enumerate(found)
        ]


def _judged(target: IndexRecord, parcel: Parcel, file: Carried) -> JudgedFile:
    release = parcel.release
    return JudgedFile(str(target.name), release.project, release.version, file.file_name, file.sha256)
