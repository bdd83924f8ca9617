"""Attestations of mirrored files are verified when somebody asks. Contract python-index section 5.1 (5); ADR 0031."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import Sha256, sha256_of
from shared.attesting.processes import Verifying
from shared.attesting.verifier import AttestationVerifier
from shared.errors import ErrorKind, ServiceError
from shared.objects.interface import ObjectStores
from shared.settings import Attestations
from tests.integration.reading.family import Family
from tests.integration.reading.mirror_site import MIRRORS, Site
from tests.support.reading import Reading, open_reading, served
from tests.support.sigstore.instance import Instance, provenance
from tests.support.sigstore.tokens import github
from tests.support.upstream import Upstream

NAME, CONTENT = "thing-2.0-py3-none-any.whl", b"new"
SHA = sha256_of(CONTENT)


@dataclass(slots=True)
class Attested(Site):
    """A site that trusts an instance of its own."""

    root: Path = Path()
    verifying: Verifying = field(default_factory=Verifying)

    def reopen(self) -> None:
        """Go on with another process."""
        self.family.reading = opened(self.engine, self.family.stores, self.root, self.verifying)
        self.client = self.family.reading.client()


def opened(engine: AsyncEngine, stores: ObjectStores, root: Path, verifying: Verifying) -> Reading:
    """Return a process."""
    attestations = Attestations(trusted_root=root)
    return open_reading(engine, stores, mirrors=MIRRORS, attestations=attestations, verifying=verifying)


@pytest.fixture(scope="module")
def instance() -> Instance:
    """A private Sigstore instance."""
    return Instance()


@pytest.fixture
async def verifying() -> AsyncIterator[Verifying]:
    """The verifying processes of a process."""
    async with Verifying() as opened:
        yield opened


@pytest.fixture
async def site(
    engine: AsyncEngine, stores: ObjectStores, instance: Instance, verifying: Verifying, tmp_path: Path
) -> AsyncIterator[Attested]:
    """A mirror that trusts the instance, and a stage based on it."""
    root = tmp_path / "trusted_root.json"
    root.write_bytes(instance.trusted_root())
    upstream = Upstream()
    reading = opened(engine, stores, root, verifying)
    family = Family(engine, reading, stores)
    await family.make("root/pypi", kind="mirror")
    await family.make("a/top", "root/pypi")
    async with served(upstream) as url, reading.client() as client:
        site = Attested(engine, family, upstream, client, url, root=root, verifying=verifying)
        await site.set("root/pypi", mirror_url=f"{url}/simple/")
        yield site


async def ask(site: Attested, name: str = NAME, sha256: str = SHA, index: str = "a/top") -> httpx2.Response:
    """Ask for the verdict on a file, after its page as clients do."""
    await site.get(f"/{index}/+simple/thing/")
    return await site.get(f"/api/v1/indexes/{index}/attestations/{sha256}/{name}")


def add(site: Attested, body: bytes | None, name: str = NAME, content: bytes = CONTENT) -> None:
    """Publish a file upstream, with its provenance object."""
    site.upstream.add("thing", name, content, provenance=body)


async def test_verified(site: Attested, instance: Instance) -> None:
    """Directly and through a base: every step passed, of the object that is served, against the root that was set."""
    body = provenance(instance.attest(NAME, CONTENT))
    add(site, body)
    for index in ("a/top", "root/pypi"):
        answer = await ask(site, index=index)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        assert found["verified"]
        assert found["failure"] is None
        assert (found["filename"], found["sha256"]) == (NAME, SHA)
        assert found["provenance_sha256"] == sha256_of(body)
        assert found["trusted_root"] == {"kind": "configured", "sha256": sha256_of(instance.trusted_root())}
        [one] = found["attestations"]
        assert one["verified"]
        assert [step["passed"] for step in one["steps"]] == [True] * 8
        assert one["publisher"]["repository"] == "acme/thing"
    assert site.upstream.asked[f"/files/{NAME}.provenance"] == 1


@pytest.mark.parametrize(
    ("step", "made"),
    [
        ("subject", lambda instance: instance.attest(NAME, b"other")),
        ("subject", lambda instance: instance.attest("thing-1.9-py3-none-any.whl", CONTENT)),
        ("certificate", lambda _: Instance().attest(NAME, CONTENT)),
        ("identity", lambda instance: instance.attest(NAME, CONTENT, github("evil/fork"))),
        ("structure", lambda _: {"version": 1}),
    ],
)
async def test_refuted(site: Attested, instance: Instance, step: str, made: Any) -> None:
    """What does not verify is told with the step that failed, and the file is served as before."""
    add(site, provenance(made(instance)))
    found = (await ask(site)).json()
    assert not found["verified"]
    [one] = found["attestations"]
    assert one["failure"]["step"] == step
    assert [row["passed"] for row in one["steps"] if row["step"] == step] == [False]
    assert None not in [row["passed"] for row in one["steps"][: [row["step"] for row in one["steps"]].index(step)]]
    page = (await site.get("/a/top/+simple/thing/")).json()
    assert (await site.get(f"/a/top/{page['files'][0]['url'].removeprefix('../../')}")).content == CONTENT


async def test_no_objects(site: Attested, instance: Instance) -> None:
    """A cut object, one that is too large to verify and one that is none fail as a whole; far too large is 502."""
    good = provenance(instance.attest(NAME, CONTENT))
    for number, body in enumerate((good[:-20], good + b" " * (600 << 10), b"\xff\x00")):
        name = f"thing-3.{number}-py3-none-any.whl"
        add(site, body, name)
        await site.expire()
        found = (await ask(site, name)).json()
        assert (found["verified"], found["attestations"]) == (False, [])
        assert found["failure"]["step"] == "structure"
    add(site, b"x" * (10 << 20), NAME)
    await site.expire()
    assert (await ask(site)).status_code == 502


async def test_nothing_to_verify(site: Attested, instance: Instance) -> None:
    """Without provenance, under another digest or name, or in no index there is nothing: 404 with a reason."""
    add(site, None)
    add(site, provenance(instance.attest("thing-3.0.tar.gz", b"3")), "thing-3.0.tar.gz", b"3")
    answer = await ask(site)
    assert (answer.status_code, answer.json()["detail"]) == (404, f"There is no provenance for {NAME}.")
    same_address = sha256_of(b"3")[:16] + "0" * 48
    for digest in (SHA, same_address, "0" * 63, sha256_of(b"3").upper(), "..%2f"):
        assert (await ask(site, "thing-3.0.tar.gz", digest)).status_code == 404
    assert (await site.get(f"/api/v1/indexes/no/index/attestations/{SHA}/{NAME}")).status_code == 404
    assert (await site.get(f"/api/v1/indexes/root/pypi/attestations/{SHA}/%2e%2e")).status_code == 404


async def test_by_name(site: Attested, instance: Instance) -> None:
    """The integrity API passes a mirror's object through; the chain of what a mirror has is told to be none."""
    body = provenance(instance.attest(NAME, CONTENT))
    add(site, body)
    await ask(site)
    for index in ("a/top", "root/pypi"):
        path, every = f"/{index}/+integrity/thing/2.0/{NAME}/provenance", {"accept": "*/*"}
        answer = await site.client.get(path, headers=every)
        assert (answer.status_code, answer.content) == (200, body)
        assert (await site.client.get(path.replace("/2.0/", "/2.1/"), headers=every)).status_code == 404
        chain = await site.get(f"/api/v1/verify/{index}/thing/2.0/{NAME}")
        assert chain.status_code == 404
        assert "never signed" in chain.json()["detail"]


async def test_rights_and_rules(site: Attested, instance: Instance) -> None:
    """Who may not read the file may not ask, and what a rule holds back is 403 with the rule."""
    add(site, provenance(instance.attest(NAME, CONTENT)))
    assert (await ask(site)).status_code == 200
    await site.set("a/top", policy={"quarantined": {"thing": "under review"}})
    answer = await site.get(f"/api/v1/indexes/a/top/attestations/{SHA}/{NAME}")
    assert (answer.status_code, answer.json()["rule"]) == (403, "quarantined")
    await site.family.make("a/closed", "root/pypi", public=False)
    await site.family.reading.news()
    assert (await site.get(f"/api/v1/indexes/a/closed/attestations/{SHA}/{NAME}")).status_code == 401


class TestVerifier:
    """Verifies by processes."""

    async def test_the_public_root(self, instance: Instance, verifying: Verifying) -> None:
        """Where nothing is set the public root counts, which has never heard of a private instance."""
        verifier = AttestationVerifier(Attestations(), verifying)
        found = await verifier.verify(provenance(instance.attest(NAME, CONTENT)), NAME, SHA)
        assert found["trusted_root"]["kind"] == "public"
        assert found["attestations"][0]["failure"]["step"] == "certificate"

    async def test_bad_roots(self, instance: Instance, verifying: Verifying, tmp_path: Path) -> None:
        """A trust root that is not there or is none verifies nothing: 503, and the next one counts at once."""
        body, path = provenance(instance.attest(NAME, CONTENT)), tmp_path / "root.json"
        verifier = AttestationVerifier(Attestations(trusted_root=path), verifying)
        for content in (None, b"{}", b'{"mediaType": 1}'):
            if content is not None:
                path.write_bytes(content)
            with pytest.raises(ServiceError) as refused:
                await verifier.verify(body, NAME, SHA)
            assert refused.value.kind is ErrorKind.UNAVAILABLE
        path.write_bytes(instance.trusted_root())
        assert (await verifier.verify(body, NAME, SHA))["verified"]
        path.write_bytes(Instance().trusted_root())
        assert not (await verifier.verify(body, NAME, SHA))["verified"]

    async def test_time(self, instance: Instance, verifying: Verifying) -> None:
        """What takes too long is ended, and nothing is left running, nor where the client goes away."""
        verifier = AttestationVerifier(Attestations().model_copy(update={"seconds": 0.05}), verifying)
        with pytest.raises(ServiceError, match=r"0\.05 seconds"):
            await verifier.verify(provenance(instance.attest(NAME, CONTENT)), NAME, SHA)
        assert _children() == []
        verifier = AttestationVerifier(Attestations(), verifying)
        asking = asyncio.create_task(verifier.verify(provenance(instance.attest(NAME, CONTENT)), NAME, SHA))
        while not _children():
            await asyncio.sleep(0.005)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert _children() == []

    async def test_at_most_two(self, instance: Instance, verifying: Verifying, tmp_path: Path) -> None:
        """Many questions at once: two processes, the same answer for the same question, too many are told to wait."""
        path = tmp_path / "root.json"
        path.write_bytes(instance.trusted_root())
        verifier = AttestationVerifier(Attestations(trusted_root=path), verifying)
        body = provenance(instance.attest(NAME, CONTENT))
        asked = [asyncio.create_task(verifier.verify(body, NAME, Sha256(f"{n % 4:064x}"))) for n in range(132)]
        most = 0
        while not all(task.done() for task in asked):
            most = max(most, len(_children()))
            await asyncio.sleep(0.01)
        assert most == 2
        answers = await asyncio.gather(*asked, return_exceptions=True)
        refused = [one for one in answers if isinstance(one, ServiceError)]
        assert len(refused) == 4
        assert all(one.kind is ErrorKind.UNAVAILABLE and one.retry_after for one in refused)
        assert [one["verified"] for one in answers if isinstance(one, dict)] == [False] * 128

    async def test_kept_warm(self, instance: Instance, verifying: Verifying) -> None:
        """One process answers all that is asked one after the other, and ends with whoever asks."""
        verifier = AttestationVerifier(Attestations(), verifying)
        seen = set()
        for number in range(5):
            await verifier.verify(provenance(instance.attest(NAME, CONTENT)), NAME, Sha256(f"{number:064x}"))
            seen |= set(_children())
        assert len(seen) == 1
        await verifying.close()
        assert _children() == []

    async def test_none_stays_for_ever(self, instance: Instance) -> None:
        """A process ends when nobody asks for a while, and gives way to a fresh one after so many questions."""
        body = provenance(instance.attest(NAME, CONTENT))
        async with Verifying(idle=0.2, most=2) as verifying:
            verifier = AttestationVerifier(Attestations(), verifying)
            seen = set()
            for number in range(3):
                await verifier.verify(body, NAME, Sha256(f"{number:064x}"))
                seen |= set(_children())
            assert len(seen) == 2
            async with asyncio.timeout(20):
                while _children():
                    await asyncio.sleep(0.05)
            await verifier.verify(body, NAME, Sha256("f" * 64))

    async def test_one_that_died(self, instance: Instance, verifying: Verifying) -> None:
        """A process that was killed while nobody asked, or while somebody did, is replaced by another one."""
        verifier = AttestationVerifier(Attestations(), verifying)
        body = provenance(instance.attest(NAME, CONTENT))
        await verifier.verify(body, NAME, SHA)
        [first] = _children()
        os.kill(int(first), signal.SIGKILL)
        await verifier.verify(body, NAME, Sha256("1" * 64))
        [second] = _children()
        os.kill(int(second), signal.SIGSTOP)
        asking = asyncio.create_task(verifier.verify(body, NAME, Sha256("2" * 64)))
        await asyncio.sleep(0.05)
        os.kill(int(second), signal.SIGKILL)
        assert not (await asking)["verified"]
        assert len({first, second, *_children()}) == 3


def _children() -> list[str]:
    """Return the verifying processes of this one that run."""
    found = []
    for task in os.listdir("/proc/self/task"):
        path = Path(f"/proc/self/task/{task}/children")
        for pid in path.read_text().split() if path.exists() else []:
            line = Path(f"/proc/{pid}/cmdline")
            if line.exists() and b"shared.attesting.program" in line.read_bytes():
                found.append(pid)
    return found
