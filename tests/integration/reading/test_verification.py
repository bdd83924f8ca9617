"""The chain of a file is verified by the server, from what is stored and served, and breaks where it was tampered with.

Trust contract sections 3.3 and 6 (rows 1, 2, 5, 8, 16, 17, 19 to 24); ADR 0039.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from securesystemslib.signer import CryptoSigner
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import sha256_of
from countermark.core.names import FileName, NormalizedName, summary_target
from services.download.settings import Limits
from shared.catalogue.tables import Intent
from shared.http import RequestId
from shared.objects.filesystem import FolderStore
from shared.objects.interface import ObjectStores
from shared.objects.keys import check_key, core_metadata_key, target_key
from tests.integration.reading.verified import CONTENT, NAMES, TARGET, WHEEL, Verified
from tests.support.builds import Forge, body, policy
from tests.support.factories import make_default, make_file, make_index, make_token, now, set_bases
from tests.support.kept_bundles import Keeper
from tests.support.reading import basic, open_reading
from tests.support.s3_server import S3Server
from tests.support.signed_index import SignedIndex
from tests.support.sigstore.tokens import github
from tests.support.verifiers import Verifier, verified

UNATTESTED = frozenset(NAMES[6:12])


BOTH_STORES = pytest.mark.parametrize("stores", ["folder", "s3"], indirect=True)


@pytest.fixture
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStores]:
    """A public side in a folder, or, where a test asks for it, in a bucket."""
    private = FolderStore(tmp_path / "private", private=True)
    if getattr(request, "param", "folder") == "folder":
        yield ObjectStores(FolderStore(tmp_path / "public"), private)
        return
    server: S3Server = request.getfixturevalue("plain_s3")
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(server.connect())
        yield ObjectStores(connection.store(server.make_bucket()), private)


@pytest.fixture
async def site(engine: AsyncEngine, stores: ObjectStores, forge: Forge) -> AsyncIterator[Verified]:
    """The default index with one file, which trusts the instance and demands nothing."""
    index = await make_index(engine)
    await make_default(engine, index)
    signed = SignedIndex(engine, stores, index)
    reading = open_reading(engine, stores, download_limits=replace(Limits(), verified_seconds=0.0))
    async with reading.client() as client, reading.resources.verifying:
        yield Verified(signed, reading, client)


def trust(site: Verified, forge: Forge, signed: bytes | None = None) -> None:
    """Let the trust role sign the forge's root, and a policy that takes what its release workflow built."""
    targets = {"trusted_root.json": forge.instance.trusted_root(), "trust/policy.yaml": signed or policy("thing")}
    deployment = site.signed.sim.deployment
    deployment.trust_targets |= targets
    site.signed.sim = type(site.signed.sim)(deployment=deployment)


async def test_without_attestations(site: Verified) -> None:
    """A file without attestations passes by its metadata, where nothing demands more; the evidence names every file."""
    made = await site.signed.add(WHEEL, CONTENT)
    await site.signed.publish()
    found = await site.found()
    assert (found["verified"], found["exit_code"], found["failed"]) == (True, 0, None)
    results = {step["name"]: step["result"] for step in found["steps"]}
    assert {name for name, result in results.items() if result == "skipped"} == UNATTESTED
    evidence = {step["name"]: step["evidence"] for step in found["steps"]}
    assert evidence["digest"]["sha256"] == evidence["digest"]["found_sha256"] == made.sha256
    assert evidence["timestamp"]["version"] == site.signed.sim.timestamp_version
    assert evidence["pointer"]["attestation_sha256"] is None
    assert evidence["target"]["target"] == TARGET
    for name in ("root", "timestamp", "snapshot", "target", "pointer"):
        assert len(evidence[name]["sha256"]) == 64


@BOTH_STORES
async def test_with_attestation(site: Verified, forge: Forge) -> None:
    """A named bundle is verified by the roots that trust signs; every step says what it found."""
    trust(site, forge)
    await site.signed.add(WHEEL, CONTENT, body(forge.built(WHEEL, CONTENT)))
    await site.signed.publish()
    found = await site.found()
    assert found["verified"], found["reason"]
    assert ({step["code"] for step in found["steps"]}, found["code"]) == ({None}, None)
    assert {step["result"] for step in found["steps"]} == {"passed"}
    evidence = {step["name"]: step["evidence"] for step in found["steps"]}
    assert evidence["identity"]["issuer"] == "https://token.actions.githubusercontent.com"
    assert evidence["log"]["log"] == "v1"
    assert "trusted_root.json" in evidence["policy"]["roots"]


@dataclass(frozen=True, slots=True)
class Attack:
    """What is done to the store or the catalogue, and where the chain breaks then."""

    step: str
    code: int
    objects: str = ""
    statement: str = ""
    says: str = ""


ATTACKS = [
    Attack("timestamp", 20, statement="update tuf_head set timestamp = overlay(timestamp placing '3' from "
           "position('\"version\":' in convert_from(timestamp, 'UTF8')) + 10 for 1)"),
    Attack("root", 10, statement="delete from trust_file where role = 'root'"),
    Attack("snapshot", 23, objects="snapshot"),
    Attack("snapshot", 10, statement="update tuf_file set sha256 = repeat('0', 64) where role = 'snapshot'",
           says="catalogue's row of 1.snapshot.json"),
    Attack("target", 20, objects="bin"),
    Attack("target", 23, objects="pointer"),
    Attack("digest", 41, objects="file"),
    Attack("attestation digest", 50, objects="bundle"),
    Attack("catalogue", 10, statement="update file set sha256 = repeat('0', 64)", says="sha256 of the file"),
    Attack("catalogue", 10, statement="update file set length = 3", says="length of the file"),
    Attack("catalogue", 10, statement="update release set version = '9.9'"),
    Attack("catalogue", 10, statement="update attestation set sha256 = repeat('0', 64)"),
    Attack("catalogue", 10, statement="update attestation set facts = jsonb_set(facts, '{bundle_sha256}', '\"00\"')"),
    Attack("catalogue", 10, statement="update published_file set attestation_sha256 = null"),
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: f"{one.step}-{one.objects or one.statement[:40]}")
async def test_tampered(site: Verified, forge: Forge, attack: Attack) -> None:
    """One byte of any stored object, or one row, and the chain breaks at exactly that step."""
    trust(site, forge)
    made = await site.signed.add(WHEEL, CONTENT, body(forge.built(WHEEL, CONTENT)))
    await site.signed.publish()
    assert (await site.found())["verified"]
    sim = site.signed.sim
    digest = (sim.pointers[WHEEL].attestation or sim.pointers[WHEEL].file).digest
    keys = {
        "snapshot": sim.key(f"metadata/{sim.snapshot_version}.snapshot.json"),
        "bin": sim.bin_key(TARGET),
        "pointer": sim.target_key(TARGET),
        "file": f"files/{made.sha256[:2]}/{made.sha256[2:]}/{WHEEL}",
        "bundle": f"files/{digest[:2]}/{digest[2:]}/{WHEEL}.sigstore.json",
    }
    if attack.objects == "bin":
        sim.resign_bin(TARGET, CryptoSigner.generate_ed25519())
        await site.signed.stores.public.delete(check_key(keys["bin"]))
        await site.signed.stores.public.put(check_key(keys["bin"]), sim.objects[keys["bin"]])
    elif attack.objects:
        await site.signed.flip(keys[attack.objects])
    else:
        await site.signed.tamper(attack.statement)
    assert await site.broken() == (attack.step, attack.code)
    assert attack.says in (await site.found())["reason"]


@BOTH_STORES
@pytest.mark.parametrize(
    ("what", "step", "key"), [("file", "digest", 10), ("pointer", "target", 10), ("bundle", "attestation digest", 10)]
)
async def test_missing(site: Verified, forge: Forge, what: str, step: str, key: int) -> None:
    """A deleted object breaks the chain at its step, with what a client ends with that cannot have it."""
    trust(site, forge)
    made = await site.signed.add(WHEEL, CONTENT, body(forge.built(WHEEL, CONTENT)))
    await site.signed.publish()
    sim = site.signed.sim
    named = sim.pointers[WHEEL].attestation
    assert named is not None
    keys = {"file": f"files/{made.sha256[:2]}/{made.sha256[2:]}/{WHEEL}", "pointer": sim.target_key(TARGET)}
    await site.signed.stores.public.delete(check_key(keys.get(what, named.uri.removeprefix("/"))))
    assert await site.broken() == (step, key)


async def test_bundles_that_do_not_verify(site: Verified, forge: Forge) -> None:
    """A bundle of another file, a foreign authority's and one that is none break it at their step, signed or not."""
    trust(site, forge)
    files = {
        "thing-1.1-py3-none-any.whl": (body(forge.built(WHEEL, CONTENT)), "subject", 52, "attestation.subject"),
        "thing-1.2-py3-none-any.whl": (b'{"mediaType": "none"}', "statement", 51, "attestation.structure"),
    }
    foreign = body(Forge().built("thing-1.3-py3-none-any.whl", CONTENT))
    files["thing-1.3-py3-none-any.whl"] = (foreign, "identity", 60, "attestation.certificate")
    for name, (bundle, *_) in files.items():
        await site.signed.add(name, CONTENT, bundle)
    await site.signed.publish()
    for name, (_, *expected) in files.items():
        found = (await site.ask(name, name.split("-")[1])).json()
        assert [found["failed"], found["exit_code"], found["code"]] == expected, found["reason"]


async def test_policy(site: Verified, forge: Forge) -> None:
    """What the policy demands is missing, or another workflow built it: the step and the code of the client."""
    trust(site, forge)
    await site.signed.add(WHEEL, CONTENT)
    other = "thing-1.1-py3-none-any.whl"
    claims = github("evil/fork")
    await site.signed.add(other, CONTENT, body(forge.built(other, CONTENT, claims)))
    await site.signed.publish()
    assert await site.broken() == ("policy", 62)
    assert (await site.found())["code"] == "policy.predicate"
    found = (await site.ask(other, "1.1")).json()
    assert (found["failed"], found["exit_code"], found["code"]) == ("identity", 60, "policy.workflow"), found["reason"]


async def test_altered_policy(site: Verified, forge: Forge) -> None:
    """A policy that was changed in the catalogue is not what key holders signed, and judges nothing."""
    trust(site, forge)
    await site.signed.add(WHEEL, CONTENT)
    await site.signed.publish()
    changed = policy("x")
    statement_ = "update trust_target set content = :content where convert_from(content, 'UTF8') like '%policy/v1%'"
    await site.signed.tamper(statement_, content=changed)
    assert await site.broken() == ("policy", 23)


async def test_who_may_ask(site: Verified, engine: AsyncEngine) -> None:
    """As for the file: 401, 403, 404; held 403 with the reason, removed 410; inherited, in its own index."""
    made = await site.signed.add(WHEEL, CONTENT)
    await site.signed.publish()
    top = await make_index(engine, "a/top")
    await set_bases(engine, top, "root/stable")
    await make_index(engine, "a/closed", public=False)
    found = (await site.ask(index="a/top")).json()
    assert (found["verified"], found["index"]) == (True, "root/stable")
    assert (await site.ask(index="a/closed")).status_code == 401
    stranger = {"authorization": basic("x", await make_token(engine, "stranger"))}
    assert (await site.ask(index="a/closed", headers=stranger)).status_code == 403
    for name, version, index in (
        ("thing-7.0.tar.gz", "7.0", "root/stable"),
        (WHEEL, "1.1", "root/stable"),
        (WHEEL, "1.0", "no/index"),
        ("..", "1.0", "root/stable"),
    ):
        assert (await site.ask(name, version, index)).status_code == 404
    await make_file(engine, site.signed.index, "thing-8.0.tar.gz", b"waits")
    assert (await site.ask("thing-8.0.tar.gz", "8.0")).status_code == 404, "no publication shows it"
    held = "update file set held_at = :at, held_reason = 'odd' where file_name = :name"
    await site.signed.tamper(held, at=now(), name=WHEEL)
    await site.signed.tamper("update published_file set to_serial = 2")
    answer = await site.ask()
    assert (answer.status_code, "odd" in answer.text) == (403, True)
    await site.signed.tamper("update file set removed_at = :at where file_name = :name", at=now(), name=WHEEL)
    assert (await site.ask()).status_code == 410
    assert made.file_name == WHEEL


@BOTH_STORES
async def test_many_at_once(site: Verified) -> None:
    """The same question many times is one verification; what was found is told again only while nothing changed."""
    await site.signed.add(WHEEL, CONTENT)
    await site.signed.publish()
    site.reading = open_reading(site.signed.engine, site.signed.stores, download_limits=Limits(verified_seconds=60))
    async with site.reading.client() as client, site.reading.resources.verifying:
        site.client = client
        answers = await asyncio.gather(*(site.ask() for _ in range(40)))
        assert {answer.status_code for answer in answers} == {200}
        assert (await site.found())["verified"]
        made = site.signed.files[WHEEL]
        await site.signed.flip(f"files/{made.sha256[:2]}/{made.sha256[2:]}/{WHEEL}")
        assert await site.broken() == ("digest", 41)


async def test_what_broke_is_not_told_again(site: Verified) -> None:
    """What was found is remembered only while nothing changed: an object, or a file of the metadata, that is put right
    is found so at once."""
    made = await site.signed.add(WHEEL, CONTENT)
    await site.signed.publish()
    site.reading = open_reading(site.signed.engine, site.signed.stores, download_limits=Limits(verified_seconds=60))
    file, bin_ = f"files/{made.sha256[:2]}/{made.sha256[2:]}/{WHEEL}", check_key(site.signed.sim.bin_key(TARGET))
    async with site.reading.client() as client, site.reading.resources.verifying:
        site.client = client
        await site.signed.flip(file)
        assert await site.broken() == ("digest", 41)
        await site.signed.flip(file)
        assert (await site.found())["verified"]
        site.reading = open_reading(site.signed.engine, site.signed.stores, download_limits=Limits(verified_seconds=60))
    async with site.reading.client() as client, site.reading.resources.verifying:
        site.client = client
        await site.signed.stores.public.delete(bin_)
        assert (await site.broken())[0] == "target"
        await site.signed.stores.public.put(bin_, site.signed.sim.objects[bin_])
        assert (await site.found())["verified"]


async def test_fair_turns(site: Verified, engine: AsyncEngine) -> None:
    """Whoever asks for many files waits for one at a time, and beyond some is told 429 to come back; another address
    and an account are answered meanwhile."""
    names = [f"thing-1.{number}-py3-none-any.whl" for number in range(12)]
    for name in names:
        await site.signed.add(name, CONTENT + name.encode())
    await site.signed.publish()
    await site.reading.news()
    token = await make_token(engine, "root")
    await site.reading.news()

    async def ask(name: str, address: str, **more: Any) -> int:
        transport = httpx2.ASGITransport(RequestId(site.reading.app), client=(address, 1))
        async with httpx2.AsyncClient(transport=transport, base_url="http://index.test") as client:
            answer = await client.get(f"/api/v1/verify/root/stable/thing/{name.split('-')[1]}/{name}", **more)
        if answer.status_code == 429:
            assert answer.headers["retry-after"] == "5"
            assert answer.headers["content-type"] == "application/problem+json"
            assert "waiting to be verified" in answer.json()["detail"]
        return answer.status_code

    greedy = [asyncio.create_task(ask(name, "2001:db8::1")) for name in names[:5]]
    greedy += [asyncio.create_task(ask(name, "2001:db8::2")) for name in names[5:9]]
    others = [
        asyncio.create_task(ask(names[9], "192.0.2.1")),
        asyncio.create_task(ask(names[10], "2001:db8::3", headers={"authorization": basic("x", token)})),
        # Nobody waits behind the greedy one for what that one has asked for as well.
        asyncio.create_task(ask(names[4], "192.0.2.2")),
    ]
    assert [await one for one in others] == [200, 200, 200]
    statuses = await asyncio.gather(*greedy)
    assert set(statuses) == {200, 429}
    assert statuses.count(200) == 5, "one under way, four waiting"


async def test_core_metadata(site: Verified) -> None:
    """The last step compares core metadata with what the project's page is signed with: the row, and the bytes."""
    made = await site.signed.add(WHEEL, CONTENT, core_metadata=b"Name: thing")
    await site.signed.publish()
    found = await site.found()
    assert found["steps"][-1]["evidence"]["core_metadata_sha256"] == sha256_of(b"Name: thing")
    key = core_metadata_key(made.sha256, made.file_name)
    await site.signed.flip(key)
    assert await site.broken() == ("catalogue", 10)
    assert "the stored core metadata have sha256" in (await site.found())["reason"]
    await site.signed.stores.public.delete(key)
    assert await site.broken() == ("catalogue", 10)
    await site.signed.tamper("update file set core_metadata_sha256 = null")
    assert await site.broken() == ("catalogue", 10)
    assert "sha256 of its core metadata" in (await site.found())["reason"]


async def test_what_no_pointer_names_is_evidence(site: Verified, forge: Forge) -> None:
    """A bundle that no pointer names satisfies a policy, as it does for clients; one that is damaged, or does not
    verify, is no evidence, and no failure of its own."""
    trust(site, forge)
    made = await site.signed.add(WHEEL, CONTENT)
    await site.signed.publish()
    assert await site.broken() == ("policy", 62)
    keeper = Keeper(site.signed.engine, site.signed.stores, site.signed.index)
    digest = await keeper.keep(made, body(forge.built(WHEEL, CONTENT)))
    found = await site.found()
    assert (found["verified"], found["exit_code"]) == (True, 0)
    assert [step["result"] for step in found["steps"] if step["name"] == "identity"] == ["passed"]
    await site.signed.flip(f"files/{digest[:2]}/{digest[2:]}/{WHEEL}.sigstore.json")
    found = await site.found()
    assert (found["failed"], found["exit_code"]) == ("policy", 62)
    await keeper.keep(made, body(Forge().built(WHEEL, CONTENT)))
    found = await site.found()
    assert (found["failed"], found["exit_code"]) == ("policy", 62)
    assert "1 attestation(s) that no pointer names do not verify" in found["reason"]


async def test_the_signed_summary_is_evidence(site: Verified, forge: Forge) -> None:
    """Where the policy takes what a verifier found, the summary beside the pointer counts as it does for clients."""
    team = Verifier(forge.instance)
    trust(site, forge, verified(team.pem, "thing"))
    await site.signed.add(WHEEL, CONTENT)
    path = summary_target(NormalizedName("thing"), FileName(WHEEL))
    for version, (changes, ends) in enumerate([({"verificationResult": "FAILED"}, 62), ({}, 0)], start=1):
        summary = body(team.summary(WHEEL, CONTENT, **changes))
        site.signed.sim.targets[path] = summary
        await site.signed.publish()
        values = {"path": path, "operation": "set", "sha256": sha256_of(summary), "length": len(summary), "fence": 1}
        async with site.signed.engine.begin() as connection:
            row = {"index_id": site.signed.index.id, "version": version, "serial": version} | values
            await connection.execute(insert(Intent).values(**row))
        found = await site.found()
        assert (found["verified"], found["exit_code"]) == (ends == 0, ends)
    [about] = [step["evidence"] for step in found["steps"] if step["name"] == "policy"]
    assert "verified by team-a" in str(about)
    await site.signed.flip(str(target_key(site.signed.index.name, path, sha256_of(summary))))
    assert await site.broken() == ("policy", 62)
