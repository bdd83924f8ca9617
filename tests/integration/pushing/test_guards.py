"""What a push must not do: move bytes under an address, bring back what an ended life had, or pass what was held."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import sha256_of
from countermark.core.names import FileName, parse_index_name
from services.upload.forwarding import Forwarder
from services.upload.parcel import Parcel
from services.upload.push_rules import Push, parse_push
from services.upload.pushing import Pushes
from shared.auth.directory import IndexRecord
from shared.auth.principal import Principal
from shared.catalogue.tables import ApprovalDemand, Attachment, File, IndexRow, Outbox, Project
from shared.errors import ErrorKind, ServiceError
from shared.ids import new_uuid
from tests.support.archives import Project as Metadata
from tests.support.archives import make_sdist, make_wheel
from tests.support.pushing import Site, open_site

WHEEL = FileName("widget-1.0-py3-none-any.whl")
RESULT = f"{WHEEL}.toxresult-20260101000000-0"
DOC = "widget-1.0.doc.zip"


@pytest.fixture
async def site(engine: AsyncEngine, tmp_path: Path) -> AsyncIterator[Site]:
    """`root/dev` holds a wheel of widget 1.0; `root/stable` and the volatile `root/next` take it."""
    async with open_site(engine, tmp_path) as opened:
        await opened.index("root/dev", volatile=True)
        await opened.index("root/stable")
        await opened.index("root/next", volatile=True)
        await opened.upload("root/dev", WHEEL, make_wheel("widget", "1.0", project=Metadata("widget", "1.0")))
        yield opened


async def change(site: Site, *statements: object) -> None:
    """Change rows."""
    async with site.resources.engine.begin() as connection:
        for statement in statements:
            await connection.execute(statement)  # type: ignore[call-overload]
    await site.resources.directory.refresh()


class Begun:
    """A push that has looked at its source, and has not committed."""

    def __init__(self, site: Site, folder: Path) -> None:
        self._site = site
        self._pushes = Pushes(site.resources, folder)
        self._push: Push = parse_push(b'{"name": "widget", "version": "1.0", "targetindex": "root/stable"}')
        self._parcel: Parcel | None = None

    async def look(self) -> None:
        """Pick what is pushed."""
        self._parcel = await self._pushes.pick(self._index("root/dev"), self._push)

    async def end(self) -> None:
        """Copy and commit."""
        assert self._parcel is not None
        source, target = self._index("root/dev"), self._index("root/stable")
        await self._pushes.promote(self._push, self._parcel, source, target, Principal("root"))

    def _index(self, name: str) -> IndexRecord:
        found = self._site.resources.directory.index(parse_index_name(name))
        assert found is not None
        return found


@pytest.mark.parametrize("what", ["held", "removed", "quarantined", "result removed"])
async def test_what_happens_meanwhile_counts(site: Site, tmp_path: Path, what: str) -> None:
    """Copying takes its time: what was held or removed since the push began is not pushed, and nothing else is."""
    await site.attach("root/dev", "test-result", RESULT, b"{}", WHEEL)
    begun = Begun(site, tmp_path / "staging")
    await begun.look()
    now = func.now()
    statements = {
        "held": update(File).values(held_at=now, held_reason="suspect"),
        "removed": update(File).values(removed_at=now, removed_by="root", removed_reason="gone"),
        "quarantined": update(Project).values(status="quarantined", status_reason="suspect"),
        "result removed": update(Attachment).values(removed_at=now, removed_by="root"),
    }
    await change(site, statements[what])
    with pytest.raises(ServiceError) as refused:
        await begun.end()
    assert refused.value.kind in (ErrorKind.FORBIDDEN, ErrorKind.CONFLICT)
    assert await site.rows("root/stable") == []
    assert await site.attachments("root/stable") == []


@pytest.mark.parametrize("project", ["", "other"])
async def test_what_waits_for_approvals_stays(site: Site, project: str) -> None:
    """A file that people have yet to approve is pushed nowhere; what is published is, and so is what needs none."""
    dev, waiting = site.indexes["root/dev"].id, FileName("widget-1.1-py3-none-any.whl")
    demand = {"id": new_uuid(), "index_id": dev, "life": 1, "project": project, "needed": 1, "own": False}
    await change(site, insert(ApprovalDemand).values(**demand, set_at=func.now(), set_by="root"))
    await site.upload("root/dev", waiting, make_wheel("widget", "1.1", project=Metadata("widget", "1.1")))
    answer = await site.push("root/dev", "widget==1.1", "root/stable")
    if project:
        assert answer.status_code == 200
        return
    assert (answer.status_code, "asks for approvals" in answer.json()["message"]) == (403, True), answer.text
    assert await site.rows("root/stable") == []
    assert (await site.push("root/dev", "widget==1.0", "root/stable")).status_code == 200


@pytest.mark.parametrize("removed", [False, True])
async def test_an_address_keeps_its_bytes(site: Site, removed: bool) -> None:
    """A test result whose address has, or had, other bytes in the target is refused, and nothing is pushed."""
    assert (await site.push("root/dev", "widget==1.0", "root/next")).status_code == 200
    await site.attach("root/next", "test-result", RESULT, b'{"other": 1}', WHEEL)
    await site.attach("root/dev", "test-result", RESULT, b"{}", WHEEL)
    if removed:
        next_id = site.indexes["root/next"].id
        gone = update(Attachment).where(Attachment.index_id == next_id)
        await change(site, gone.values(removed_at=func.now(), removed_by="root"))
    answer = await site.push("root/dev", "widget==1.0", "root/next")
    assert (answer.status_code, "other bytes" in answer.json()["message"]) == (409, True)
    (row,) = await site.attachments("root/next")
    assert row.sha256 == sha256_of(b'{"other": 1}')
    assert (row.removed_at is not None) is removed


async def test_what_an_ended_life_had_is_not_there(site: Site) -> None:
    """Documentation and test results come again with the files, in the new life's release."""
    await site.attach("root/dev", "test-result", RESULT, b"{}", WHEEL)
    await site.attach("root/dev", "doc", DOC, b"zip")
    assert (await site.push("root/dev", "widget==1.0", "root/stable")).status_code == 200
    assert len(await site.attachments("root/stable")) == 2
    stable = site.indexes["root/stable"].id
    await change(site, update(IndexRow).where(IndexRow.id == stable).values(life=2))
    assert (await site.push("root/dev", "widget==1.0", "root/stable")).status_code == 200
    async with site.resources.engine.connect() as connection:
        living = list(await connection.scalars(select(Project.id).where(Project.index_id == stable, Project.life == 2)))
    (file,) = await site.rows("root/stable")
    assert [file.project_id] == living
    attached = await site.attachments("root/stable")
    assert {row.release_id for row in attached} == {file.release_id}
    assert {row.removed_at for row in attached} == {None}


async def test_a_strict_index_takes_no_file_of_another_project(site: Site) -> None:
    """An index with devpi's admission may hold a wheel under another project; it does not go on from there."""
    await site.index("root/open", admission="devpi")
    await site.upload("root/open", WHEEL, make_wheel("widget", "1.0", project=Metadata("widget", "1.0")))
    other = update(Project).where(Project.index_id == site.indexes["root/open"].id)
    await change(site, other.values(name="gadget", display_name="gadget"))
    answer = await site.push("root/open", "gadget==1.0", "root/stable")
    assert answer.status_code == 400
    assert "is of project widget, and not of gadget" in answer.json()["message"]
    assert await site.rows("root/stable") == []


async def test_what_changes_no_file_is_published_too(site: Site) -> None:
    """Documents that are derived from a release are kept until a publication: there is one job for documentation."""
    assert (await site.push("root/dev", "widget==1.0", "root/next")).status_code == 200
    await site.attach("root/dev", "doc", DOC, b"zip")
    next_id = site.indexes["root/next"].id
    async with site.resources.engine.connect() as connection:
        before = await connection.scalar(select(func.max(Outbox.id)).where(Outbox.index_id == next_id))
    assert (await site.push("root/dev", "widget==1.0", "root/next", only_docs=True)).status_code == 200
    async with site.resources.engine.connect() as connection:
        later = select(Outbox.kind).where(Outbox.index_id == next_id, Outbox.id > (before or 0)).order_by(Outbox.id)
        assert list(await connection.scalars(later))[:1] == ["publish_index"]


@pytest.mark.parametrize("version", ["9" * 5000, "1." + "9" * 5000])
async def test_a_version_of_too_many_digits_is_not_there(site: Site, version: str) -> None:
    """It is answered like any other version that does not exist."""
    answer = await site.push("root/dev", f"widget=={version}", "root/stable")
    assert answer.status_code in (400, 404)


async def test_a_name_of_documentation_stays_burnt(site: Site) -> None:
    """What was removed from a strict index that takes a name once does not come back by a push; an upload says so."""
    await site.attach("root/dev", "doc", DOC, b"a zip")
    assert (await site.push("root/dev", "widget==1.0", "root/stable", only_docs=True)).status_code == 200
    async with site.resources.engine.begin() as connection:
        target = Attachment.index_id == site.indexes["root/stable"].id
        await connection.execute(update(Attachment).where(target).values(removed_at=func.now()))
    answer = await site.push("root/dev", "widget==1.0", "root/stable")
    assert answer.status_code == 409
    assert answer.json()["message"] == f"{DOC} was removed from root/stable: its name cannot be used again"
    assert await site.rows("root/stable") == []


async def test_forwarding_looks_before_each_file(site: Site) -> None:
    """A file that is held after the first look is not sent to another server, and the push ends there."""
    await site.upload("root/dev", "widget-1.0.tar.gz", make_sdist("widget", "1.0"))
    source = site.resources.directory.index(parse_index_name("root/dev"))
    assert source is not None
    parcel = await Pushes(site.resources, site.folder / "staging").pick(
        source, Push("widget", "1.0", files=True, docs=True, options={})
    )
    look = partial(Forwarder(site.resources).look, source, parcel)
    await look(parcel.files)
    async with site.resources.engine.begin() as connection:
        await connection.execute(update(File).where(File.file_name == WHEEL).values(held_at=func.now()))
    for file in parcel.files:
        if file.file_name == WHEEL:
            with pytest.raises(ServiceError, match="Held for review"):
                await look([file])
        else:
            await look([file])
