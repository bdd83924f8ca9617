"""A row of a published file that was changed in the catalogue, or added, is never signed: row 17 of the attacks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import insert, select, text, update

from countermark.core.digest import sha256_of
from countermark.core.names import NormalizedName, page_target
from services.signing.publication.bins import BinDamaged
from services.signing.publication.usecases import Publisher
from shared.catalogue import releases
from shared.catalogue.tables import File, Page, PublishedFile, Release, TufFile
from shared.catalogue.unit_of_work import UnitOfWork
from shared.jobs.messages import PublishIndex
from shared.objects.interface import Put
from shared.objects.keys import file_key, target_key
from shared.resources import Resources
from shared.trust.metadata import read_bin
from tests.integration.signing.changes import enqueue, upload
from tests.support.factories import MadeFile, MadeIndex, make_file, make_index, now
from tests.support.tuf_reader import TreeReader

EVIL = sha256_of(b"evil")


@dataclass
class Site:
    """An index with a published file."""

    resources: Resources
    index: MadeIndex
    file: MadeFile
    folder: Path
    signer: Publisher
    read: int = 0

    async def set(self, **values: Any) -> None:
        """Change the file's row as somebody who can write to the database."""
        async with self.resources.engine.begin() as connection:
            await connection.execute(update(File).where(File.id == self.file.id).values(**values))

    async def run(self, sql: str) -> None:
        """Do what somebody else in the database does."""
        async with self.resources.engine.begin() as connection:
            await connection.execute(text(sql))

    async def next(self, name: str = "widget-1.1-py3-none-any.whl") -> tuple[str, str]:
        """Publish another file of the project; returns how far its upload is, and what went wrong."""
        other = await upload(self.resources, self.index, name)
        await self.signer.publish(self.index.id)
        async with self.resources.engine.connect() as connection:
            found = await releases.progress(connection, other.id)
        assert found is not None
        return found.state(self.resources.clock.now()), found.error or ""

    def page(self) -> dict[str, Any]:
        """Return the signed page as a new client gets it."""
        self.read += 1
        tree = self.folder / "public/indexes/root/stable"
        content = TreeReader(tree, self.folder / f"cache{self.read}").target("pointers/widget/_simple.json")
        return orjson.loads(content or b"")  # type: ignore[no-any-return]


@pytest.fixture(params=["the same process", "another process"])
async def site(resources: Resources, tmp_path: Path, request: pytest.FixtureRequest) -> Site:
    """The site; the process that signs next has published the file itself, or knows nothing."""
    index, publisher = await make_index(resources.engine), Publisher(resources)
    file = await upload(resources, index, "widget-1.0-py3-none-any.whl")
    await publisher.publish(index.id)
    signer = publisher if request.param == "the same process" else Publisher(resources)
    return Site(resources, index, file, tmp_path, signer)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sha256": EVIL, "path_key": EVIL[:16]}, "url, hashes"),
        ({"length": 6}, "size"),
        ({"requires_python": ">=2"}, "requires-python"),
        ({"core_metadata_sha256": EVIL}, "core-metadata"),
        ({"uploaded_at": now() - timedelta(days=900)}, "upload-time"),
    ],
)
async def test_a_changed_row_stops_its_project_and_nothing_else(site: Site, values: dict[str, Any], words: str) -> None:
    """The upload that would have had it signed fails and says which file and what; another project goes on; when the
    row is repaired the project goes on too."""
    before = site.page()
    columns = [getattr(File, name) for name in values]
    async with site.resources.engine.connect() as connection:
        right = (await connection.execute(select(*columns).where(File.id == site.file.id))).one()._asdict()
    await site.set(**values)
    # Whatever is marked, a process that signed the page itself reads this row again.
    async with UnitOfWork(site.resources.engine) as work:
        await work.enqueue(PublishIndex(site.index.id, site.file.project_id, site.file.id))
        await work.commit()
    state, said = await site.next()
    assert (state, site.file.file_name in said, words in said) == ("failed", True, True), said
    assert site.page() == before
    assert (await site.next("gadget-1.0-py3-none-any.whl"))[0] == "published"
    await site.set(**right)
    assert (await site.next("widget-1.2-py3-none-any.whl"))[0] == "published"
    assert [file["filename"] for file in site.page()["files"]][-1] == "widget-1.2-py3-none-any.whl"


async def test_another_version_of_a_published_file_is_refused(site: Site) -> None:
    """What its name says is compared as for a new one."""
    async with site.resources.engine.begin() as connection:
        await connection.execute(update(Release).values(version="9.0", version_key="9.0"))
    await enqueue(site.resources, PublishIndex(site.index.id, site.file.project_id, site.file.id))
    state, said = await site.next("widget-1.1-py3-none-any.whl")
    assert (state, "version" in said) == ("failed", True), said


async def test_a_row_that_was_added_as_published_is_refused(site: Site) -> None:
    """Nothing is taken for published because a row says so."""
    added = await make_file(site.resources.engine, site.index, "widget-6.6-py3-none-any.whl", b"evil")
    await site.resources.objects.public.put(file_key(added.sha256, added.file_name), b"evil", Put.REPLACE)
    async with site.resources.engine.begin() as connection:
        row = {"index_id": site.index.id, "file_id": added.id, "from_serial": 1, "project_id": added.project_id}
        await connection.execute(insert(PublishedFile).values(**row))
    await enqueue(site.resources, PublishIndex(site.index.id, added.project_id, added.id))
    state, said = await site.next()
    assert (state, "is not listed" in said) == ("failed", True), said


async def test_a_marked_file_goes_on_and_a_removed_one_goes(site: Site) -> None:
    """A yank is no tampering; and a file whose row was changed can be taken away."""
    await site.set(yanked_at=now(), yanked_reason="broken")
    await enqueue(site.resources, PublishIndex(site.index.id, site.file.project_id, site.file.id))
    assert (await site.next())[0] == "published"
    assert [file["yanked"] for file in site.page()["files"]] == ["broken", False]
    await site.set(length=99, removed_at=now(), removed_by="root")
    await enqueue(site.resources, PublishIndex(site.index.id, site.file.project_id, site.file.id))
    assert (await site.next("widget-1.2-py3-none-any.whl"))[0] == "published"
    assert site.file.file_name not in [file["filename"] for file in site.page()["files"]]


async def test_a_page_of_somebody_else_is_no_proof(site: Site) -> None:
    """A page document that was put into the store, and named in the catalogue, is not the one that the bin states."""
    signer = Publisher(site.resources)
    page = site.page()
    page["files"][0] |= {"hashes": {"sha256": EVIL}, "url": f"../../+f/{EVIL[:3]}/{EVIL[3:16]}/{site.file.file_name}"}
    forged = orjson.dumps(page)
    key = target_key(site.index.name, page_target(NormalizedName("widget")), sha256_of(forged))
    await site.resources.objects.public.put(key, forged)
    async with site.resources.engine.begin() as connection:
        await connection.execute(update(Page).values(sha256=sha256_of(forged)))
    await site.set(sha256=EVIL, path_key=EVIL[:16])
    site.signer = signer
    state, said = await site.next()
    assert (state, "not the one that is signed" in said) == ("failed", True), said


async def test_a_changed_bin_is_never_signed_anew(site: Site) -> None:
    """Bins are verified before anything is edited in them: a target that was written into one goes nowhere."""
    async with site.resources.engine.connect() as connection:
        rows = list(await connection.execute(select(TufFile.role, TufFile.content).where(TufFile.current)))
    role, content = next(row for row in rows if row.role != "snapshot" and b"_simple.json" in row.content)
    assert read_bin(content)
    async with site.resources.engine.begin() as connection:
        changed = content.replace(b'"length":', b'"length":1')
        await connection.execute(update(TufFile).where(TufFile.role == role).values(content=changed))
    await upload(site.resources, site.index, "widget-1.1-py3-none-any.whl")
    with pytest.raises(BinDamaged, match=role):
        await Publisher(site.resources).publish(site.index.id)


async def test_without_the_signed_page_pointers_are_compared(site: Site) -> None:
    """A store that lost the page stops nobody whose rows are right, and helps nobody whose rows are not."""
    site.signer = Publisher(site.resources)
    folder = site.folder / "public/indexes/root/stable/targets/pointers/widget"
    for path in folder.glob("*._simple.json"):
        path.unlink()
    await site.set(length=6)
    state, said = await site.next()
    assert (state, "pointer" in said) == ("failed", True), said
    await site.set(length=5)
    site.signer = Publisher(site.resources)
    assert (await site.next("widget-1.2-py3-none-any.whl"))[0] == "published"
