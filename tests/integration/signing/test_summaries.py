"""Summaries of verification: signed beside a pointer whose policy was satisfied, for others to take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
from sqlalchemy import update

from countermark.core.attestations.judgements import JudgedFile
from countermark.core.attestations.judging import judge
from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.ceremony.keys import fingerprint
from countermark.core.digest import sha256_of
from deploy.dry_running import Counts, DryRun
from services.signing.keys.handles import load_handles
from services.signing.keys.signers import Signers
from services.signing.upkeep.rebuilding import rebuild
from services.signing.upkeep.sweeping import sweep
from shared.attesting.judging import Judging
from shared.catalogue import publications
from shared.catalogue.dry_run import hosted_files
from shared.catalogue.tables import File
from shared.jobs.messages import PublishIndex
from shared.trust.roles import Role
from tests.integration.signing.attested_site import WHEEL, Site
from tests.integration.signing.changes import enqueue, upload
from tests.support.attesting import attest
from tests.support.builds import policy
from tests.support.factories import now
from tests.support.verifiers import pem_of, verified


async def test_a_policy_that_was_satisfied_leaves_a_summary_beside_the_pointer(site: Site) -> None:
    """It names file, policy, attestations and level; a file of which nothing was demanded has none; it goes with its
    file, and what is lost of it comes back."""
    await site.policy(policy())
    file = await site.upload()
    sha256 = await site.attest(file, site.bundle(file))
    await upload(site.resources, site.index, "gadget-1.0-py3-none-any.whl")
    await site.publish()
    content = site.target(f"{WHEEL}.vsa.json")
    told = site.summary()
    assert told["subject"] == [{"name": WHEEL, "digest": {"sha256": file.sha256}}]
    assert told["predicateType"] == "https://slsa.dev/verification_summary/v1"
    predicate = told["predicate"]
    assert predicate["policy"]["digest"] == {"sha256": sha256_of(policy())}
    assert [one["digest"]["sha256"] for one in predicate["inputAttestations"]] == [sha256]
    assert (predicate["verificationResult"], predicate["verifiedLevels"]) == ("PASSED", ["SLSA_BUILD_LEVEL_2"])
    assert predicate["resourceUri"] == f"countermark:root/stable/widget/1.0/{WHEEL}"
    assert not list((site.folder / "public/indexes/root/stable/targets/pointers/gadget").glob("*.vsa.json"))
    assert await site.agree()
    for path in (site.folder / "public/indexes/root/stable/targets/pointers/widget").glob("*.vsa.json"):
        path.unlink()
    async with site.resources.engine.connect() as connection:
        facts = await publications.index_facts(connection, site.index.id)
    assert facts is not None
    assert (await sweep(site.resources, facts)).lost == ()
    assert site.target(f"{WHEEL}.vsa.json") == content
    rebuilt = await rebuild(site.resources, site.index.id)
    assert rebuilt is not None
    assert rebuilt.differing == ()
    async with site.resources.engine.begin() as connection:
        await connection.execute(update(File).where(File.id == file.id).values(removed_at=now(), removed_by="root"))
    await enqueue(site.resources, PublishIndex(site.index.id, file.project_id, file.id))
    await site.publish()
    assert (site.target(f"{WHEEL}.vsa.json"), site.pointer(file)) == (None, None)
    assert await site.agree()


async def test_a_new_attestation_is_a_new_summary(site: Site) -> None:
    """A file that was published before there was a policy has one since it was attested under that."""
    file = await site.upload()
    await site.publish()
    await site.policy(policy())
    assert site.target(f"{WHEEL}.vsa.json") is None
    seen = set()
    for ref in ("refs/tags/v1.0", "refs/tags/v1.0.1"):
        sha256 = await site.attest(file, site.bundle(file, ref=ref))
        await site.publish()
        told = site.summary()
        assert sha256 in [one["digest"]["sha256"] for one in told["predicate"]["inputAttestations"]]
        seen.add(sha256)
    assert len(seen) == 2
    assert await site.agree()


async def test_another_team_takes_the_summary(site: Site) -> None:
    """Whoever names the key of the bins can take it as it is, for the very file of this index, and for no other.

    The registry itself never does: what its own key signed is no evidence for it, whatever its policy names.
    """
    await site.policy(policy())
    file = await site.upload()
    await site.attest(file, site.bundle(file))
    await site.publish()
    content = site.target(f"{WHEEL}.vsa.json")
    assert content is not None
    about = JudgedFile("team-b/stable", "widget", "1.0", WHEEL, file.sha256)
    material = TrustMaterial(await own_verifier(site, "root/stable"), site.forge.material().roots, 1)
    taken = judge(material, about, content, (), int(now().timestamp()), None)
    assert (taken.exit_code, taken.verdict.verifier, taken.verdict.level) == (0, "team-a", 2), taken.reason
    changes: list[dict[str, Any]] = [{"version": "1.1"}, {"file_name": "widget-1.0.zip"}, {"sha256": sha256_of(b"x")}]
    for other in (replace(about, **change) for change in changes):
        assert not judge(material, other, content, (), int(now().timestamp()), None).passed
    own = replace(material, own_keys=frozenset([taken.bundles[0].evidence[0].key or ""]))
    refused = judge(own, about, content, (), int(now().timestamp()), None)
    assert (refused.exit_code, "no evidence for itself" in refused.reason) == (60, True)


async def test_own_summaries_let_nothing_be_signed(site: Site) -> None:
    """A policy that names the own key takes no file by it, even where somebody put the summary into the catalogue."""
    await site.policy(policy())
    file = await site.upload()
    await site.attest(file, site.bundle(file))
    await site.publish()
    signed = await own_verifier(site, "root/stable")
    await site.policy(signed)
    circle = await site.upload("widget-1.1-py3-none-any.whl")
    said = orjson.dumps(site.summary()).replace(file.sha256.encode(), circle.sha256.encode())
    said = said.replace(WHEEL.encode(), circle.file_name.encode()).replace(b"/1.0/", b"/1.1/")
    signers = Signers(await load_handles(site.resources), site.resources.settings.data / "keys")
    material = TrustMaterial(signed, site.forge.material().roots, 1)
    await attest(site.resources, site.index, circle, signers.attest(Role.BINS, said), material)
    await site.publish()
    state, words = await site.state(circle)
    assert (state, "no evidence for itself" in words) == ("failed", True), words
    assert site.target(f"{circle.file_name}.pointer") is None
    assert site.pointer(file) is not None


async def test_dry_runs_take_what_clients_take(site: Site) -> None:
    """Of a file that was signed, a policy that withdraws its builder and names the own key is taken by clients alone,
    and told as such; a file that never had a summary, or whose summary is gone, is refused."""
    await site.policy(policy())
    file = await site.upload()
    await site.attest(file, site.bundle(file))
    await site.publish()
    bare = await site.upload("widget-1.1-py3-none-any.whl")
    proposed = (await own_verifier(site, "root/stable")).replace(b"refs/tags/v*", b"refs/tags/gone-*")
    resources, signed = site.resources, await site.resources.trusted.material()
    judging = Judging(resources.settings.attestations, resources.verifying)

    async def tried() -> tuple[Counts, list[Any]]:
        run = DryRun(resources.engine, resources.objects, judging, signed, proposed, int(now().timestamp()))
        async with resources.engine.connect() as connection:
            refused = [(one.file.file_name, one.is_new) async for one in run.refused(hosted_files(connection))]
        return run.counts, refused

    counts, refused = await tried()
    assert refused == [(bare.file_name, False)]
    assert (counts.taken, counts.vouched, counts.newly) == (1, 1, 0)
    for path in (site.folder / "public/indexes/root/stable/targets/pointers/widget").glob("*.vsa.json"):
        path.write_bytes(b"{}")
    counts, refused = await tried()
    assert sorted(refused) == [(WHEEL, True), (bare.file_name, False)]
    assert (counts.taken, counts.vouched) == (0, 0)


async def own_verifier(site: Site, index: str) -> bytes:
    """Return a policy that takes of widget what this registry verified in an index by the policy of `builds`."""
    [bins] = [one for one in await load_handles(site.resources) if one.role is Role.BINS]
    signed = verified(pem_of(fingerprint(bins.key)), verifier_id="countermark:signing", index=index)
    return signed.replace(b"a" * 64, sha256_of(policy()).encode())
