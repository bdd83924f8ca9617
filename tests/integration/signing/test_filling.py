"""An index filled by the benchmark is what uploads would have made, to clients and to the next publication."""

import random
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from sqlalchemy import func, select

from bench.filling import NotFilled, fill
from bench.synthetic import Filling, synthetic_projects
from countermark.core.digest import sha256_of
from countermark.core.names import IndexName
from countermark.core.pointer import parse_latest, parse_pointer
from services.index.laying import lay
from services.index.settings import Limits
from services.signing.publication.usecases import Publisher
from services.signing.upkeep.rebuilding import rebuild
from shared.catalogue.heads import current_pages
from shared.catalogue.tables import Intent, Journal, Project, PublishedFile, TufFile
from shared.resources import Resources
from shared.settings import Settings, Signing
from tests.integration.signing.changes import published_index, upload
from tests.support.factories import MadeIndex
from tests.support.tuf_reader import TreeReader

FILES, PROJECTS = 1_000, 90
INDEX = IndexName("root", "stable")


@pytest.fixture
async def index(resources: Resources) -> MadeIndex:
    """An index that was published empty, as `index create` leaves it."""
    return await published_index(resources)


async def count(resources: Resources, column: object) -> int:
    """Count the rows of a table."""
    async with resources.engine.connect() as connection:
        return await connection.scalar(select(func.count()).select_from(column)) or 0  # type: ignore[arg-type]


async def test_a_filled_index_is_whole_to_a_stock_client(
    resources: Resources, index: MadeIndex, tmp_path: Path
) -> None:
    """Any file drawn at random has a signed pointer that names its bytes; every page lists its project's files."""
    filled = await fill(resources, Filling(INDEX, FILES, PROJECTS))
    assert (filled.files, filled.targets, filled.bins) == (FILES, FILES + 2 * PROJECTS, 256)
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    projects = list(synthetic_projects(Filling(INDEX, FILES, PROJECTS)))
    for project in random.sample(projects, 5):
        file = random.choice(project.files)
        pointer = parse_pointer(reader.target(f"pointers/{project.name}/{file.file_name}.pointer") or b"")
        stored = (tmp_path / "public" / pointer.file.uri[1:]).read_bytes()
        assert (sha256_of(stored), len(stored)) == (pointer.file.digest, pointer.file.length)
        latest = parse_latest(reader.target(f"pointers/{project.name}/_latest.pointer") or b"")
        assert latest.file == project.files[-1].file_name
        page = orjson.loads(reader.target(f"pointers/{project.name}/_simple.json") or b"")
        assert [file["filename"] for file in page["files"]] == [file.file_name for file in project.files]
    async with resources.engine.connect() as connection:
        pages = await current_pages(connection, index.id)
    assert [page.project for page in pages] == [project.name for project in projects]
    assert sum(page.files for page in pages) == FILES
    for table, rows in ((PublishedFile, FILES), (Journal, FILES), (Intent, filled.targets)):
        assert await count(resources, table) == rows


async def test_signing_and_laying_go_on_from_a_filled_index(
    resources: Resources, index: MadeIndex, tmp_path: Path
) -> None:
    """An upload to a filled project joins its files, one to a new project too; what was there stays."""
    await fill(resources, Filling(INDEX, FILES, PROJECTS, whole_every=10))
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    before = reader.versions()["timestamp"]
    assert before == 2 + (FILES - 1) // 500, "the numbers of publications of 500 files each"
    names = ("synthetic_0000010-9.0-py3-none-any.whl", "newcomer-1.0-py3-none-any.whl")
    for name in names:
        await upload(resources, index, name, b"uploaded " + name.encode())
        await Publisher(resources).publish(index.id)
    page = orjson.loads(reader.target("pointers/synthetic-0000010/_simple.json") or b"")
    assert [file["filename"] for file in page["files"]][-1] == names[0]
    assert len(page["files"]) == FILES // PROJECTS + 1
    assert page["meta"]["_last-serial"] == 4
    assert reader.target("pointers/newcomer/newcomer-1.0-py3-none-any.whl.pointer") is not None
    assert reader.target("pointers/synthetic-0000020/_simple.json") is not None
    assert reader.versions()["timestamp"] == before + 2
    assert await lay(resources, Limits(), index.id) == 2


async def test_what_was_left_out_can_be_rebuilt(resources: Resources, index: MadeIndex, tmp_path: Path) -> None:
    """Pointers and pages of projects whose objects were left out come from the catalogue, byte for byte as signed."""
    await fill(resources, Filling(INDEX, 100, 10, whole_every=5))
    tree = tmp_path / "public/indexes/root/stable"
    assert len(list((tree / "targets/pointers").iterdir())) == 2
    report = await rebuild(resources, index.id)
    assert report is not None
    assert report.differing == ()
    assert report.targets == 120
    assert len(list((tree / "targets/pointers").iterdir())) == 10


async def test_only_an_empty_index_of_a_development_deployment_is_filled(
    resources: Resources, index: MadeIndex
) -> None:
    """What is refused is left as it was, and each refusal says why."""
    for settings, reason in (
        (Settings(data=resources.settings.data, signing=Signing(profile="small")), "signing.profile is small"),
        (Settings(data=resources.settings.data, outside_url="https://packages.example"), "others may read"),
    ):
        with pytest.raises(NotFilled, match=reason):
            await fill(replace(resources, settings=settings), Filling(INDEX, 10, 1))
    with pytest.raises(NotFilled, match="there is no index root/other"):
        await fill(resources, Filling(IndexName("root", "other"), 10, 1))
    assert await count(resources, Project) == 0
    await fill(resources, Filling(INDEX, 10, 1))
    with pytest.raises(NotFilled, match="holds projects already"):
        await fill(resources, Filling(INDEX, 10, 1))


async def test_every_bin_of_a_filled_index_is_kept_and_stored(
    resources: Resources, index: MadeIndex, tmp_path: Path
) -> None:
    """The catalogue and the store hold the same current bins, and no other is current."""
    await fill(resources, Filling(INDEX, 50, 50))
    async with resources.engine.connect() as connection:
        rows = (
            await connection.execute(select(TufFile.role, TufFile.version, TufFile.content).where(TufFile.current))
        ).all()
    assert len(rows) == 257
    metadata = tmp_path / "public/indexes/root/stable/metadata"
    assert all((metadata / f"{row.version}.{row.role}.json").read_bytes() == row.content for row in rows)
