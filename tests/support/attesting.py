"""Attestations of uploaded files, left in catalogue and store as the upload service leaves what it verified."""

from __future__ import annotations

from countermark.core.attestations.judgements import JudgedFile
from countermark.core.attestations.judging import judge
from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.digest import Length, Sha256, sha256_of
from shared.catalogue import attestations
from shared.catalogue.attestations import BUNDLE, NewAttestation
from shared.catalogue.unit_of_work import UnitOfWork
from shared.jobs.messages import PublishIndex
from shared.objects.interface import Put
from shared.objects.keys import bundle_key
from shared.resources import Resources
from tests.support.factories import MadeFile, MadeIndex, now


async def attest(
    resources: Resources,
    index: MadeIndex,
    file: MadeFile,
    bundle: bytes,
    material: TrustMaterial,
    *,
    named: bool = True,
    announce: bool = True,
) -> Sha256:
    """Keep a bundle about a file with what verification finds, and ask for a publication; returns its digest.

    Args:
        announce: whether the publication is asked for.
    """
    about = JudgedFile(str(index.name), file.project, file.version, file.file_name, file.sha256)
    verified = judge(material, about, bundle, (), int(now().timestamp()), None).bundles[0].verified
    assert verified is not None
    key = bundle_key(sha256_of(bundle), file.file_name)
    await resources.objects.side(public=index.public).put(key, bundle, Put.REPLACE)
    new = NewAttestation(
        index_id=index.id,
        file_id=file.id,
        file_name=file.file_name,
        sha256=sha256_of(bundle),
        length=Length(len(bundle)),
        predicate_type=verified.predicate_type,
        origin=BUNDLE,
        publisher=None,
        facts=verified.to_document(),
        named=named,
        added_at=now(),
        added_by="root",
        token_id=None,
    )
    async with UnitOfWork(resources.engine) as work:
        assert await attestations.insert(work.connection, "public" if index.public else "private", new)
        if announce:
            await work.enqueue(PublishIndex(index.id, file.project_id, file.id))
        await work.commit()
    return new.sha256
