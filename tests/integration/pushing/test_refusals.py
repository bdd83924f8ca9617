"""Pushes that are refused: every answer of the contract, and nothing changed."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select, update

from countermark.core.digest import Sha256, sha256_of
from countermark.core.names import FileName
from shared.catalogue.tables import File, IndexRow, Outbox, Project, Release
from shared.objects.interface import Put
from shared.objects.keys import core_metadata_key, file_key
from tests.integration.pushing.widget import SDIST, WHEEL, add_bare, count
from tests.support.archives import Project as Metadata
from tests.support.archives import make_wheel, wheel_name
from tests.support.pushing import Site
from tests.support.uploading import basic

REFUSED: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("nothing==1.0", "root/stable", {}, 400, "there are no files for nothing 1.0 on stage root/dev"),
    ("widget==2.0", "root/stable", {}, 400, "there are no files for widget 2.0 on stage root/dev"),
    ("widget==1.0", "root/stable", {"only_docs": True}, 404, "no release/files found for widget 1.0"),
    (
        "widget==1.0",
        "root/stable",
        {"no_docs": True, "only_docs": True},
        400,
        "can't use 'no_docs' and 'only_docs' together",
    ),
    ("widget==1.0", "stable", {}, 400, "targetindex not in format user/index"),
    ("widget==1.0", "root/stable/x", {}, 400, "targetindex not in format user/index"),
    ("widget==1.0", "root/none", {}, 404, "The stage root/none could not be found."),
    ("widget==1.0", "root/$", {}, 404, "The stage root/$ could not be found."),
    ("widget==1.0", "root/stable", {"k": 1, "a": 2}, 400, "unknown additional options: a, k"),
    ("widget==1.0", "root/stable", {"no_docs": "yes"}, 400, "The key no_docs must be true or false."),
]


async def test_refusals_have_devpis_words(site: Site) -> None:
    """Status and sentence as the client prints them; nothing is pushed."""
    for spec, target, more, status, words in REFUSED:
        answer = await site.push("root/dev", spec, target, **more)
        assert (answer.status_code, answer.json()["message"]) == (status, words)
    assert await site.rows("root/stable") == []


HOSTILE = [
    (b"", 400),
    (b"[1]", 400),
    (b"\xff\xfe", 400),
    (b"{}", 400),
    (b'{"name": "widget"}', 400),
    (b'{"name": "widget", "version": null, "targetindex": "root/stable"}', 400),
    (b'{"name": ["widget"], "version": "1.0", "targetindex": "root/stable"}', 400),
    (b'{"name": "widget", "version": "1.0", "targetindex": {"a": 1}}', 400),
    (b'{"name": "widget", "version": "1.0"}', 400),
    (b'{"name": "wid\\nget", "version": "1.0", "targetindex": "root/stable"}', 400),
    (b'{"name": "' + b"w" * 501 + b'", "version": "1.0", "targetindex": "root/stable"}', 400),
    (b'{"name": "widget", "version": "' + b"9" * 500 + b'", "targetindex": "root/stable"}', 400),
    (b"[" * 60_000, 400),
    (b'{"name": "' + b"w" * 70_000 + b'"}', 413),
]


async def test_hostile_documents_get_one_clear_error(site: Site) -> None:
    """Bounded, typed, and answered in devpi's form."""
    for body, status in HOSTILE:
        headers = {"content-type": "application/json; charset=utf-8"} | site.owner
        answer = await site.http.post("/root/dev", content=body, headers=headers)
        assert answer.status_code == status, (body[:80], answer.text)
        assert isinstance(answer.json()["message"], str)
    assert await site.rows("root/stable") == []


async def test_a_release_without_files_has_nothing_to_push(site: Site) -> None:
    """Removed altogether it is as if it never was."""
    async with site.resources.engine.begin() as connection:
        await connection.execute(update(File).values(removed_at=func.now(), removed_by="root"))
    answer = await site.push("root/dev", "widget==1.0", "root/stable")
    assert (answer.status_code, answer.json()["message"]) == (404, "no release/files found for widget 1.0")
    async with site.resources.engine.begin() as connection:
        await connection.execute(update(Release).values(removed_at=func.now(), removed_by="root"))
    answer = await site.push("root/dev", "widget==1.0", "root/stable")
    assert (answer.status_code, answer.json()["message"][:22]) == (400, "there are no files for")


async def test_rights(site: Site) -> None:
    """Reading the source and uploading to the target, in this order; a token narrows both."""
    await site.index("ann/open")
    await site.index("ann/vault", public=False)
    ann, bob = await site.token_of("ann"), await site.token_of("bob")
    nobody: dict[str, str] = {}

    async def told(source: str, target: str, whom: dict[str, str]) -> tuple[int, str]:
        answer = await site.push(source, "widget==1.0", target, as_whom=whom)
        return answer.status_code, answer.json().get("message", "")

    assert await told("root/dev", "root/stable", ann) == (401, "user 'ann' cannot upload to 'root/stable'")
    assert await told("root/dev", "root/stable", nobody) == (401, "user None cannot upload to 'root/stable'")
    status, words = await told("ann/vault", "ann/open", bob)
    assert (status, "may not read" in words) == (403, True)
    status, words = await told("ann/vault", "ann/open", nobody)
    assert (status, "credentials are needed" in words) == (401, True)
    assert await told("no/where", "root/stable", ann) == (404, "The stage no/where could not be found.")
    wrong = basic("cmk_1" + "0" * 49)
    assert (await told("root/dev", "root/stable", wrong))[0] == 401
    assert await site.rows("root/stable") == []
    await site.grant("root/stable", "ann", "upload")
    assert (await told("root/dev", "root/stable", ann))[0] == 200
    assert await site.rows("ann/open") == []


async def test_a_mirror_is_no_target(site: Site) -> None:
    """Nobody uploads to a mirror; pushing from one without an upstream is answered like one whose upstream is down."""
    await site.index("root/pypi")
    async with site.resources.engine.begin() as connection:
        await connection.execute(update(IndexRow).where(IndexRow.name == "pypi").values(type="mirror"))
    await site.resources.directory.refresh()
    answer = await site.push("root/dev", "widget==1.0", "root/pypi")
    assert (answer.status_code, answer.json()["message"]) == (401, "user 'root' cannot upload to 'root/pypi'")
    assert (await site.push("root/pypi", "widget==1.0", "root/stable")).status_code == 502


async def test_a_name_that_is_taken_refuses_all(site: Site) -> None:
    """The last of a hundred files is there already, with the same bytes even: 409, and none of the others is added."""
    for number in range(98):
        name = f"widget-1.0-{number:02}-py3-none-any.whl"
        await add_bare(site, "root/dev", name, b"bytes %d" % number)
    last = max(row.file_name for row in await site.rows("root/dev"))
    (row,) = await site.rows("root/dev", file_name=last)
    await site.upload("root/stable", last, site.stored(row.sha256, last, public=True).read_bytes())
    rows = await count(site, File.id)
    jobs = await count(site, Outbox.id)
    answer = await site.push("root/dev", "widget==1.0", "root/stable")
    assert (answer.status_code, answer.json()["message"]) == (409, f"{last} already exists in non-volatile index")
    assert (await count(site, File.id), await count(site, Outbox.id)) == (rows, jobs)
    assert list(site.listed("root/stable")) == [last]


async def test_bytes_that_changed_in_the_store_do_not_cross(site: Site) -> None:
    """A copy that is not what the catalogue says is never put: 503, and nothing was pushed."""
    await site.index("root/vault", public=False)
    name, content = FileName(wheel_name("widget", "2.0")), make_wheel("widget", "2.0")
    await site.upload("root/vault", name, content)
    sha256 = sha256_of(content)
    await site.resources.objects.private.put(file_key(sha256, name), content[:-1] + b"x", Put.REPLACE)
    answer = await site.push("root/vault", "widget==2.0", "root/stable")
    assert (answer.status_code, "nothing was pushed" in answer.json()["message"]) == (503, True)
    assert "retry-after" in answer.headers
    assert not site.stored(sha256, name, public=True).exists()
    await site.resources.objects.private.delete(file_key(sha256, name))
    assert (await site.push("root/vault", "widget==2.0", "root/stable")).status_code == 503
    assert await site.rows("root/stable") == []


async def test_a_strict_index_looks_into_what_was_admitted_without(site: Site) -> None:
    """Every fault of every file is told, and none is taken; what is right is taken as the files say of themselves."""
    await site.index("root/loose", volatile=True, admission="devpi")
    for name, content in ((WHEEL, b"no zip"), (SDIST, b"no tar"), (FileName("widget-1.0.zip"), b"old")):
        await add_bare(site, "root/loose", name, content)
    answer = await site.push("root/loose", "widget==1.0", "root/stable")
    assert answer.status_code == 400
    faults = answer.json()["message"]
    assert all(name in faults for name in (WHEEL, SDIST, "widget-1.0.zip")), faults
    assert await site.rows("root/stable") == []
    good = FileName(wheel_name("gadget", "1.0"))
    metadata = Metadata("gadget", "1.0", summary="As the file says.", requires_python=">=3.11")
    content = make_wheel("gadget", "1.0", project=metadata)
    await add_bare(site, "root/loose", good, content)
    assert (await site.push("root/loose", "gadget==1.0", "root/stable")).status_code == 200
    (row,) = await site.rows("root/stable")
    assert row.requires_python == ">=3.11"
    assert (site.folder / "public" / core_metadata_key(Sha256(row.sha256), good)).is_file()
    assert row.core_metadata_sha256 is not None
    async with site.resources.engine.connect() as connection:
        query = select(Release.core_metadata).where(Release.id == row.release_id)
        assert (await connection.scalar(query) or {})["summary"] == "As the file says."


async def test_what_is_held_finds_no_way_out(site: Site) -> None:
    """Held files and quarantined projects are not pushed, and a project that takes no uploads takes no pushes."""
    async with site.resources.engine.begin() as connection:
        await connection.execute(update(File).where(File.file_name == WHEEL).values(held_at=func.now()))
    answer = await site.push("root/dev", "widget==1.0", "root/stable")
    assert (answer.status_code, WHEEL in answer.json()["message"]) == (403, True)
    async with site.resources.engine.begin() as connection:
        await connection.execute(update(File).values(held_at=None))
        await connection.execute(update(Project).values(status="quarantined"))
    answer = await site.push("root/dev", "widget==1.0", "root/stable")
    assert (answer.status_code, "quarantined" in answer.json()["message"]) == (403, True)
    async with site.resources.engine.begin() as connection:
        await connection.execute(update(Project).values(status="active"))
    assert (await site.push("root/dev", "widget==1.0", "root/stable")).status_code == 200
    await site.upload("root/dev", "widget-1.1-py3-none-any.whl", make_wheel("widget", "1.1"))
    async with site.resources.engine.begin() as connection:
        there = Project.index_id == site.indexes["root/stable"].id
        await connection.execute(update(Project).where(there).values(status="archived"))
    answer = await site.push("root/dev", "widget==1.1", "root/stable")
    assert (answer.status_code, "archived" in answer.json()["message"]) == (403, True)
