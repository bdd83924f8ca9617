"""Pushes onto names that the target has or had: what a volatile index replaces, and what stays burnt."""

from __future__ import annotations

import asyncio

from sqlalchemy import func, update

from countermark.core.digest import Sha256, sha256_of
from shared.catalogue.tables import Audit, File
from tests.integration.pushing.widget import SDIST, WHEEL, count
from tests.support.archives import make_wheel
from tests.support.pushing import Site


async def test_names_of_a_non_volatile_index_stay_burnt(site: Site) -> None:
    """What was removed from it does not come back by a push."""
    assert (await site.push("root/dev", "widget==1.0", "root/stable")).status_code == 200
    async with site.resources.engine.begin() as connection:
        where = (File.index_id == site.indexes["root/stable"].id, File.file_name == WHEEL)
        await connection.execute(update(File).where(*where).values(removed_at=func.now(), removed_by="root"))
        gone = (File.index_id == site.indexes["root/stable"].id, File.file_name == SDIST)
        await connection.execute(update(File).where(*gone).values(removed_at=func.now(), removed_by="root"))
    answer = await site.push("root/dev", "widget==1.0", "root/stable")
    assert answer.status_code == 409
    assert answer.json()["message"] == f"{WHEEL} was removed from root/stable: its name cannot be used again"


async def test_a_volatile_index_takes_other_bytes_in_the_same_publication(site: Site) -> None:
    """The old file goes with the push that brings the new one; the same bytes again change nothing; A, B, A works."""
    await site.index("root/next", volatile=True)
    wheels = [make_wheel("widget", "1.0", requires_python=f">=3.{minor}") for minor in (8, 9)]
    await site.upload("root/next", WHEEL, wheels[0])
    first = site.listed("root/next")[WHEEL]
    for content in (wheels[1], wheels[1], wheels[0]):
        await site.upload("root/dev", WHEEL, content)
        assert (await site.push("root/dev", "widget==1.0", "root/next", no_docs=True)).status_code == 200
        assert site.listed("root/next")[WHEEL] == sha256_of(content)
    assert site.listed("root/next")[WHEEL] == first
    rows = await site.rows("root/next", file_name=WHEEL)
    assert sorted((row.sha256, row.removed_at is None) for row in rows) == sorted(
        [(first, True), (sha256_of(wheels[1]), False)]
    )
    (living,) = [row for row in rows if row.removed_at is None]
    assert [entry["what"] for entry in living.history] == ["overwrite", "push"]
    assert living.history[0]["count"] == 2
    assert living.history[0]["who"] is None
    assert await count(site, Audit.id, Audit.action == "file.overwrite", Audit.subject.startswith("root/next/")) == 2
    push_of_the_same = await site.push("root/dev", "widget==1.0", "root/next")
    assert push_of_the_same.status_code == 200
    assert len(push_of_the_same.json()["result"]) == 3


async def test_documentation_of_a_volatile_index_is_replaced(site: Site) -> None:
    """The release has the new one alone; the same again changes nothing, and what was replaced comes back."""
    await site.index("root/next", volatile=True)
    for name, content in (("dev", b"zip 1"), ("dev2", b"zip 2"), ("dev2", b"zip 2"), ("dev", b"zip 1")):
        source = f"root/{name}"
        if source not in site.indexes:
            await site.index(source)
            await site.upload(source, WHEEL, make_wheel("widget", "1.0"))
        if not await site.attachments(source):
            await site.attach(source, "doc", "widget-1.0.doc.zip", content)
        assert (await site.push(source, "widget==1.0", "root/next", only_docs=True)).status_code == 200
        living = [row for row in await site.attachments("root/next") if row.removed_at is None]
        assert [row.sha256 for row in living] == [sha256_of(content)]
    assert len(await site.attachments("root/next")) == 2


async def test_twenty_pushes_and_uploads_at_once_end_in_one_order(site: Site) -> None:
    """Of pushes of the same release one wins and the others are told; an upload of one of its files spoils nothing."""
    wheel = site.stored(Sha256(site.listed("root/dev")[WHEEL]), WHEEL, public=True).read_bytes()
    answers = await asyncio.gather(
        *(site.push("root/dev", "widget==1.0", "root/stable") for _ in range(10)),
        *(site.upload("root/stable", WHEEL, wheel) for _ in range(10)),
        return_exceptions=True,
    )
    pushed = [answer for answer in answers[:10] if not isinstance(answer, BaseException) and answer is not None]
    assert len(pushed) == 10
    assert {answer.status_code for answer in pushed} <= {200, 409}
    assert sum(answer.status_code == 200 for answer in pushed) <= 1
    names = {row.file_name for row in await site.rows("root/stable")}
    won = any(answer.status_code == 200 for answer in pushed)
    assert names == ({WHEEL, SDIST} if won else {WHEEL})
