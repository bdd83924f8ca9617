"""Pushing from a mirror: its files are fetched, then hosted, admitted and signed. Contract devpi section 11."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import NormalizedName
from shared.catalogue.tables import IndexRow, MirrorFile
from shared.formats.python.simple_pages import JSON_TYPE
from tests.support.archives import Project as Metadata
from tests.support.archives import make_sdist, make_wheel
from tests.support.pushing import Site
from tests.support.pushing_mirrored import open_mirrored
from tests.support.reading import open_reading
from tests.support.upstream import Fault, Upstream

WHEEL, SDIST = "widget-1.0-py3-none-any.whl", "widget-1.0.tar.gz"
PROJECT = NormalizedName("widget")


@pytest.fixture
def upstream() -> Upstream:
    """Widget 1.0 as wheel and source archive, and a wheel of 2.0."""
    metadata = Metadata("widget", "1.0", summary="Widgets.", requires_python=">=3.9")
    made = Upstream()
    made.add("widget", WHEEL, make_wheel("widget", "1.0", project=metadata), fields={"requires-python": ">=3.9"})
    made.add("widget", SDIST, make_sdist("widget", "1.0", project=metadata), fields={"yanked": "breaks"})
    made.add("widget", "widget-2.0-py3-none-any.whl", b"no wheel at all")
    return made


@pytest.fixture
async def site(engine: AsyncEngine, tmp_path: Path, upstream: Upstream) -> AsyncIterator[Site]:
    """A mirror that keeps the page of the upstream, and a stage."""
    async with open_mirrored(engine, tmp_path, upstream) as opened:
        yield opened


async def kept(site: Site) -> int:
    """Return how many files of mirrors are in the store."""
    async with site.resources.engine.connect() as connection:
        return await connection.scalar(select(func.count()).select_from(MirrorFile)) or 0


async def test_a_release_is_fetched_and_signed(site: Site, upstream: Upstream) -> None:
    """With its marks, times and metadata; nothing is fetched twice."""
    answer = await site.push("root/pypi", "widget==1.0", "root/stable")
    assert answer.status_code == 200, answer.text
    assert [line[1] for line in answer.json()["result"]] == ["register", "store_releasefile", "store_releasefile"]
    files = {file["filename"]: file for file in site.page("root/stable")["files"]}
    assert set(files) == {WHEEL, SDIST}
    expected = upstream.projects["widget"]
    for name, file in files.items():
        assert file["hashes"] == expected[name].entry()["hashes"]
        assert file["upload-time"] == expected[name].entry()["upload-time"]
        path = site.stored(file["hashes"]["sha256"], name, public=True)
        assert path.read_bytes() == expected[name].content
    assert files[SDIST]["yanked"] == "breaks"
    assert (files[WHEEL]["requires-python"], "core-metadata" in files[WHEEL]) == (">=3.9", True)
    rows = await site.rows("root/stable")
    assert {row.uploader for row in rows} == {"root"}
    assert {(step["src"], step["mirror"]) for row in rows for step in row.history} == {("root/pypi", True)}
    again = await site.push("root/pypi", "widget==1.0", "root/stable")
    assert again.status_code == 409, "as for every file that a non-volatile index has"
    assert upstream.asked[f"/files/{WHEEL}"] == 1


async def test_what_another_process_fetched_comes_from_the_store(site: Site, upstream: Upstream) -> None:
    """Though this one never asked for it, and the upstream is dead."""
    other = open_reading(site.resources.engine, site.resources.objects)
    await other.news()
    async with other.client() as client:
        page = (await client.get("/root/pypi/+simple/widget/", headers={"accept": JSON_TYPE})).json()
        for file in page["files"]:
            path = f"/root/pypi/{file['url'].removeprefix('../../')}"
            assert (await client.get(path)).content == upstream.projects["widget"][file["filename"]].content
    async with asyncio.timeout(10):
        while await kept(site) < len(page["files"]):
            await asyncio.sleep(0.02)
    upstream.down = Fault(status=500)
    answer = await site.push("root/pypi", "widget==1.0", "root/stable")
    assert answer.status_code == 200, answer.text
    assert set(site.listed("root/stable")) == {WHEEL, SDIST}


async def test_admission_judges_what_comes_from_elsewhere(site: Site) -> None:
    """A strict index refuses what it would refuse as an upload, and nothing is pushed."""
    answer = await site.push("root/pypi", "widget==2.0", "root/stable")
    assert (answer.status_code, "widget-2.0" in answer.json()["message"]) == (400, True)
    assert await site.rows("root/stable") == []


async def test_what_cannot_be_fetched_is_not_pushed(site: Site, upstream: Upstream) -> None:
    """502 with the reason; all or nothing."""
    upstream.faults[f"/files/{SDIST}"] = Fault(status=503)
    answer = await site.push("root/pypi", "widget==1.0", "root/stable")
    assert (answer.status_code, SDIST in answer.json()["message"]) == (502, True)
    assert await site.rows("root/stable") == []
    for spec, status in (("widget==3.0", 400), ("other==1.0", 502)):
        assert (await site.push("root/pypi", spec, "root/stable")).status_code == status
    elsewhere = await site.push("root/pypi", "widget==2.0", None, posturl="https://x.test/", username="a", password="b")
    assert (elsewhere.status_code, "is a mirror" in elsewhere.json()["message"]) == (400, True)


async def test_what_is_held_back_is_not_pushed(site: Site) -> None:
    """A cooldown has no way around."""
    async with site.resources.engine.begin() as connection:
        row = update(IndexRow).where(IndexRow.name == "pypi")
        settings = (await connection.scalars(select(IndexRow.settings).where(IndexRow.name == "pypi"))).one()
        policy = {"min_age": 100 * 365 * 86400}
        await connection.execute(row.values(settings=settings | {"policy": policy}))
        await connection.execute(delete(MirrorFile))
    await site.resources.directory.refresh()
    answer = await site.push("root/pypi", "widget==1.0", "root/stable")
    assert (answer.status_code, "too-new" in answer.json()["message"]) == (403, True)
