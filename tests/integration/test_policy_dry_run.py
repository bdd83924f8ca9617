"""A proposed policy is tried on every hosted file, on a real Postgres, a real store and real bundles. Issue 7/7 item 4,
ADR 0038 and 0048."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner, Result

from countermark.core.attestations.trust_material import TrustMaterial
from deploy.dry_running import DryRun, Refused, read_proposed
from deploy.errors import LaunchError, UsageError
from deploy.launch import app
from shared.attesting.judging import Judging
from shared.catalogue.dry_run import HostedFile, hosted_files
from shared.catalogue.tables import File, IndexRow, Project
from shared.objects.absent import AbsentStore
from shared.objects.interface import Put
from shared.objects.keys import bundle_key
from shared.resources import Resources
from tests.support.attesting import attest
from tests.support.builds import OPEN_RULE, ROOT_PATH, Forge, body, policy
from tests.support.factories import MadeFile, MadeIndex, make_file, make_index, now
from tests.support.resources import service_resources, with_public_store
from tests.support.sigstore.tokens import github
from tests.support.trust_targets import publish_trust, trust
from tests.support.verifiers import VERIFIER, Verifier, verified

WHEEL = "widget-1.0-py3-none-any.whl"
LENIENT = policy("nothing-else")
"""Names the forge's root, and demands nothing of widget."""


@dataclass
class Site:
    """An index, a forge and another team that verifies."""

    resources: Resources
    index: MadeIndex
    forge: Forge
    team: Verifier

    async def file(self, name: str = WHEEL) -> MadeFile:
        """Insert a file."""
        return await make_file(self.resources.engine, self.index, name)

    async def built(self, file: MadeFile, *, named: bool = True, forge: Forge | None = None, **run: str) -> None:
        """Keep build provenance of a file; of another forge what verifies by its own root."""
        by = forge or self.forge
        bundle = body(by.built(file.file_name, file.content, github(**run)))
        await attest(self.resources, self.index, file, bundle, by.material(LENIENT), named=named, announce=False)

    async def summarised(self, file: MadeFile, *, named: bool = True, **changes: Any) -> None:
        """Keep a summary of the other team, with something changed in what it says."""
        bundle, material = body(self.team.summary(file.file_name, file.content, **changes)), verified(self.team.pem)
        given = self.forge.material(material)
        await attest(self.resources, self.index, file, bundle, given, named=named, announce=False)

    async def hosted(self, index: MadeIndex | None = None) -> list[HostedFile]:
        """Return the files of an index, or of all."""
        async with self.resources.engine.connect() as connection:
            return [file async for file in hosted_files(connection, None if index is None else index.name)]

    async def tried(
        self, proposed: bytes, signed: bytes | None = None, more: dict[str, bytes] | None = None
    ) -> tuple[DryRun, Sequence[Refused]]:
        """Return a run over all files and what would be refused.

        Args:
            signed: the policy that is signed now.
            more: roots that are signed beside the forge's.
        """
        material = TrustMaterial(signed, {**self.forge.material().roots, **(more or {})}, 1)
        resources, at = self.resources, int(now().timestamp())
        judging = Judging(resources.settings.attestations, resources.verifying)
        run = DryRun(resources.engine, resources.objects, judging, material, proposed, at)
        async with resources.engine.connect() as connection:
            return run, [found async for found in run.refused(hosted_files(connection))]


@pytest.fixture(scope="module")
def forge() -> Forge:
    """A forge."""
    return Forge()


@pytest.fixture(scope="module")
def team(forge: Forge) -> Verifier:
    """The other team."""
    return Verifier(forge.instance)


@pytest.fixture
async def site(engine: AsyncEngine, forge: Forge, team: Verifier, tmp_path: Path) -> AsyncIterator[Site]:
    """A site without files."""
    async with service_resources(engine, tmp_path) as resources:
        yield Site(resources, await make_index(engine), forge, team)


async def test_every_living_file_once(site: Site, engine: AsyncEngine) -> None:
    """A file comes once with all its bundles; removed files, earlier lives, mirrors and other indexes do not."""
    other = await make_index(engine, "root/dev", public=False)
    mirror = await make_index(engine, "root/mirror", kind="mirror")
    file = await site.file()
    await site.built(file)
    await site.built(file, named=False, ref="refs/tags/v1.0.1")
    removed = await site.file("widget-2.0-py3-none-any.whl")
    await make_file(engine, mirror, WHEEL)
    await make_file(engine, other, "gadget-1.0.tar.gz")
    old = await make_file(engine, other, "oldie-1.0.tar.gz")
    async with engine.begin() as connection:
        await connection.execute(update(File).where(File.id == removed.id).values(removed_at=now()))
        await connection.execute(update(Project).where(Project.id == old.project_id).values(life=0))
    found = await site.hosted()
    assert [(str(one.index), one.public, one.project, one.version, len(one.kept)) for one in found] == [
        ("root/stable", True, "widget", "1.0", 2),
        ("root/dev", False, "gadget", "1.0", 0),
    ]
    assert [one.named for one in found[0].kept] == [True, False]
    assert [one.project for one in await site.hosted(other)] == ["gadget"]
    async with engine.begin() as connection:
        await connection.execute(update(IndexRow).where(IndexRow.id == other.id).values(deleted_at=now()))
    assert [one.project for one in await site.hosted()] == ["widget"]


async def test_what_would_be_refused(site: Site) -> None:
    """Files are counted by what became of them, and each that would be refused comes with its verdict."""
    for version in ("1.0", "2.0"):
        await site.built(await site.file(f"widget-{version}-py3-none-any.whl"), ref="refs/tags/v1.0")
    for number in range(7):
        await site.file(f"gadget-{number}.0.tar.gz")
    run, refused = await site.tried(policy(source_refs="refs/tags/v{version}"), signed=LENIENT)
    assert [(one.file.version, one.judgement.exit_code, one.is_new) for one in refused] == [("2.0", 62, True)]
    assert "'refs/tags/v1.0'; the rule 'widget' wants refs/tags/v2.0" in refused[0].judgement.reason
    counted = run.counts.to_document()
    assert (counted["files"], counted["taken"], counted["taken_without_evidence"]) == (9, 8, 7)
    assert (counted["refused"], counted["refused_by_code"], counted["newly_refused"]) == (1, {"62": 1}, 1)
    demanding = policy("nothing-else", rest='\n  - {match: "*", deny: true}\n')
    _, again = await site.tried(demanding, signed=demanding)
    assert [one.is_new for one in again] == [False] * 9
    assert [one.file.version for one in again] == ["1.0", "2.0", *(f"{number}.0" for number in range(7))]


@pytest.mark.parametrize("signed", [None, LENIENT])
@pytest.mark.parametrize(
    ("edits", "code"),
    [
        ({'"private"': '"renamed"', "private:": "renamed:"}, 0),
        ({f'"{ROOT_PATH}"': '"trust/copy.trusted_root.json"'}, 0),
        ({f'"{ROOT_PATH}"': '"trust/other.trusted_root.json"'}, 60),
        ({f'"{ROOT_PATH}"': '"trust/unsigned.trusted_root.json"'}, 60),
        ({'test_roots: ["private"]\n': ""}, 60),
    ],
)
async def test_roots_count_as_the_proposed_policy_has_them(
    site: Site, signed: bytes | None, edits: dict[str, str], code: int
) -> None:
    """A root may be called otherwise, or have come again under another path; what another one vouched for is nothing.

    An instance for tests is a root only where the policy says so.
    """
    await site.built(await site.file())
    roots = {
        "trust/copy.trusted_root.json": site.forge.instance.trusted_root(),
        "trust/other.trusted_root.json": Forge().instance.trusted_root(),
    }
    proposed = policy().decode()
    for old, new in edits.items():
        assert old in proposed
        proposed = proposed.replace(old, new)
    _, refused = await site.tried(proposed.encode(), signed, roots)
    assert [one.judgement.exit_code for one in refused] == ([code] if code else [])


async def test_what_verified_once_and_does_not_any_more(site: Site) -> None:
    """A bundle that the pointer names refuses its file when it verifies no more, also where nothing is demanded."""
    strange = Forge()
    await site.built(await site.file(), forge=strange)
    _, refused = await site.tried(LENIENT, LENIENT)
    assert [(one.judgement.step, one.judgement.exit_code, one.is_new) for one in refused] == [("identity", 60, False)]
    path = "trust/strange.trusted_root.json"
    naming = LENIENT.replace(ROOT_PATH.encode(), path.encode())
    assert (await site.tried(naming, LENIENT, {path: strange.instance.trusted_root()}))[1] == []


async def test_continuity(site: Site, engine: AsyncEngine) -> None:
    """A file without evidence that came after one with is refused; one that came before is taken."""
    first = await site.file("widget-0.9.tar.gz")
    attested = await site.file()
    await site.file("widget-2.0.tar.gz")
    await site.built(attested)
    async with engine.begin() as connection:
        early = now() - timedelta(days=9)
        await connection.execute(update(File).where(File.id == first.id).values(uploaded_at=early))
        earlier = now() - timedelta(days=5)
        await connection.execute(update(File).where(File.id == attested.id).values(uploaded_at=earlier))
    rule = b'packages: [{match: "widget", attested: false, continuity: true}]\n'
    head = b'schema: "policy/v1"\nroots: {private: "trusted_root.json"}\ntest_roots: ["private"]\n'
    _, refused = await site.tried(head + rule)
    assert [one.file.version for one in refused] == ["2.0"]


async def test_bytes_that_are_not_what_was_kept_do_not_count(site: Site) -> None:
    """A bundle that is missing or damaged in the store is counted, and its file judged without it."""
    files = [await site.file(f"widget-{number}.0-py3-none-any.whl") for number in (1, 2, 3)]
    for file in files:
        await site.built(file)
    keys = [bundle_key(one.kept[0].sha256, one.file_name) for one in await site.hosted()]
    store = site.resources.objects.public
    await store.delete(keys[0])
    await store.put(keys[1], b"{}", Put.REPLACE)
    run, refused = await site.tried(policy())
    assert [one.file.version for one in refused] == ["1.0", "2.0"]
    assert (run.counts.unreadable, run.counts.taken) == (2, 1)


async def test_a_store_that_fails_ends_the_run(site: Site) -> None:
    """Nothing is said of a file whose bundles cannot be read now."""
    await site.built(await site.file())
    site.resources = with_public_store(site.resources, AbsentStore())
    with pytest.raises(LaunchError, match="not every file could be judged"):
        await site.tried(policy())


@pytest.mark.parametrize("named", [True, False])
async def test_a_summary_of_another_team(site: Site, named: bool) -> None:
    """It satisfies a rule that takes the team's, whether or not a pointer names it; of a rule without it is nothing."""
    await site.summarised(await site.file(), named=named)
    run, refused = await site.tried(verified(site.team.pem), signed=LENIENT)
    assert (refused, run.counts.taken, run.counts.vouched) == ([], 1, 0)
    without = verified(site.team.pem).replace(b'    verifiers: ["team-a"]\n', b"")
    _, refused = await site.tried(without, signed=verified(site.team.pem))
    assert [(one.judgement.exit_code, one.is_new) for one in refused] == [(62, True)]
    assert "demands an attestation of type" in refused[0].judgement.reason


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"verifier": {"id": f"{VERIFIER}/x"}}, 60, "verifier id"),
        ({"resourceUri": f"countermark:root/stable/widget/1.0/{WHEEL}"}, 62, "resource"),
        ({"verifiedLevels": ["SLSA_BUILD_LEVEL_1"]}, 62, "level"),
        ({"timeVerified": "2020-01-01T00:00:00Z"}, 62, "age"),
        ({"timeVerified": None}, 62, "age"),
        ({"verificationResult": "FAILED"}, 62, "result"),
        ({"policy": {"uri": "x", "digest": {"sha256": "b" * 64}}}, 62, "verifier's policy"),
    ],
)
async def test_summaries_that_do_not_satisfy(site: Site, changes: dict[str, Any], code: int, words: str) -> None:
    """Wrong verifier, wrong file, too low, too old, failed, by another policy: refused in the words of an upload."""
    await site.summarised(await site.file(), named=False, **changes)
    demanding = verified(site.team.pem, more="    min_level: 2\n").replace(b'"none"]}', b'"none"], max_age_days: 30}')
    _, refused = await site.tried(demanding, signed=LENIENT)
    assert [(one.judgement.exit_code, one.is_new) for one in refused] == [(code, True)]
    assert words in refused[0].judgement.reason
    _, refused = await site.tried(verified(Verifier(site.forge.instance).pem), signed=LENIENT)
    assert "do not verify: none of the keys that the policy names signed it" in refused[0].judgement.reason


async def test_the_command(engine: AsyncEngine, site: Site, database: str, tmp_path: Path) -> None:
    """It lists what would be refused, counts, and ends with 1; with 0 when nothing is; with 2 for what is no index."""
    await site.built(await site.file())
    await site.summarised(await site.file("widget-1.1-py3-none-any.whl"))
    await site.file("gadget-1.0.tar.gz")
    await trust(engine, site.forge.material(LENIENT))
    proposed = verified(site.team.pem).decode().replace(OPEN_RULE, '\n  - {match: "*", deny: true}\n')
    (tmp_path / "policy.yaml").write_text(proposed)

    async def ran(*more: str) -> Result:
        given = ["policy", "dry-run", "--policy", str(tmp_path / "policy.yaml"), "--data", str(tmp_path), *more]
        pairs = ["--set", f"database.url={database}", "--set", f"objects.folder={tmp_path}"]
        return await asyncio.to_thread(CliRunner().invoke, app, [*given, *pairs])

    found = await ran()
    assert found.exit_code == 1, found.output
    line, summary = found.stdout.splitlines()
    assert line.startswith("newly refused: root/stable gadget 1.0 gadget-1.0.tar.gz: the policy denies gadget")
    assert summary == "3 files: 2 taken (0 of them without evidence), 1 refused (1 with 62), 1 of them taken today"
    refused, counts = map(orjson.loads, (await ran("--json", "--index", "root/stable")).stdout.splitlines())
    assert (refused["file"], refused["exit_code"], refused["step"]) == ("gadget-1.0.tar.gz", 62, "policy")
    assert (refused["verdict"]["exit_code"], counts["newly_refused"]) == (62, 1)
    (tmp_path / "policy.yaml").write_bytes(LENIENT)
    await publish_trust(engine, 2, {"trust/policy.yaml": verified(site.team.pem), **site.forge.material().roots})
    refusing = await ran()
    # Nothing is demanded, and what a pointer names has to verify: the team's key is named no more.
    assert (refusing.exit_code, "widget-1.1" in refusing.stdout) == (1, True), refusing.output
    (tmp_path / "policy.yaml").write_text(verified(site.team.pem).decode())
    assert (await ran()).exit_code == 0
    assert isinstance((await ran("--index", "root/none")).exception, UsageError)


def test_a_proposed_policy_that_is_none(tmp_path: Path) -> None:
    """A file that is no policy, or not there, is told with its path and the place."""
    with pytest.raises(UsageError, match="cannot be read"):
        read_proposed(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("schema: policy/v1\n")
    with pytest.raises(UsageError, match="packages must be a list"):
        read_proposed(tmp_path / "bad.yaml")
