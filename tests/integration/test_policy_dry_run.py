"""A proposed policy is tried on every hosted file, on a real Postgres. Issue 7/7 item 4, ADR 0038."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner, Result

from countermark.core.attestations.facts import VerifiedBundle
from countermark.core.digest import Length, Sha256
from countermark.core.policy import parse_policy
from deploy.dry_running import DryRun, Refused, read_proposed
from deploy.errors import UsageError
from deploy.launch import app
from shared.catalogue import attestations
from shared.catalogue.attestations import BUNDLE, NewAttestation
from shared.catalogue.dry_run import HostedFile, hosted_files
from shared.catalogue.tables import File, IndexRow, Project
from tests.support.factories import MadeFile, MadeIndex, make_file, make_index, now
from tests.support.policies import GOOD, NOW, POLICY, edited, evidence
from tests.support.trust_targets import publish_trust

WHEEL = "widget-1.0-py3-none-any.whl"
LENIENT = """
schema: "policy/v1"
roots: {private: "trusted_root.json"}
packages: [{match: "*", attested: false}]
"""


async def attest(engine: AsyncEngine, index: MadeIndex, file: MadeFile, *bundles: VerifiedBundle) -> None:
    """Keep attestations of a file with these facts."""
    for number, bundle in enumerate(bundles):
        new = NewAttestation(
            index_id=index.id,
            file_id=file.id,
            file_name=file.file_name,
            sha256=Sha256(hashlib.sha256(f"{file.id} {number}".encode()).hexdigest()),
            length=Length(1000),
            predicate_type=bundle.predicate_type,
            origin=BUNDLE,
            publisher=None,
            facts=bundle.to_document(),
            named=False,
            added_at=now() + timedelta(seconds=number),
            added_by="root",
            token_id=None,
        )
        async with engine.begin() as connection:
            assert await attestations.insert(connection, "public", new)


async def hosted(engine: AsyncEngine, index: MadeIndex | None = None) -> list[HostedFile]:
    """Return the files of an index, or of all."""
    async with engine.connect() as connection:
        return [file async for file in hosted_files(connection, None if index is None else index.name)]


async def tried(engine: AsyncEngine, policy: str, signed: str | None = None) -> tuple[DryRun, Sequence[Refused]]:
    """Return a run over all files and what would be refused."""
    run = DryRun(parse_policy(policy.encode()), None if signed is None else parse_policy(signed.encode()), NOW)
    return run, [found for file in await hosted(engine) if (found := run.judge(file)) is not None]


async def test_every_living_file_once(engine: AsyncEngine) -> None:
    """A file comes once with all its facts; removed files, earlier lives, mirrors and other indexes do not."""
    index, other = await make_index(engine), await make_index(engine, "root/dev")
    mirror = await make_index(engine, "root/mirror", kind="mirror")
    file = await make_file(engine, index, WHEEL)
    await attest(engine, index, file, GOOD, replace(GOOD, predicate_type="https://example.com/x"))
    removed = await make_file(engine, index, "widget-2.0-py3-none-any.whl")
    await make_file(engine, mirror, WHEEL)
    await make_file(engine, other, "gadget-1.0.tar.gz")
    old = await make_file(engine, other, "oldie-1.0.tar.gz")
    async with engine.begin() as connection:
        await connection.execute(update(File).where(File.id == removed.id).values(removed_at=now()))
        await connection.execute(update(Project).where(Project.id == old.project_id).values(life=0))
    found = await hosted(engine)
    assert [(one.index, one.project, one.version, len(one.facts)) for one in found] == [
        ("root/stable", "widget", "1.0", 2),
        ("root/dev", "gadget", "1.0", 0),
    ]
    assert VerifiedBundle.from_document(found[0].facts[0]) == GOOD
    assert [one.project for one in await hosted(engine, other)] == ["gadget"]
    async with engine.begin() as connection:
        await connection.execute(update(IndexRow).where(IndexRow.id == other.id).values(deleted_at=now()))
    assert [one.project for one in await hosted(engine)] == ["widget"]


async def test_what_would_be_refused(engine: AsyncEngine) -> None:
    """Files are counted by what became of them, and each that would be refused comes with its verdict."""
    index = await make_index(engine)
    await attest(engine, index, await make_file(engine, index, WHEEL), GOOD)
    late = await make_file(engine, index, "widget-2.0-py3-none-any.whl")
    await attest(engine, index, late, GOOD)
    await make_file(engine, index, "gadget-1.0.tar.gz")
    run, refused = await tried(engine, edited({"deny: true": "attested: false"}), signed=LENIENT)
    assert [(one.file.project, one.verdict.exit_code, one.is_new) for one in refused] == [("widget", 62, True)]
    assert "'refs/tags/v1.0'; the rule 'widget' wants refs/tags/v2.0" in refused[0].verdict.reason
    counted = run.counts.to_document()
    assert (counted["files"], counted["taken"], counted["taken_without_evidence"]) == (3, 2, 1)
    assert (counted["refused"], counted["refused_by_code"], counted["newly_refused"]) == (1, {"62": 1}, 1)
    _, again = await tried(engine, POLICY, signed=POLICY)
    assert [one.is_new for one in again] == [False] * 2


@pytest.mark.parametrize(
    ("recorded", "signed", "proposed", "taken"),
    [
        ("trusted_root.json", None, "private", True),
        ("private", "private", "renamed", True),
        ("company", "private", "private", False),
        ("ancient", "private", "private", False),
    ],
)
async def test_roots_are_compared_by_path(
    engine: AsyncEngine, recorded: str, signed: str | None, proposed: str, taken: bool
) -> None:
    """What was verified before there was a policy, or under another name of the same root, counts; no more does."""
    index = await make_index(engine)
    await attest(engine, index, await make_file(engine, index, WHEEL), evidence(root=recorded))
    before = None if signed is None else POLICY
    renamed = POLICY.replace("private", proposed)
    _, refused = await tried(engine, renamed, before)
    assert (refused == []) is taken
    assert taken or refused[0].verdict.exit_code == 60


async def test_a_name_that_changes_its_root(engine: AsyncEngine) -> None:
    """A policy that gives a root's name to another root does not take what the first one vouched for."""
    index = await make_index(engine)
    await attest(engine, index, await make_file(engine, index, WHEEL), GOOD)
    swapped = edited({'private: "trusted_root.json"': 'private: "trust/other.json"'})
    _, refused = await tried(engine, swapped, POLICY)
    assert refused[0].verdict.exit_code == 60
    assert "trusted_root.json" in refused[0].verdict.reason


async def test_continuity(engine: AsyncEngine) -> None:
    """A file without evidence that came after one with is refused; one that came before is taken."""
    index = await make_index(engine)
    first = await make_file(engine, index, "widget-0.9.tar.gz")
    attested = await make_file(engine, index, WHEEL)
    await make_file(engine, index, "widget-2.0.tar.gz")
    await attest(engine, index, attested, GOOD)
    async with engine.begin() as connection:
        early = now() - timedelta(days=9)
        await connection.execute(update(File).where(File.id == first.id).values(uploaded_at=early))
        earlier = now() - timedelta(days=5)
        await connection.execute(update(File).where(File.id == attested.id).values(uploaded_at=earlier))
    policy = 'schema: "policy/v1"\npackages: [{match: "widget", attested: false, continuity: true}]\n'
    _, refused = await tried(engine, policy)
    assert [one.file.version for one in refused] == ["2.0"]


async def test_facts_that_cannot_be_read_do_not_count(engine: AsyncEngine) -> None:
    """A damaged row is counted, and its file judged without it."""
    index = await make_index(engine)
    file = await make_file(engine, index, WHEEL)
    await attest(engine, index, file, GOOD)
    [found] = await hosted(engine)
    damaged = replace(found, facts=({"predicate_type": 1},))
    run = DryRun(parse_policy(POLICY.encode()), None, NOW)
    assert run.judge(damaged) is not None
    assert run.counts.unreadable == 1


async def test_the_command(engine: AsyncEngine, database: str, tmp_path: Path) -> None:
    """It lists what would be refused, counts, and ends with 1; with 0 when nothing is; with 2 for what is no index."""
    index = await make_index(engine)
    await attest(engine, index, await make_file(engine, index, WHEEL), replace(GOOD, signed_at=int(now().timestamp())))
    await make_file(engine, index, "gadget-1.0.tar.gz")
    await publish_trust(engine, 1, {"trust/policy.yaml": LENIENT.encode()})
    (tmp_path / "policy.yaml").write_text(POLICY)

    async def ran(*more: str) -> Result:
        given = ["policy", "dry-run", "--policy", str(tmp_path / "policy.yaml"), "--data", str(tmp_path), *more]
        return await asyncio.to_thread(CliRunner().invoke, app, [*given, "--set", f"database.url={database}"])

    found = await ran()
    assert found.exit_code == 1, found.output
    line, summary = found.stdout.splitlines()
    assert line.startswith("newly refused: root/stable gadget 1.0 gadget-1.0.tar.gz: the policy denies gadget")
    assert summary == "2 files: 1 taken (0 of them without evidence), 1 refused (1 with 62), 1 of them taken today"
    refused, counts = map(orjson.loads, (await ran("--json", "--index", "root/stable")).stdout.splitlines())
    assert (refused["file"], counts["newly_refused"]) == ("gadget-1.0.tar.gz", 1)
    (tmp_path / "policy.yaml").write_text(LENIENT)
    assert (await ran()).exit_code == 0
    assert isinstance((await ran("--index", "root/none")).exception, UsageError)


def test_a_proposed_policy_that_is_none(tmp_path: Path) -> None:
    """A file that is no policy, or not there, is told with its path and the place."""
    with pytest.raises(UsageError, match="cannot be read"):
        read_proposed(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("schema: policy/v1\n")
    with pytest.raises(UsageError, match="packages must be a list"):
        read_proposed(tmp_path / "bad.yaml")


def test_documents_are_json() -> None:
    """A refusal is JSON, with all checks."""
    file = HostedFile("root/stable", "widget", "1.0", WHEEL, Sha256("0" * 64), (), had_provenance=False)
    refused = DryRun(parse_policy(POLICY.encode()), None, NOW).judge(file)
    assert refused is not None
    document = orjson.loads(orjson.dumps(refused.to_document()))
    assert (document["index"], document["verdict"]["exit_code"]) == ("root/stable", 62)
