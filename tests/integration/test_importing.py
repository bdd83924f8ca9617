"""Imports on the real catalogue and a real folder store: rows, signed pages, reports, and what goes wrong."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from packaging.utils import canonicalize_name
from pydantic import SecretStr
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.exporting import ExportFolder
from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.digest import sha256_of
from countermark.core.names import page_target, parse_index_name
from deploy.errors import LaunchError
from deploy.importing.devpi import import_devpi
from deploy.importing.folder import import_folder
from deploy.importing.running import Options
from deploy.open_resources import open_resources
from services.signing.ceremonies.trust_root import ensure_trust
from services.signing.publication.usecases import Publisher
from services.upload.importing import IMPORTED, REFUSED, Candidate, Imports
from shared.auth.passwords import password_matches
from shared.catalogue.tables import Account, Attachment, Audit, File, IndexRow, Outbox, PublishedFile
from shared.clock import SystemClock
from shared.formats.python.foreign import guessed_coordinates
from shared.objects.keys import plain_target_key
from shared.resources import Resources
from shared.settings import Database, Queue, Settings
from tests.support.archives import make_sdist, make_wheel, sdist_name, wheel_name
from tests.support.builds import policy
from tests.support.factories import make_index
from tests.support.trust_targets import trust

DEMANDED = "an import brings no attestations: "

_PASSWORD = secrets.token_hex(8)
_HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(_PASSWORD)
_EMPTY = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("")


@pytest.fixture
def settings(database: str, tmp_path: Path) -> Settings:
    """Settings of a deployment whose queue nobody reads."""
    queue = Queue(url=SecretStr(f"unix://{tmp_path}/no-such-socket"))
    return Settings(data=tmp_path / "data", database=Database(url=SecretStr(database)), queue=queue)


@pytest.fixture
async def resources(settings: Settings) -> AsyncIterator[Resources]:
    """What signs there."""
    settings.data.mkdir()
    async with open_resources(settings, SystemClock()) as opened:
        await ensure_trust(opened)
        yield opened


@pytest.fixture
def export(tmp_path: Path) -> ExportFolder:
    """An export of two accounts and two indexes, with a file of every kind."""
    made = ExportFolder(tmp_path / "export")
    made.user("alice", _HASH)
    made.user("bob", _EMPTY)
    made.index("alice/stable", volatile=False)
    made.index("alice/dev", bases=["alice/stable", "bob/gone"])
    made.release("alice/dev", "Hello", "1.0", summary="words", requires_python=">=3.9")
    made.release("alice/dev", "bare", "0.1", summary="no files")
    wheel = make_wheel("hello", "1.0", requires_python=">=3.10")
    made.file("alice/dev", "Hello", "1.0", wheel_name("hello", "1.0"), wheel)
    made.file("alice/dev", "Hello", "1.0", "Hello-1.0.zip", b"no zip at all")
    made.file("alice/stable", "hello", "0.9", sdist_name("hello", "0.9"), make_sdist("hello", "0.9"))
    of = ("Hello", "1.0", "alice")
    made.put("alice/dev", "doczip", "alice/dev/Hello-1.0.doc.zip", b"zip", of)
    about = f"alice/dev/+f/000/0000000000000/{wheel_name('hello', '1.0')}"
    path = f"alice/dev/Hello/x/{wheel_name('hello', '1.0')}.toxresult-20260102030405-0"
    made.put("alice/dev", "toxresult", path, b"{}", of, for_entrypath=about)
    made.close()
    return made


async def bring(settings: Settings, export: ExportFolder, **options: Any) -> list[dict[str, str]]:
    """Import an export and return the lines of its report."""
    report = export.path.parent / "report.jsonl"
    export.close()
    try:
        await import_devpi(settings, export.path, Options(report=report, wait=False, **options), lambda _: None)
    finally:
        lines = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    return lines


def statuses(lines: list[dict[str, str]], kind: str) -> dict[str, str]:
    """Return what became of the things of a kind, by what they are."""
    return {line["what"]: line["status"] for line in lines if line["kind"] == kind and line["status"] != "note"}


async def count(engine: AsyncEngine, table: type) -> int:
    """Return how many rows a table has."""
    async with engine.connect() as connection:
        return (await connection.execute(select(func.count()).select_from(table))).scalar_one()


async def sign(resources: Resources) -> None:
    """Publish what waits in every index."""
    await resources.directory.refresh()
    for record in resources.directory.indexes():
        await Publisher(resources).publish(record.id)


async def page_of(resources: Resources, index: str, project: str) -> Any:
    """Return a project's page document as it was signed."""
    record = next(one for one in resources.directory.indexes() if str(one.name) == index)
    key = plain_target_key(record.name, page_target(canonicalize_name(project)))
    async with resources.objects.side(public=record.public).open(key) as opened:
        return json.loads(b"".join([chunk async for chunk in opened.chunks]))


async def test_an_export_becomes_signed_indexes(settings: Settings, resources: Resources, export: ExportFolder) -> None:
    """Accounts sign in as before, files keep digest, time and metadata, attachments come along, pages are signed."""
    lines = await bring(settings, export)
    assert set(statuses(lines, "file").values()) == {"imported"}
    assert len(statuses(lines, "file")) == 3
    async with resources.engine.connect() as connection:
        noted = (await connection.execute(select(Audit).where(Audit.action == "files.import"))).all()
        files = (await connection.execute(select(File.file_name, File.sha256))).all()
    assert {row.subject for row in noted} == {"alice/dev", "alice/stable"}
    assert {name: sha256 for row in noted for name, sha256 in row.detail["files"].items()} == dict(files)
    assert list(statuses(lines, "doc").values()) == list(statuses(lines, "test-result").values()) == ["imported"]
    await sign(resources)
    page = await page_of(resources, "alice/dev", "hello")
    wheel, source = sorted(page["files"], key=lambda file: file["filename"].endswith(".zip"))
    assert (wheel["requires-python"], source["requires-python"]) == (">=3.10", ">=3.9")
    assert wheel["core-metadata"]["sha256"]
    assert wheel["upload-time"] == "2026-01-02T03:04:05Z"
    assert (await page_of(resources, "alice/dev", "bare"))["files"] == []
    async with resources.engine.connect() as connection:
        people = await connection.execute(select(Account.name, Account.password_hash))
        hashes = {row.name: row.password_hash for row in people}
        rows = await connection.execute(select(Attachment.kind, Attachment.file_name, Attachment.path_key))
        attached = {row.kind: row for row in rows}
    assert password_matches(hashes["alice"] or "", _PASSWORD)
    assert hashes["bob"] is None
    assert attached["doc"].file_name == "hello-1.0.doc.zip"
    assert attached["test-result"].path_key == wheel["hashes"]["sha256"][:16]
    record = next(one for one in resources.directory.indexes() if str(one.name) == "alice/dev")
    assert (record.admission, record.volatile) == ("devpi", True)
    assert [str(base) for base in record.bases] == ["alice/stable", "bob/gone"]
    assert any("bob/gone" in line.get("why", "") for line in lines)


async def test_the_same_import_again_changes_nothing(
    settings: Settings, resources: Resources, export: ExportFolder
) -> None:
    """Everything is there already: no row, no job, and an account that changed meanwhile keeps what it has."""
    await bring(settings, export)
    await sign(resources)
    tables = (Account, IndexRow, File, Attachment, PublishedFile)
    before = [await count(resources.engine, table) for table in tables]
    lines = await bring(settings, export)
    await sign(resources)
    assert [await count(resources.engine, table) for table in tables] == before
    assert {line["status"] for line in lines} == {"already there", "note"}


async def test_an_import_goes_on_where_it_was_cut(
    settings: Settings, resources: Resources, export: ExportFolder
) -> None:
    """What was committed before is there, what came later is imported."""
    document = json.loads(json.dumps(export.document))
    export.document["indexes"]["alice/dev"]["files"] = document["indexes"]["alice/dev"]["files"][:1]
    await bring(settings, export)
    export.document = document
    lines = await bring(settings, export)
    assert sorted(statuses(lines, "file").values()) == ["already there", "already there", "imported"]
    assert await count(resources.engine, File) == 3


@pytest.mark.parametrize("damage", ["missing", "changed", "link", "key", "name"])
async def test_nothing_is_half_imported(
    settings: Settings, resources: Resources, export: ExportFolder, damage: str
) -> None:
    """One bad thing stands against the whole, before anything is written; --skip-bad imports the rest."""
    path = export.path / "alice/dev/Hello/1.0/Hello-1.0.zip"
    if damage == "missing":
        path.unlink()
    elif damage == "changed":
        path.write_bytes(b"other bytes..")
    elif damage == "link":
        path.unlink()
        path.symlink_to("/etc/passwd")
    elif damage == "key":
        export.document["users"]["bob"]["plugin"] = "x"
    else:
        export.user("joe@corp", _HASH)
    with pytest.raises(LaunchError, match="nothing was imported"):
        await bring(settings, export)
    assert [await count(resources.engine, table) for table in (Account, IndexRow, File)] == [0, 0, 0]
    lines = await bring(settings, export, skip_bad=True)
    assert [line["status"] for line in lines].count("refused") == 1
    assert await count(resources.engine, File) == (3 if damage in {"key", "name"} else 2)


async def test_a_name_with_other_bytes_here_is_a_conflict(
    settings: Settings, resources: Resources, export: ExportFolder
) -> None:
    """An import never replaces: what is here stays, and the report names both digests."""
    await bring(settings, export)
    path = f"alice/stable/hello/0.9/{sdist_name('hello', '0.9')}"
    export.document["indexes"]["alice/stable"]["files"] = []
    export.file("alice/stable", "hello", "0.9", sdist_name("hello", "0.9"), b"other bytes")
    with pytest.raises(LaunchError, match="this name with other bytes"):
        await bring(settings, export)
    assert await count(resources.engine, File) == 3
    assert (export.path / path).exists()


async def test_a_folder_comes_into_a_new_index_and_into_a_strict_one(
    settings: Settings, resources: Resources, tmp_path: Path
) -> None:
    """A new index takes older kinds of files; a strict one takes what an upload could bring, and refuses the rest."""
    folder = tmp_path / "files"
    (folder / "below").mkdir(parents=True)
    (folder / wheel_name("hello", "1.0")).write_bytes(make_wheel("hello", "1.0"))
    (folder / "below" / "Old.Name-1.0.zip").write_bytes(b"old")
    (folder / "below" / wheel_name("hello", "1.0")).write_bytes(make_wheel("hello", "1.0"))
    (folder / "README").write_bytes(b"no package")
    await make_index(resources.engine, "root/stable")
    said: list[str] = []
    await import_folder(settings, folder, "root/old", Options(wait=False), said.append)
    assert "file: 2 imported, 1 left out\n" in said
    with pytest.raises(LaunchError, match=r"Old\.Name-1\.0\.zip"):
        await import_folder(settings, folder, "root/stable", Options(wait=False), said.append)
    await import_folder(settings, folder, "root/stable", Options(wait=False, skip_bad=True), said.append)
    await sign(resources)
    assert [file["filename"] for file in (await page_of(resources, "root/old", "old-name"))["files"]] == [
        "Old.Name-1.0.zip"
    ]
    assert len((await page_of(resources, "root/stable", "hello"))["files"]) == 1


@pytest.fixture
async def demanding(resources: Resources) -> None:
    """A policy that demands build provenance of `hello` in alice/dev, and nothing else of anything."""
    signed = policy("hello", more='    indexes: ["alice/dev", "root/stable"]\n')
    await trust(resources.engine, TrustMaterial(signed, {"trusted_root.json": b"{}"}), version=100)


@pytest.mark.usefixtures("demanding")
async def test_what_the_policy_demands_stands_against_the_whole(
    settings: Settings,
    resources: Resources,
    export: ExportFolder,
) -> None:
    """It is told before anything is written, for an index that is not made yet; --skip-bad imports the rest."""
    with pytest.raises(LaunchError, match=r"nothing was imported[\s\S]*demands an attestation"):
        await bring(settings, export)
    assert [await count(resources.engine, table) for table in (File, Outbox)] == [0, 0]
    lines = await bring(settings, export, skip_bad=True)
    refused = [line for line in lines if line["status"] == "refused"]
    assert [(line["kind"], DEMANDED in line["why"]) for line in refused if line["kind"] == "file"] == [
        ("file", True)
    ] * 2
    assert [line["kind"] for line in refused if line["kind"] != "file"] == ["test-result"]
    assert [await count(resources.engine, table) for table in (File, Attachment)] == [1, 1]


async def test_what_is_there_already_is_not_asked_about(
    settings: Settings,
    resources: Resources,
    export: ExportFolder,
) -> None:
    """A policy that came after an import does not stop the same import again."""
    await bring(settings, export)
    await trust(resources.engine, TrustMaterial(policy("hello"), {"trusted_root.json": b"{}"}), version=100)
    lines = await bring(settings, export)
    assert set(statuses(lines, "file").values()) == {"already there"}


@pytest.mark.usefixtures("demanding")
async def test_a_file_that_is_refused_leaves_nothing_behind(
    settings: Settings,
    resources: Resources,
    tmp_path: Path,
) -> None:
    """Neither by way of a folder nor where only the copy's digest is known; no row, no job, no bytes."""
    await make_index(resources.engine, "root/stable")
    folder = tmp_path / "files"
    folder.mkdir()
    names = [wheel_name("hello", "1.0"), wheel_name("other", "1.0")]
    for name, project in zip(names, ("hello", "other"), strict=True):
        (folder / name).write_bytes(make_wheel(project, "1.0"))
    with pytest.raises(LaunchError, match="demands an attestation"):
        await import_folder(settings, folder, "root/stable", Options(wait=False), lambda _: None)
    await resources.directory.refresh()
    index = resources.directory.index(parse_index_name("root/stable"))
    assert index is not None
    at = datetime(2026, 1, 2, tzinfo=UTC)
    some = [Candidate(folder / name, guessed_coordinates(name), None, "root", at) for name in names]
    outcomes = await Imports(resources).add(index, some)
    assert [one.status for one in outcomes] == [REFUSED, IMPORTED]
    assert DEMANDED in outcomes[0].why
    assert await count(resources.engine, File) == 1
    sha256 = sha256_of((folder / names[0]).read_bytes())
    assert not [path for path in settings.data.rglob("*") if sha256[2:] in str(path)]
