"""What was signed, compared with a real catalogue that somebody has changed."""

import json
from pathlib import Path

import pytest
from sqlalchemy import select, text, update

from countermark.core.digest import sha256_of
from services.signing.upkeep.checking import check
from shared.catalogue.tables import File, TufFile
from shared.resources import Resources
from tests.integration.signing import changes
from tests.support.factories import MadeIndex, make_index

PATH = "pointers/first/first-1.0-py3-none-any.whl.pointer"


@pytest.fixture
async def index(resources: Resources) -> MadeIndex:
    """An index with a file, published."""
    return await changes.published_index(resources, {"first-1.0-py3-none-any.whl": b"first"})


async def faults(resources: Resources, index: MadeIndex) -> list[str]:
    """Check an index that was published, and return what is wrong."""
    checked = await check(resources, index.id)
    assert checked is not None
    return checked.faults


async def change_bin(resources: Resources, index: MadeIndex, old: str, new: str) -> str:
    """Change text in the bin that holds the file's pointer; returns the bin's name."""
    async with resources.engine.begin() as connection:
        rows = await connection.execute(
            select(TufFile.role, TufFile.content).where(TufFile.index_id == index.id, TufFile.current)
        )
        role, content = next((row.role, row.content) for row in rows if PATH.encode() in row.content)
        changed = content.replace(old.encode(), new.encode())
        assert changed != content
        await connection.execute(
            update(TufFile)
            .where(TufFile.index_id == index.id, TufFile.role == role, TufFile.current)
            .values(content=changed, sha256=sha256_of(changed), length=len(changed))
        )
    return str(role)


async def test_what_was_published_agrees(resources: Resources, index: MadeIndex) -> None:
    """An untouched index has no fault, nor has one that is empty; one that was never published is not checked."""
    assert await faults(resources, index) == []
    empty = await make_index(resources.engine, "root/empty")
    assert await check(resources, empty.id) is None


async def test_a_target_that_nobody_uploaded(resources: Resources, index: MadeIndex) -> None:
    """It is named, as are the file that is not listed under its name any more and the bin that does not verify."""
    role = await change_bin(resources, index, PATH, PATH.replace("first-1.0", "fierce-1.0"))
    assert await faults(resources, index) == [
        f"{PATH.replace('first-1.0', 'fierce-1.0')}: signed, and of nothing that was uploaded",
        f"{PATH}: uploaded, and not signed",
        f"{role}: not signed by the key of the bins",
    ]


async def test_a_file_whose_row_was_changed(resources: Resources, index: MadeIndex) -> None:
    """Its pointer and its project's page are not what was signed."""
    async with resources.engine.begin() as connection:
        await connection.execute(text("set session_replication_role = replica"))
        await connection.execute(update(File).values(sha256="0" * 64))
    found = await faults(resources, index)
    assert f"{PATH}: signed with other bytes" in found
    assert "pointers/first/_simple.json: signed with other bytes" in found


async def test_the_store_is_not_asked(resources: Resources, index: MadeIndex, tmp_path: Path) -> None:
    """The comparison is of the catalogue with itself: a tree that somebody changed is what `rebuild` mends."""
    timestamp = tmp_path / "public/indexes/root/stable/metadata/timestamp.json"
    document = json.loads(timestamp.read_bytes())
    timestamp.write_text(json.dumps(document | {"signatures": []}), encoding="utf-8")
    assert await faults(resources, index) == []
