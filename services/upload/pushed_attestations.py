"""Attestations of files that are pushed: they go along, and the policy decides for the index that the files go to.

They were verified when they were added, and are verified again before the target's pointers are signed; so they are
looked at here only where a policy asks about the files.
Source: architecture sections 11.6 and 11.8; ADR 0037.
"""

from __future__ import annotations

from collections.abc import Sequence

from countermark.core.attestations.judgements import JudgedFile
from services.upload.attestation_rules import ascii_of
from services.upload.carrying import Carrier
from services.upload.trusting import Trusting
from shared.attesting.judging import Judging
from shared.auth.directory import IndexRecord
from shared.catalogue import attestations
from shared.catalogue.promotion_rows import Carried, CarriedAttestation, SourceRelease
from shared.errors import ErrorKind, ServiceError
from shared.resources import Resources

_MOST_TOLD = 20
"""Files whose refusals are told."""


class PushedAttestations:
    """Asks the policy about files that are pushed."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._trusting = Trusting()
        self._judging = Judging(resources.settings.attestations, resources.verifying)

    async def permit(
        self,
        target: IndexRecord,
        release: SourceRelease,
        files: Sequence[Carried],
        carried: Sequence[CarriedAttestation],
        carrier: Carrier,
    ) -> None:
        """Return when the policy takes every file in the target, with the attestations that go along.

        Raises:
            ServiceError: forbidden, with the reason for each file that is not taken; unavailable.
        """
        async with self._resources.engine.connect() as connection:
            material = await self._trusting.material(connection)
            if material.policy is None:
                return
            place = (target.id, target.life, release.project)
            had = await attestations.project_had_provenance(connection, *place)
        now = int(self._resources.clock.now().timestamp())
        refused: list[str] = []
        for file in files:
            judged = JudgedFile(str(target.name), release.project, release.version, file.file_name, file.sha256)
            named: bytes | None = None
            others: list[bytes] = []
            for one in carried:
                if one.file_id == file.id:
                    body = await carrier.read(one)
                    named, others = (body, others) if one.named else (named, [*others, body])
            judgement = await self._judging.judge(material, judged, named, others, now, had)
            if not judgement.passed:
                refused.append(f"{file.file_name}: {judgement.reason}")
        if refused:
            told = "; ".join(refused[:_MOST_TOLD])
            words = f"The policy does not take this in {target.name}, so that nothing is pushed: {told}."
            raise ServiceError(ErrorKind.FORBIDDEN, ascii_of(words))
