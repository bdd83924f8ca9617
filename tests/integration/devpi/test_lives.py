"""An index that is deleted and made again: empty, its names free, its versions going on, old addresses gone.

The gateway writes, the real services upload, sign and read. Source: architecture section 11.8.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from countermark.core.names import IndexName
from services.index.laying import lay
from services.index.settings import Limits
from services.signing.publication.usecases import Publisher
from services.signing.upkeep.rebuilding import rebuild
from shared.catalogue.tables import Journal, Outbox, PublishedFile
from tests.support.archives import make_wheel
from tests.support.devpi_api import PASSWORD, DevpiUser
from tests.support.devpi_deployment import DEV, WHEEL, Deployment
from tests.support.tuf_reader import TreeReader


async def test_a_second_life_has_nothing_of_the_first(deployment: Deployment, tmp_path: Path) -> None:
    """Lists, pages and files of before are gone, the name is free for other bytes, serials and versions go on."""
    first = (await deployment.page("/alice/dev/+simple/widget/")).json()["files"][0]
    address = f"/alice/dev/+simple/widget/{first['url']}"
    assert (await deployment.alice.http.get(address)).status_code == 200
    assert (await deployment.alice.result("/alice/dev"))["projects"] == ["widget"]
    before = await deployment.serial()
    tuf = TreeReader(deployment.tree, tmp_path / "cache")
    versions = tuf.versions()

    assert (await deployment.alice("DELETE", "/alice/dev")).status_code == 201
    gone = await deployment.alice.http.get(address)
    assert gone.status_code == 410
    assert (await deployment.page("/alice/dev/+simple/widget/")).status_code == 404
    again = await deployment.alice("PUT", "/alice/dev", {})
    assert (again.status_code, again.headers["retry-after"]) == (503, "5"), "it is still listed"
    await deployment.publish()
    assert (await deployment.alice("PUT", "/alice/dev", {})).status_code == 200
    assert deployment.record().life == 2
    await deployment.publish()

    assert (await deployment.alice.result("/alice/dev"))["projects"] == []
    assert (await deployment.page("/alice/dev/+simple/")).json()["projects"] == []
    assert (await deployment.page("/alice/dev/+simple/widget/")).status_code == 404
    assert (await deployment.alice.http.get(address)).status_code == 410
    other = make_wheel("widget", "1.0", requires_python=">=3.12")
    assert (await deployment.upload(WHEEL, other)).status_code == 200
    await deployment.publish()
    files = (await deployment.page("/alice/dev/+simple/widget/")).json()["files"]
    assert [file["filename"] for file in files] == [WHEEL]
    assert files[0]["hashes"] != first["hashes"]
    assert (await deployment.alice.http.get(address)).status_code == 410
    assert (await deployment.alice.http.get(f"/alice/dev/+simple/widget/{files[0]['url']}")).status_code == 200
    assert await deployment.serial() > before
    now = tuf.versions()
    assert now["timestamp"] > versions["timestamp"]
    assert now["snapshot"] > versions["snapshot"]
    assert files[0]["hashes"]["sha256"].encode() in (tuf.target("pointers/widget/_simple.json") or b"")


async def test_a_deleted_index_is_published_empty(deployment: Deployment, tmp_path: Path) -> None:
    """TUF clients find no pointer, the static pages no file, the journal that the file went; a rebuild changes none."""
    await deployment.upload("gadget-1.0-py3-none-any.whl", make_wheel("gadget", "1.0"))
    await deployment.alice("DELETE", "/alice/dev")
    late = await deployment.upload("late-1.0-py3-none-any.whl", make_wheel("late", "1.0"))
    assert late.status_code == 404
    await deployment.publish()
    resources, index_id = deployment.gateway.resources, deployment.ids[DEV]
    reader = TreeReader(deployment.tree, tmp_path / "cache")
    assert reader.target(f"pointers/widget/{WHEEL}.pointer") is None
    assert reader.target("pointers/widget/_latest.pointer") is None
    assert reader.target("pointers/gadget/_simple.json") is None
    async with resources.engine.connect() as connection:
        shown = select(func.count()).where(PublishedFile.index_id == index_id, PublishedFile.to_serial.is_(None))
        assert await connection.scalar(shown.select_from(PublishedFile)) == 0
        actions = await connection.scalars(select(Journal.action).where(Journal.index_id == index_id))
        assert list(actions)[-1] == f"remove file {WHEEL}"
        waiting = select(func.count()).where(Outbox.index_id == index_id, Outbox.done_at.is_(None))
        assert await connection.scalar(waiting.where(Outbox.kind == "publish_index").select_from(Outbox)) == 0
    await lay(resources, Limits(), index_id)
    assert WHEEL not in (deployment.tree / "simple/widget/index.html").read_text()
    await deployment.alice("PUT", "/alice/dev", {})
    deployment.record()
    await deployment.upload(WHEEL, make_wheel("widget", "1.0", requires_python=">=3.12"))
    await deployment.publish()
    rebuilt = await rebuild(resources, index_id)
    assert rebuilt is not None
    assert rebuilt.differing == ()


async def test_a_deletion_during_a_publication_wins(deployment: Deployment) -> None:
    """A batch that was read before the deletion is not committed after it; the next one shows nothing."""
    await deployment.upload("gadget-1.0-py3-none-any.whl", make_wheel("gadget", "1.0"))
    resources = deployment.gateway.resources
    deleted = asyncio.Event()

    class Slow(Publisher):
        """Lets the index be deleted between what it reads and what it commits."""

        async def _sign(self, *arguments: Any) -> Any:
            if not deleted.is_set():
                deleted.set()
                assert (await deployment.alice("DELETE", "/alice/dev")).status_code == 201
            return await super()._sign(*arguments)

    deployment.publisher = Slow(resources)
    await deployment.publish()
    async with resources.engine.connect() as connection:
        shown = select(PublishedFile.file_id).where(
            PublishedFile.index_id == deployment.ids[DEV], PublishedFile.to_serial.is_(None)
        )
        assert list(await connection.scalars(shown)) == []


async def test_a_user_comes_back_without_its_files(deployment: Deployment) -> None:
    """Removal empties the volatile indexes; the account and the index made again list nothing."""
    root = DevpiUser(deployment.gateway, "root")
    await deployment.gateway.accounts.set_password("root", PASSWORD)
    await deployment.gateway.resources.directory.refresh()
    assert (await root("DELETE", "/alice")).status_code == 200
    await deployment.publish()
    assert (await root("PUT", "/alice", {"password": PASSWORD})).status_code == 201
    assert (await deployment.alice("PUT", "/alice/dev", {})).status_code == 200
    assert deployment.record().life == 2
    await deployment.publish()
    assert (await deployment.page("/alice/dev/+simple/")).json()["projects"] == []


async def test_a_mirror_is_never_signed(deployment: Deployment) -> None:
    """It has no head, nothing waits for it, and it does not come back as something that is signed."""
    assert (await deployment.alice("PUT", "/alice/m", {"type": "mirror"})).status_code == 200
    name = IndexName("alice", "m")
    index_id = deployment.record(name).id
    await deployment.publish(name)
    resources = deployment.gateway.resources
    assert resources.heads.get(index_id) is None
    assert await rebuild(resources, index_id) is None
    assert await lay(resources, Limits(), index_id) == 0
    async with resources.engine.connect() as connection:
        jobs = select(func.count()).where(Outbox.index_id == index_id).select_from(Outbox)
        assert await connection.scalar(jobs) == 0
    listed = (await deployment.alice.http.get("/api/v1/indexes")).json()["items"]
    assert [(item["type"], item["serial"]) for item in listed if item["name"] == "alice/m"] == [("mirror", None)]
    for part, status in (("projects", 200), ("publications", 200), ("head", 404)):
        answer = await deployment.alice.http.get(f"/api/v1/indexes/alice/m/{part}")
        assert answer.status_code == status, answer.text
    assert (await deployment.page("/alice/m/+simple/")).json()["projects"] == []
    assert (await deployment.page("/alice/m/+simple/widget/")).status_code == 404
    await deployment.alice("DELETE", "/alice/m")
    stage = await deployment.alice("PUT", "/alice/m", {})
    assert stage.status_code == 409
    assert stage.json()["message"] == "alice/m was a public mirror before: make that again, or take another name."
