"""Attestations and signing: pointers name them, pages say that there are some, and the policy of the moment decides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import select, update

from countermark.core.attestations.bundle import read_bundle
from countermark.core.attestations.judgements import JudgedFile
from countermark.core.attestations.judging import judge
from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.ceremony.keys import fingerprint
from countermark.core.digest import sha256_of
from countermark.core.pointer import Pointer, parse_pointer
from services.signing.ceremonies.own_trust import set_trust_targets
from services.signing.keys.handles import load_handles
from services.signing.keys.signers import Signers
from services.signing.publication.usecases import Publisher
from services.signing.upkeep.checking import check
from services.signing.upkeep.copying import copy_tree
from services.signing.upkeep.rebuilding import rebuild
from services.signing.upkeep.sweeping import sweep
from shared.catalogue import publications, releases
from shared.catalogue.signing_events import keep_targets
from shared.catalogue.tables import File, PublishedFile
from shared.catalogue.trust import StoredTrustFile, insert_trust_file
from shared.jobs.messages import PublishIndex
from shared.objects.filesystem import FolderStore
from shared.objects.interface import Put
from shared.objects.keys import bundle_key
from shared.resources import Resources
from shared.trust.metadata import trust_metadata
from shared.trust.roles import PROFILES, Role
from tests.integration.signing.changes import enqueue, upload
from tests.support.attesting import attest
from tests.support.builds import Forge, body, policy
from tests.support.factories import MadeFile, MadeIndex, make_index, now
from tests.support.sigstore.tokens import github
from tests.support.tuf_reader import TreeReader
from tests.support.verifiers import pem_of, verified

WHEEL, BYTES = "widget-1.0-py3-none-any.whl", b"bytes"


@dataclass
class Site:
    """An index of a deployment whose trust role signs a test forge's root, and a policy or none."""

    resources: Resources
    index: MadeIndex
    forge: Forge
    folder: Path
    publisher: Publisher
    read: int = 0

    async def policy(self, content: bytes | None) -> None:
        """Let trust sign a policy in place of what it signed."""
        if content is None:
            await set_trust_targets(self.resources, {}, ("trust/policy.yaml",), "no policy")
        else:
            await set_trust_targets(self.resources, {"trust/policy.yaml": content}, (), "a policy")

    async def upload(self, name: str = WHEEL, content: bytes = BYTES) -> MadeFile:
        """Do what an upload does, and nothing is published yet."""
        return await upload(self.resources, self.index, name, content)

    async def attest(self, file: MadeFile, bundle: bytes, *, named: bool = True) -> str:
        """Keep a bundle about a file, and ask for a publication."""
        return await attest(self.resources, self.index, file, bundle, self.forge.material(OPEN), named=named)

    def bundle(self, file: MadeFile, **run: str) -> bytes:
        """Return build provenance of a file, of another run each time."""
        return body(self.forge.built(file.file_name, file.content, github(**run)))

    async def publish(self) -> None:
        """Sign what waits."""
        await self.publisher.publish(self.index.id)

    def target(self, path: str) -> bytes | None:
        """Return a target as a new client gets it."""
        self.read += 1
        tree = self.folder / "public/indexes/root/stable"
        return TreeReader(tree, self.folder / f"cache{self.read}").target(f"pointers/widget/{path}")

    def pointer(self, file: MadeFile) -> Pointer | None:
        """Return the signed pointer of a file."""
        content = self.target(f"{file.file_name}.pointer")
        return None if content is None else parse_pointer(content)

    def summary(self) -> dict[str, Any]:
        """Return the statement of the wheel's signed summary."""
        said: dict[str, Any] = orjson.loads(read_bundle(self.target(f"{WHEEL}.vsa.json") or b"").payload)
        return said

    def listed(self) -> dict[str, str | None]:
        """Return the files of the signed page, name -> address of the provenance object."""
        page = orjson.loads(self.target("_simple.json") or b'{"files": []}')
        return {file["filename"]: file.get("provenance") for file in page["files"]}

    async def state(self, file: MadeFile) -> tuple[str, str]:
        """Return how far a file's upload is, and what went wrong."""
        async with self.resources.engine.connect() as connection:
            found = await releases.progress(connection, file.id)
        assert found is not None
        return found.state(self.resources.clock.now()), found.error or ""

    async def named(self, file: MadeFile) -> str | None:
        """Return which attestation the published pointer names, as the catalogue has it."""
        query = select(PublishedFile.attestation_sha256).where(PublishedFile.file_id == file.id)
        async with self.resources.engine.connect() as connection:
            return await connection.scalar(query.where(PublishedFile.to_serial.is_(None)))

    async def agree(self) -> bool:
        """Return whether what is signed is what the catalogue says."""
        found = await check(self.resources, self.index.id)
        assert found is not None
        return not found.faults


OPEN = policy("nothing-else")
"""A policy that names the forge's root and demands nothing of widget."""


@pytest.fixture
async def site(resources: Resources, tmp_path: Path) -> Site:
    """The site, with a policy that demands nothing."""
    index, forge = await make_index(resources.engine), Forge()
    root = {"trusted_root.json": forge.instance.trusted_root(), "trust/policy.yaml": OPEN}
    await set_trust_targets(resources, root, (), "a test")
    await enqueue(resources, PublishIndex(index.id))
    made = Site(resources, index, forge, tmp_path, Publisher(resources))
    await made.publish()
    return made


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


async def own_verifier(site: Site, index: str) -> bytes:
    """Return a policy that takes of widget what this registry verified in an index by the policy of `builds`."""
    [bins] = [one for one in await load_handles(site.resources) if one.role is Role.BINS]
    signed = verified(pem_of(fingerprint(bins.key)), verifier_id="countermark:signing", index=index)
    return signed.replace(b"a" * 64, sha256_of(policy()).encode())


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
