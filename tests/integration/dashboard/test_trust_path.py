"""A file's page on a real gateway before the real services: what they verify of a signed tree is what it shows.

Catalogue and sessions are in real servers; attestations are signed by an instance of Sigstore's shape and verified by
the process that verifies them in a deployment.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import IndexName
from gateway.accounts import NewIndex
from gateway.upstream import Mounted
from services.download.app import create_service as create_download
from services.download.settings import Limits
from services.upload.app import create_service as create_upload
from tests.support.browser import Browser
from tests.support.builds import Forge, body, policy, predicate
from tests.support.dashboard import PASSWORD, signed_in
from tests.support.factories import MadeIndex
from tests.support.gateway import Servers, TestGateway, open_gateway
from tests.support.kept_bundles import Keeper, facts_of
from tests.support.signed_index import SignedIndex
from tests.support.sigstore.instance import SLSA, statement
from tests.support.sigstore.tokens import github

STABLE = IndexName("root", "stable")
WHEEL, CONTENT = "thing-1.0-py3-none-any.whl", b"wheel of 1.0" * 100
PROJECT = "/indexes/root/stable/projects/thing"
HOSTILE = "https://github.com/<script>alert(1)</script>/\"'><img src=x onerror=alert(2)>"


@dataclass(slots=True)
class Site:
    """A gateway, the index whose tree is signed, and a browser of its owner."""

    gateway: TestGateway
    signed: SignedIndex
    browser: Browser

    async def page(self, name: str = WHEEL, version: str = "1.0") -> str:
        """Return a file's page."""
        answer = await self.browser.get(f"{PROJECT}/releases/{version}/files/{name}")
        assert answer.status_code == 200, answer.text
        assert answer.text.count("<script") == answer.text.count("<script src=") == 1
        assert "<img" not in answer.text
        return str(answer.text)

    def trust(self, forge: Forge, demanding: str = "another") -> None:
        """Let the trust role sign the forge's root, and a policy that demands attestations of one project."""
        deployment = self.signed.sim.deployment
        deployment.trust_targets["trusted_root.json"] = forge.instance.trusted_root()
        deployment.trust_targets["trust/policy.yaml"] = policy(demanding)
        self.signed.sim = type(self.signed.sim)(deployment=deployment)


@pytest.fixture(scope="module")
def forge() -> Forge:
    """A forge whose runs sign by a private Sigstore instance."""
    return Forge()


@pytest.fixture
async def site(engine: AsyncEngine, valkey_url: str, database: str, tmp_path: Path) -> AsyncIterator[Site]:
    """The default index without a file, before the real services for uploads and downloads."""
    async with open_gateway(Servers(engine, valkey_url, database, tmp_path)) as bare, bare.resources.verifying:
        services = (
            create_upload(bare.resources),
            create_download(bare.resources, replace(Limits(), verified_seconds=0.0)),
        )
        gateway = bare.wired({service.name: Mounted(service) for service in services})
        await gateway.accounts.init_deployment(STABLE)
        await gateway.accounts.set_password("root", PASSWORD)
        await gateway.resources.directory.refresh()
        record = gateway.resources.directory.index(STABLE)
        assert record is not None
        index = MadeIndex(record.id, record.name, record.public)
        yield Site(gateway, SignedIndex(engine, gateway.resources.objects, index), await signed_in(gateway, "root"))


def plain(page: str) -> str:
    """Return a page's words."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


async def test_the_path_of_an_attested_file(site: Site, forge: Forge) -> None:
    """Commit, build, attestation, metadata and bytes stand there in order with their evidence, and the commands."""
    site.trust(forge, "thing")
    await site.signed.add(WHEEL, CONTENT, body(forge.built(WHEEL, CONTENT)))
    await site.signed.publish()
    page = await site.page()
    words = plain(page)
    assert "Every step holds." in words
    headings = re.findall(r'<h3 id="at-(\w+)">', page)
    assert headings == ["commit", "build", "attestation", "metadata", "bytes"]
    assert "https://github.com/acme/thing ✓ verified the signer's certificate says so" in words
    assert f"{'5' * 40} ✓ verified" in words
    assert "https://actions.github.io/buildtypes/workflow/v1 “ ” publisher’s claim no certificate bears it out" in words
    assert "https://token.actions.githubusercontent.com ✓ verified" in words
    assert "Log index" in words
    assert site.signed.files[WHEEL].sha256 in words
    named = site.signed.sim.pointers[WHEEL].attestation
    assert named is not None
    assert f"{named.digest} ✓ verified" in words
    assert "Named by the signed pointer yes" in words
    assert "does not name the attestation" not in words
    for role in ("root", "timestamp", "snapshot", "targets", "trust", "registry"):
        assert f'<th scope="row">{role}</th>' in page
    assert re.search(r'<th scope="row">b\d+-[0-9a-f]+</th>', page)
    assert f"countermark verify {WHEEL} --repository" in words
    assert f"countermark download thing==1.0 --file {WHEEL} --repository" in words
    assert words.count("✓ holds") >= 8


async def test_an_attestation_that_no_pointer_names(site: Site, forge: Forge) -> None:
    """It satisfies the policy, and the page says that no pointer names it and that clients have to look for it."""
    site.trust(forge, "thing")
    made = await site.signed.add(WHEEL, CONTENT)
    await site.signed.publish()
    keeper = Keeper(site.signed.engine, site.signed.stores, site.signed.index)
    await keeper.keep(made, body(forge.built(WHEEL, CONTENT)))
    words = plain(await site.page())
    assert "Every step holds." in words
    assert "a client looks for it where the policy demands it" in words
    assert "Named by the signed pointer no" in words


async def test_a_file_without_attestations(site: Site) -> None:
    """Its path is the signed metadata and its bytes, and the page says how provenance is added."""
    await site.signed.add(WHEEL, CONTENT)
    await site.signed.publish()
    page = await site.page()
    assert re.findall(r'<h3 id="at-(\w+)">', page) == ["metadata", "bytes"]
    assert "nobody attests" in page
    assert "countermark attest dist/" in page
    # dist/* would have twine send statements as if they were files.
    assert "countermark attest --pep740 dist/" in page
    assert "dist/*" not in page
    release = await site.browser.get(f"{PROJECT}/releases/1.0")
    assert f'href="{PROJECT}/releases/1.0/files/{WHEEL}"' in release.text


async def test_what_breaks_is_named(site: Site, forge: Forge) -> None:
    """One byte changed in the store: the step, the exit code, and no word of that anything behind it holds."""
    site.trust(forge)
    made = await site.signed.add(WHEEL, CONTENT, body(forge.built(WHEEL, CONTENT)))
    await site.signed.publish()
    await site.signed.flip(f"files/{made.sha256[:2]}/{made.sha256[2:]}/{WHEEL}")
    words = plain(await site.page())
    assert "Step “digest” does not hold." in words
    assert "countermark verify ends with 41" in words
    assert "Commit – not known" in words
    assert "Bytes ✗ does not hold" in words


async def test_a_foreign_workflow_fails_with_every_check(site: Site, forge: Forge) -> None:
    """What the policy wants and what was found stand side by side; nothing of the stranger is shown as verified."""
    site.trust(forge, "thing")
    await site.signed.add(WHEEL, CONTENT, body(forge.built(WHEEL, CONTENT, github("evil/fork"))))
    await site.signed.publish()
    page = await site.page()
    words = plain(page)
    assert "Step “identity” does not hold." in words
    assert "ends with 60" in words
    assert re.search(r'<th scope="row">workflow</th>.*?evil/fork.*?does not hold', page, re.DOTALL)
    assert "evil/fork ✓ verified" not in words


async def test_a_predicate_that_contradicts_its_certificate(site: Site, forge: Forge) -> None:
    """Where the policy demands nothing the chain holds, and the page says which of the two words nothing bears out."""
    site.trust(forge)
    false = predicate(github("other/repository"))
    bundle = forge.instance.sign(statement(WHEEL, CONTENT, SLSA, predicate=false), github())
    await site.signed.add(WHEEL, CONTENT, body(bundle))
    await site.signed.publish()
    words = plain(await site.page())
    assert "https://github.com/acme/thing ✓ verified" in words
    assert "https://github.com/other/repository ✗ contradicted" in words
    assert "Commit ✗ does not hold" in words
    assert "the publisher’s claims contradict its certificate." in words


async def test_claims_of_strangers_are_escaped_and_bounded(site: Site, forge: Forge) -> None:
    """Markup, ten thousand characters, look-alikes and marks of direction in a predicate act on nothing."""
    site.trust(forge)
    claimed = predicate(github())
    claimed["buildDefinition"]["buildType"] = HOSTILE + "\u202e\u0430" + "x" * 1500
    claimed["runDetails"]["builder"]["id"] = "https://github.com/\u0430cme"
    bundle = forge.instance.sign(statement(WHEEL, CONTENT, SLSA, predicate=claimed), github())
    await site.signed.add(WHEEL, CONTENT, body(bundle))
    other = "thing-1.1-py3-none-any.whl"
    claimed["buildDefinition"]["buildType"] = "y" * 10_000
    larger = forge.instance.sign(statement(other, CONTENT, SLSA, predicate=claimed), github())
    await site.signed.add(other, CONTENT, body(larger))
    await site.signed.publish()
    page = await site.page()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\u202e" not in page
    assert "\\u202e\\u0430" in page
    assert "https://github.com/\\u0430cme" in page
    assert "x" * 300 not in page
    page = await site.page(other, "1.1")
    assert "y" * 300 not in page
    assert "buildType is missing, no text or longer than 2048 characters" in page
    assert len(page) < 60_000


async def test_provenance_that_is_gone_or_changed_is_warned_of(site: Site, forge: Forge) -> None:
    """On the project's, the release's and the file's page, and in the list of releases, in words."""
    site.trust(forge)
    for version, claims in (("1.0", github()), ("1.1", github("other/home")), ("1.2", None)):
        name = f"thing-{version}-py3-none-any.whl"
        bundle = None if claims is None else body(forge.built(name, CONTENT, claims))
        facts: dict[str, Any] = {} if claims is None else {"san": f"https://github.com/{claims['workflow_ref']}"}
        await site.signed.add(name, CONTENT, bundle, **facts)
    await site.signed.publish()
    lost, changed = "Provenance was there before and is gone:", "Another signer than of the release before:"
    assert lost in (await site.browser.get(PROJECT)).text
    assert changed in (await site.browser.get(f"{PROJECT}/releases/1.1")).text
    first = (await site.browser.get(f"{PROJECT}/releases/1.0")).text
    assert lost not in first
    assert changed not in first
    assert "full provenance" in first
    listed = plain((await site.browser.get(f"{PROJECT}/releases")).text)
    assert "provenance lost" in listed
    assert "signer changed" in listed
    assert lost in await site.page("thing-1.2-py3-none-any.whl", "1.2")
    assert changed in await site.page("thing-1.1-py3-none-any.whl", "1.1")


async def test_signers_in_warnings_are_escaped(site: Site, forge: Forge) -> None:
    """A repository whose name holds markup is a word of the warning and nothing else."""
    name = "thing-1.0-py3-none-any.whl"
    await site.signed.add(name, CONTENT, body(forge.built(name, CONTENT)), san=f"{HOSTILE}@refs/tags/v1")
    await site.signed.add("thing-1.1-py3-none-any.whl", CONTENT)
    await site.signed.publish()
    page = (await site.browser.get(f"{PROJECT}/releases/1.1")).text
    assert "&lt;script&gt;alert(1)" in page
    assert page.count("<script") == 1
    assert facts_of(b"")["san"] not in page


async def test_what_is_not_there_and_what_one_may_not_read(site: Site) -> None:
    """A file that is none is 404; one that waits to be signed says so; a stranger to a private index sees nothing."""
    await site.signed.add(WHEEL, CONTENT)
    missing = await site.browser.get(f"{PROJECT}/releases/1.0/files/thing-9-py3-none-any.whl")
    assert missing.status_code == 404
    waiting = await site.page()
    assert "Not verified now." in waiting
    assert "countermark verify" in waiting
    await site.gateway.accounts.create_account("guest", password=PASSWORD)
    await site.gateway.accounts.create_index(NewIndex(IndexName("root", "vault"), "private"))
    await site.gateway.resources.directory.refresh()
    stranger = await signed_in(site.gateway, "guest")
    assert (await stranger.get("/indexes/root/vault/projects/x/releases/1/files/x-1.tar.gz")).status_code == 404
    nobody = await site.gateway.browser().client.get(f"{PROJECT}/releases/1.0/files/{WHEEL}")
    assert (nobody.status_code, nobody.headers["location"]) == (303, "/login")
