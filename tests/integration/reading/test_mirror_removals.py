"""Removing from mirrors: what was kept is gone, and what comes again may be something else. devpi contract 14, 23."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import sha256_of
from countermark.core.names import FileName, NormalizedName, parse_index_name
from services.upload.mirror_removals import MirrorRemovals
from shared.auth.directory import IndexRecord
from shared.auth.principal import Principal
from shared.catalogue.tables import Audit, MirrorFile, MirrorJson, MirrorPage
from shared.objects.interface import ObjectStores
from shared.settings import Mirrors
from tests.integration.reading.mirror_site import mirrored
from tests.integration.reading.mirrored_files.site import Files
from tests.support.reading import open_reading
from tests.support.upstream import Fault, Upstream

ONE, TWO, OTHER = "thing-1.0.tar.gz", "thing-2.0-py3-none-any.whl", "thing-1.0-py3-none-any.whl"
THING = NormalizedName("thing")


class Removing(Files):
    """A site whose mirror is told to forget."""

    @property
    def removals(self) -> MirrorRemovals:
        """What removes."""
        return MirrorRemovals(self.family.reading.resources)

    @property
    def mirror(self) -> IndexRecord:
        """The mirror."""
        found = self.family.reading.resources.directory.index(parse_index_name("root/pypi"))
        assert found is not None
        return found

    async def digests(self) -> dict[str, str]:
        """Return what the page lists, in a process that remembers nothing."""
        self.reopen()
        answer = await self.get("/root/pypi/+simple/thing/")
        return {file["filename"]: file["hashes"]["sha256"] for file in answer.json().get("files", ())}

    async def count(self, table: type[MirrorPage | MirrorJson]) -> int:
        """Return how many rows there are."""
        async with self.engine.connect() as connection:
            return await connection.scalar(select(func.count()).select_from(table)) or 0

    async def marked(self) -> set[str]:
        """Return which files are about to be removed."""
        async with self.engine.connect() as connection:
            keys = await connection.scalars(select(MirrorFile.key).where(MirrorFile.evicting_at.is_not(None)))
            return {key.rpartition("/")[2] for key in keys}


WHO = Principal("alice")


@pytest.fixture
async def site(engine: AsyncEngine, stores: ObjectStores) -> AsyncIterator[Removing]:
    """A mirror that keeps three files of two versions, and holds names to their digests."""
    upstream = Upstream()
    for name in (ONE, OTHER):
        upstream.add("thing", name, name.encode(), metadata=b"Name: thing" if name == OTHER else None)
    upstream.add("thing", TWO, b"two")
    reading = open_reading(engine, stores, mirrors=Mirrors(patience=0.3))
    async with mirrored(Removing, engine, reading, upstream) as site:
        await site.set("root/pypi", volatile=False)
        for path in (await site.page()).values():
            assert (await site.get(path)).status_code == 200
        await site.get(f"{(await site.page())[OTHER]}.metadata")
        await site.get("/root/pypi/pypi/thing/json")
        await site.settled(4)
        yield site


async def test_a_project(site: Removing) -> None:
    """Everything that was kept of it goes, and other digests are taken then."""
    before = await site.digests()
    assert await site.removals.remove(site.mirror, WHO, THING)
    assert (await site.count(MirrorPage), await site.count(MirrorJson)) == (0, 0)
    assert await site.marked() == {ONE, TWO, OTHER, f"{OTHER}.metadata"}
    site.upstream.add("thing", TWO, b"other bytes")
    after = await site.digests()
    assert after.keys() == before.keys()
    assert {name for name in before if before[name] != after[name]} == {TWO}
    assert not await site.removals.remove(site.mirror, WHO, NormalizedName("unknown"))
    async with site.engine.connect() as connection:
        rows = (await connection.scalars(select(Audit.subject).where(Audit.action == "mirror.remove"))).all()
    assert rows == ["root/pypi/thing"]


@pytest.mark.parametrize("written", ["1.0", "1.0.0", "v1"])
async def test_a_version(site: Removing, written: str) -> None:
    """Its files alone, however it is written; the rest of the page keeps its digests."""
    assert await site.removals.remove(site.mirror, WHO, THING, written)
    assert await site.marked() == {ONE, OTHER, f"{OTHER}.metadata"}
    site.upstream.add("thing", ONE, b"new one")
    site.upstream.add("thing", TWO, b"new two")
    found = await site.digests()
    assert (found[ONE], found[OTHER]) == (sha256_of(b"new one"), sha256_of(OTHER.encode()))
    assert found[TWO] == sha256_of(b"two"), "it was not removed, and keeps its digest"
    assert not await site.removals.remove(site.mirror, WHO, THING, "7.0")


async def test_a_file(site: Removing) -> None:
    """By its address; one with another digest is not there."""
    sha256 = (await site.digests())[OTHER]
    name = FileName(OTHER)
    assert await site.removals.remove_file(site.mirror, WHO, "0" * 16, name) is None
    assert await site.removals.remove_file(site.mirror, WHO, sha256[:16], name) == THING
    assert await site.removals.remove_file(site.mirror, WHO, sha256[:16], name) is None
    assert await site.marked() == {OTHER, f"{OTHER}.metadata"}
    assert OTHER in await site.digests(), "the upstream has it, so it is there again"


async def test_with_the_upstream_away(site: Removing) -> None:
    """What was removed is not shown any more, and the rest is."""
    assert await site.removals.remove(site.mirror, WHO, THING, "1.0")
    site.upstream.down = Fault(status=503)
    assert (await site.digests()).keys() == {TWO}
    assert await site.removals.remove(site.mirror, WHO, THING)
    site.reopen()
    assert (await site.get("/root/pypi/+simple/thing/")).status_code == 503


async def test_beside_a_question(site: Removing) -> None:
    """An answer that was asked for before does not bring a removed version's digests back."""
    site.upstream.faults["/simple/thing/"] = Fault(delay=0.6)
    asking = asyncio.create_task(site.client.post("/root/pypi/+simple/thing/refresh"))
    await asyncio.sleep(0.3)
    assert await site.removals.remove(site.mirror, WHO, THING, "1.0")
    await asking
    site.upstream.faults.clear()
    site.upstream.add("thing", ONE, b"new one")
    assert (await site.digests())[ONE] == sha256_of(b"new one")
