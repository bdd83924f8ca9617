"""Attestations and signing: pointers name them, pages say that there are some, and the policy of the moment decides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from services.signing.keys.handles import load_handles
from services.signing.keys.signers import Signers
from services.signing.publication.usecases import Publisher
from services.signing.upkeep.copying import copy_tree
from services.signing.upkeep.rebuilding import rebuild
from services.signing.upkeep.sweeping import sweep
from shared.catalogue import publications
from shared.catalogue.signing_events import keep_targets
from shared.catalogue.tables import File
from shared.catalogue.trust import StoredTrustFile, insert_trust_file
from shared.jobs.messages import PublishIndex
from shared.objects.filesystem import FolderStore
from shared.objects.interface import Put
from shared.objects.keys import bundle_key
from shared.resources import Resources
from shared.trust.metadata import trust_metadata
from shared.trust.roles import PROFILES, Role
from tests.integration.signing.attested_site import OPEN, WHEEL, Site
from tests.integration.signing.changes import enqueue, upload
from tests.support.attesting import attest
from tests.support.builds import policy
from tests.support.factories import MadeFile, now


async def test_the_first_pointer_names_the_build_provenance(site: Site) -> None:
    """Digest and length are those of the bundle where its key says; the page prints an absolute address beside it."""
    file = await site.upload()
    bundle = site.bundle(file)
    sha256 = await site.attest(file, bundle)
    await site.publish()
    pointer = site.pointer(file)
    assert pointer is not None
    assert pointer.attestation is not None
    assert (pointer.attestation.digest, pointer.attestation.length) == (sha256, len(bundle))
    assert (site.folder / "public" / pointer.attestation.uri[1:]).read_bytes() == bundle
    address = f"http://127.0.0.1:3141/root/stable/+f/{file.path}.provenance"
    assert site.listed() == {WHEEL: address}
    assert await site.named(file) == sha256
    assert await site.agree()


async def test_a_later_attestation_is_a_new_pointer_of_the_same_file(site: Site) -> None:
    """The old pointer is there before, the new one after; nothing else of the file changes, nor of others."""
    file, other = await site.upload(), await site.upload("widget-1.1-py3-none-any.whl")
    await site.publish()
    before = site.pointer(file)
    assert before is not None
    assert (before.attestation, site.listed()) == (None, {WHEEL: None, other.file_name: None})
    first = await site.attest(file, site.bundle(file))
    await site.publish()
    after = site.pointer(file)
    assert after is not None
    assert after.attestation is not None
    assert (after.attestation.digest, replace(after, attestation=None)) == (first, before)
    second = await site.attest(file, site.bundle(file, ref="refs/tags/v1.0.1"))
    await Publisher(site.resources).publish(site.index.id)
    last = site.pointer(file)
    assert last is not None
    assert last.attestation is not None
    assert (last.attestation.digest, await site.named(file)) == (second, second)
    assert (site.folder / "public" / after.attestation.uri[1:]).exists(), "nothing is overwritten"
    assert await site.agree()


async def test_one_that_is_not_named_changes_the_page_alone(site: Site) -> None:
    """A second kind of attestation is in the provenance object, and the pointer stays."""
    file = await site.upload()
    await site.publish()
    await site.attest(file, site.bundle(file), named=False)
    await site.publish()
    pointer = site.pointer(file)
    assert pointer is not None
    assert pointer.attestation is None
    assert site.listed()[WHEEL] is not None
    assert await site.agree()


async def test_a_policy_that_became_stricter_is_asked_before_the_signature(site: Site) -> None:
    """What upload admitted by the policy of then is refused by that of now, with its words; what is out stays out."""
    published = await site.upload("widget-0.9-py3-none-any.whl", b"old")
    await site.publish()
    waiting, good = await site.upload(), await site.upload("widget-1.1-py3-none-any.whl", b"good")
    await attest(site.resources, site.index, good, site.bundle(good), site.forge.material(OPEN), announce=False)
    await site.policy(policy())
    await site.publish()
    assert set(site.listed()) == {published.file_name, good.file_name}
    assert site.pointer(published) is not None
    assert (await site.state(good))[0] == "published"
    state, words = await site.state(waiting)
    assert (state, "policy" in words, "demands an attestation" in words) == ("failed", True, True)


async def test_a_new_attestation_that_the_policy_does_not_take_leaves_the_pointer(site: Site) -> None:
    """A file that is out is not taken away by what is said about it later: the older pointer stays."""
    await site.policy(policy())
    file = await site.upload()
    first = await site.attest(file, site.bundle(file))
    await site.publish()
    # Upload would have refused it; a policy of now does.
    await site.attest(file, site.bundle(file, repository="evil/thing"))
    await site.publish()
    pointer = site.pointer(file)
    assert pointer is not None
    assert pointer.attestation is not None
    assert pointer.attestation.digest == first
    assert await site.named(file) == first
    assert await site.agree()


async def sign_unseen(resources: Resources, policy: bytes) -> None:
    """Sign and publish a policy that nobody has read, as earlier versions of the server did."""
    spec, until = PROFILES["development"].roles[Role.TRUST], now() + timedelta(days=90)
    signers = Signers(await load_handles(resources), resources.settings.data / "keys")
    content = signers.sign(Role.TRUST, trust_metadata(3, until, {"trust/policy.yaml": policy}), spec.threshold)
    async with resources.engine.begin() as connection:
        await keep_targets(connection, [policy], at=now())
        await insert_trust_file(connection, StoredTrustFile("trust", 3, until, content))


async def test_material_that_cannot_be_used_stops_what_would_be_judged_alone(site: Site) -> None:
    """Nothing new is signed under a policy that cannot be read; a removal goes on."""
    old, other = await site.upload(), await site.upload("widget-0.9-py3-none-any.whl", b"other")
    await site.publish()
    new = await site.upload("widget-1.1-py3-none-any.whl", b"new")
    await sign_unseen(site.resources, b"schema: policy/v2")
    async with site.resources.engine.begin() as connection:
        await connection.execute(update(File).where(File.id == old.id).values(removed_at=now(), removed_by="root"))
    await enqueue(site.resources, PublishIndex(site.index.id, old.project_id, old.id))
    await site.publish()
    assert set(site.listed()) == {other.file_name}
    state, words = await site.state(new)
    assert (state, "cannot be used: schema must be" in words) == ("failed", True), words


async def test_a_policy_that_nobody_signed_is_not_applied(site: Site) -> None:
    """Who can write to the catalogue does not choose the policy: what it would let in is not signed."""
    await site.policy(policy())
    file = await site.upload()
    content = trust_metadata(4, now() + timedelta(days=90), {"trust/policy.yaml": OPEN}).to_bytes()
    async with site.resources.engine.begin() as connection:
        await keep_targets(connection, [OPEN], at=now())
        await insert_trust_file(connection, StoredTrustFile("trust", 4, now() + timedelta(days=90), content))
    await site.publish()
    state, words = await site.state(file)
    assert (state, "trust.json is not signed as it has to be" in words) == ("failed", True), words


Damage = Callable[[Site, MadeFile, str], Awaitable[None]]


async def _other_bytes(site: Site, file: MadeFile, sha256: str) -> None:
    other = site.bundle(file, ref="refs/tags/v9")
    await site.resources.objects.public.put(bundle_key(sha256, file.file_name), other, Put.REPLACE)  # type: ignore[arg-type]


async def _gone(site: Site, file: MadeFile, sha256: str) -> None:
    await site.resources.objects.public.delete(bundle_key(sha256, file.file_name))  # type: ignore[arg-type]


@pytest.mark.parametrize("damage", [_other_bytes, _gone])
async def test_bundles_are_hashed_again_before_they_are_named(site: Site, damage: Damage) -> None:
    """A bundle that was replaced or taken away after its upload has its file refused."""
    file = await site.upload()
    sha256 = await site.attest(file, site.bundle(file))
    await damage(site, file, sha256)
    await site.publish()
    assert site.pointer(file) is None
    state, words = await site.state(file)
    assert (state, "attestation" in words) == ("failed", True)


async def test_sweeping_rebuilding_and_copying_keep_attestations(site: Site, tmp_path: Path) -> None:
    """A pointer that was lost comes back as it was signed, whatever was added since; copies bring bundles along."""
    file = await site.upload()
    sha256 = await site.attest(file, site.bundle(file))
    await site.publish()
    signed = site.target(f"{WHEEL}.pointer")
    new = site.bundle(file, ref="refs/tags/v2")
    await attest(site.resources, site.index, file, new, site.forge.material(OPEN), announce=False)
    tree = site.folder / "public/indexes/root/stable/targets/pointers/widget"
    for path in tree.glob("*.pointer"):
        path.unlink()
    async with site.resources.engine.connect() as connection:
        facts = await publications.index_facts(connection, site.index.id)
    assert facts is not None
    swept = await sweep(site.resources, facts)
    assert swept.lost == ()
    assert site.target(f"{WHEEL}.pointer") == signed
    rebuilt = await rebuild(site.resources, site.index.id)
    assert rebuilt is not None
    assert (rebuilt.differing, rebuilt.again) == ((), 0)
    copy = FolderStore(tmp_path / "copy")
    await copy_tree(site.resources.objects.public, copy, site.index.name)
    assert (tmp_path / "copy" / bundle_key(sha256, file.file_name)).exists()  # type: ignore[arg-type]
    assert (site.folder / "public" / bundle_key(sha256, file.file_name)).exists()  # type: ignore[arg-type]


async def test_another_outside_url_is_a_rebuild(site: Site) -> None:
    """Pages that print the address of before are asked for again, and no others; nothing is called damaged."""
    file = await site.upload()
    await site.attest(file, site.bundle(file))
    await upload(site.resources, site.index, "gadget-1.0-py3-none-any.whl")
    await site.publish()
    settings = site.resources.settings.model_copy(update={"outside_url": "https://registry.example"})
    moved = replace(site.resources, settings=settings)
    rebuilt = await rebuild(moved, site.index.id)
    assert rebuilt is not None
    assert (rebuilt.differing, rebuilt.again) == ((), 1)
    await Publisher(moved).publish(site.index.id)
    assert site.listed() == {WHEEL: f"https://registry.example/root/stable/+f/{file.path}.provenance"}
    open_to_all = settings.model_copy(update={"outside_url": "http://registry.example"})
    plain = replace(site.resources, settings=open_to_all)
    await rebuild(plain, site.index.id)
    await Publisher(plain).publish(site.index.id)
    assert site.listed() == {WHEEL: None}, "an address that is neither https nor of this machine is not printed"
