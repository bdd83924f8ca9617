"""A snapshot of advisories replaces the one before as a whole, or not at all."""

from __future__ import annotations

import asyncio
import tracemalloc
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import NormalizedName
from deploy.errors import LaunchError, UsageError
from deploy.osv.importing import import_snapshot, status
from deploy.osv.records import Bounds
from shared.catalogue import advisories
from shared.catalogue.tables import Audit
from shared.settings import Database, Settings
from shared.zstd import unpack
from tests.support.advisories import fixed, record

THING = NormalizedName("thing")


@pytest.fixture
def settings(database: str, tmp_path: Path) -> Settings:
    """Settings of a deployment of which the catalogue is there."""
    return Settings(data=tmp_path / "data", database=Database(url=SecretStr(database)))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Where a snapshot lies."""
    return tmp_path / "all.jsonl"


async def bring(settings: Settings, source: Path, *lines: bytes, lenient: bool = False) -> str:
    """Import these records, and return what was said."""
    source.write_bytes(b"\n".join(lines))
    said: list[str] = []
    await import_snapshot(settings, source, said.append, lenient=lenient)
    return "".join(said)


async def served(engine: AsyncEngine, *projects: str) -> dict[str, list[str]]:
    """Return the ids of all that is said of some projects."""
    async with engine.connect() as connection:
        found = await advisories.entries(connection, map(NormalizedName, projects or ("thing",)), withdrawn=True)
    return {project: [entry.id for entry in entries] for project, entries in found.items()}


async def test_import(engine: AsyncEngine, settings: Settings, source: Path) -> None:
    """What is about PyPI is kept with its record byte for byte; what is about other ecosystems is counted."""
    other = record("A-3", affected=[{"package": {"ecosystem": "npm", "name": "thing"}, "versions": ["1.0"]}])
    withdrawn = fixed("A-2", "3.0", withdrawn="2026-03-01T00:00:00Z", modified="2026-04-05T06:07:08Z")
    said = await bring(settings, source, fixed("A-1", "2.0"), withdrawn, other)
    assert "2 advisories about PyPI packages are served, the newest of 2026-04-05 06:07 UTC; 1 records about" in said
    async with engine.connect() as connection:
        found = await advisories.documents(connection, ["A-1", "A-2", "A-3"])
        current = await advisories.current(connection)
        living = await advisories.entries(connection, [THING], withdrawn=False)
        (row,) = await connection.execute(select(Audit).where(Audit.action == "advisories.import"))
    assert {name: unpack(document) for name, document in found.items()} == {
        "A-1": fixed("A-1", "2.0"),
        "A-2": withdrawn,
    }
    assert (row.actor, row.subject, row.detail["advisories"]) == ("cli", "all.jsonl", 2)
    assert current is not None
    assert (current.number, current.advisories, current.left_out) == (1, 2, 0)
    assert [entry.id for entry in living[THING]] == ["A-1"]
    assert await served(engine) == {"thing": ["A-1", "A-2"]}
    assert await status(settings) == {
        "advisories": 2,
        "left_out": 0,
        "newest": "2026-04-05 06:07 UTC",
        "imported": f"{current.imported_at:%Y-%m-%d %H:%M} UTC",
        "from": "all.jsonl",
    }


async def test_again(engine: AsyncEngine, settings: Settings, source: Path) -> None:
    """The next snapshot takes everything away that it does not have."""
    assert await status(settings) is None
    await bring(settings, source, fixed("A-1", "2.0"), fixed("A-2", "2.0", "other"))
    await bring(settings, source, fixed("A-3", "2.0"))
    assert await served(engine, "thing", "other") == {"thing": ["A-3"]}
    async with engine.connect() as connection:
        current = await advisories.current(connection)
    assert current is not None
    assert current.number == 2


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([fixed("A-2", "2.0"), b"{"], "1 of the records cannot be read; --lenient"),
        ([fixed("A-2", "2.0"), fixed("A-2", "3.0")], "1 of the records"),
        ([record("A-2", affected=[])], "no advisory about a PyPI package"),
        ([], "no advisory about a PyPI package"),
    ],
)
async def test_failed(engine: AsyncEngine, settings: Settings, source: Path, lines: list[bytes], why: str) -> None:
    """An import that fails leaves what was served before."""
    await bring(settings, source, fixed("A-1", "2.0"))
    with pytest.raises(LaunchError, match=why):
        await bring(settings, source, *lines)
    assert await served(engine) == {"thing": ["A-1"]}


async def test_cut(engine: AsyncEngine, settings: Settings, source: Path) -> None:
    """A snapshot that turns out to be too large in its middle changes nothing either."""
    await bring(settings, source, fixed("A-1", "2.0"))
    source.write_bytes(b"\n".join(fixed(f"B-{number}", "2.0") for number in range(2_000)))
    with pytest.raises(UsageError, match="more than 1500 records"):
        await import_snapshot(settings, source, lambda _: None, bounds=Bounds(records=1_500))
    assert await served(engine) == {"thing": ["A-1"]}


async def test_lenient(engine: AsyncEngine, settings: Settings, source: Path) -> None:
    """With --lenient what cannot be read is left out and told, the first faults by name, and the rest is served."""
    said = await bring(settings, source, fixed("A-1", "2.0"), *[b"{"] * 30, fixed("A-2", "1.0"), lenient=True)
    assert await served(engine) == {"thing": ["A-1", "A-2"]}
    assert "left out: line 2: it is no JSON" in said
    assert ("left out: and more" in said, "line 29" in said, "30 records left out" in said) == (True, False, True)


async def test_at_once(engine: AsyncEngine, settings: Settings, tmp_path: Path) -> None:
    """Two imports at the same time come one after the other: one of the two snapshots is served, whole."""
    sources = [tmp_path / f"{name}.jsonl" for name in "AB"]
    lines = [[fixed(f"{path.stem}-{number}", "2.0") for number in range(600)] for path in sources]
    await asyncio.gather(*(bring(settings, path, *some) for path, some in zip(sources, lines, strict=True)))
    found = (await served(engine))["thing"]
    assert (len(found), len({name[0] for name in found})) == (600, 1)


async def test_memory(engine: AsyncEngine, settings: Settings, source: Path) -> None:
    """20,000 advisories of 6 KB are never in memory together."""
    details = "word " * 1_000
    with source.open("wb") as file:
        for number in range(20_000):
            file.write(fixed(f"A-{number}", "2.0", f"thing-{number % 5_000}", details=details) + b"\n")
    tracemalloc.start()
    try:
        await import_snapshot(settings, source, lambda _: None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len((await served(engine, "thing-7"))["thing-7"]) == 4
    assert peak < source.stat().st_size / 3
