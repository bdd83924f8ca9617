"""Pushing a release from one index to another: every answer of the contract, all or none, and what is signed then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import Sha256, sha256_of
from countermark.core.names import FileName
from shared.catalogue.tables import Audit, File, IndexRow, Journal, Outbox, Project, Publication, Release
from shared.objects.interface import Put
from shared.objects.keys import core_metadata_key, file_key
from tests.support.archives import Project as Metadata
from tests.support.archives import make_sdist, make_wheel, wheel_name
from tests.support.factories import make_file
from tests.support.pushing import Site, open_site
from tests.support.reading import counted_queries
from tests.support.uploading import basic

WHEEL = FileName("widget-1.0-py3-none-any.whl")
SDIST = FileName("widget-1.0.tar.gz")


@pytest.fixture
async def site(engine: AsyncEngine, tmp_path: Path) -> AsyncIterator[Site]:
    """`root/dev` holds widget 1.0 as wheel and source archive, `root/stable` takes it."""
    async with open_site(engine, tmp_path) as opened:
        await opened.index("root/dev", volatile=True)
        await opened.index("root/stable")
        metadata = Metadata("widget", "1.0", summary="Widgets.", requires_python=">=3.9")
        await opened.upload("root/dev", SDIST, make_sdist("widget", "1.0", project=metadata))
        await opened.upload("root/dev", WHEEL, make_wheel("widget", "1.0", project=metadata))
        yield opened


def address(index: str, sha256: str, name: str) -> str:
    """Return the path of a file as the action log has it."""
    return f"{index}/+f/{sha256[:3]}/{sha256[3:16]}/{name}"


async def count(site: Site, column: Any, *conditions: Any) -> int:
    """Count rows."""
    async with site.resources.engine.connect() as connection:
        return await connection.scalar(select(func.count(column)).where(*conditions)) or 0


async def test_a_push_is_answered_when_the_target_is_signed(site: Site) -> None:
    """Both files are in the target's signed page, in one publication, and the log says what was done."""
    answer = await site.push("root/dev", "widget==1.0", "root/stable")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-devpi-api-version"] == "2"
    there = site.listed("root/dev")
    assert answer.json() == {
        "type": "actionlog",
        "result": [
            [200, "register", "widget", "1.0", "->", "root/stable"],
            [200, "store_releasefile", address("root/stable", there[WHEEL], WHEEL)],
            [200, "store_releasefile", address("root/stable", there[SDIST], SDIST)],
        ],
    }
    assert site.listed("root/stable") == there
    stable = site.indexes["root/stable"].id
    assert await count(site, Publication.serial, Publication.index_id == stable, Publication.changes > 0) == 1


async def test_no_byte_is_copied_and_everything_of_a_file_goes_along(site: Site) -> None:
    """The rows of the target name the same objects, with digests, times, uploader, marks and metadata of the source."""
    before = sorted(path for path in (site.folder / "public/files").rglob("*") if path.is_file())
    times = [path.stat().st_mtime_ns for path in before]
    async with site.resources.engine.begin() as connection:
        mark = {"yanked_at": func.now(), "yanked_by": "root", "yanked_reason": "breaks"}
        await connection.execute(update(File).where(File.file_name == WHEEL).values(**mark))
        await connection.execute(update(File).values(uploaded_at=func.now() - func.make_interval(0, 0, 0, 9)))
    assert (await site.push("root/dev", "widget==1.0", "root/stable")).status_code == 200
    after = sorted(path for path in (site.folder / "public/files").rglob("*") if path.is_file())
    assert after == before
    assert [path.stat().st_mtime_ns for path in after] == times
    own = {"id", "index_id", "project_id", "release_id", "history"}
    source = [{k: v for k, v in row._mapping.items() if k not in own} for row in await site.rows("root/dev")]
    target = [{k: v for k, v in row._mapping.items() if k not in own} for row in await site.rows("root/stable")]
    assert target == source
    assert [file.get("yanked") for file in site.page("root/stable")["files"]] == ["breaks", False]
    async with site.resources.engine.connect() as connection:
        rows = list(await connection.execute(select(Release.version, Release.version_key, Release.core_metadata)))
    assert rows[0] == rows[1]
    assert rows[0].metadata["summary"] == "Widgets."


async def test_histories_say_where_a_file_came_from(site: Site) -> None:
    """Each push adds an entry; the journal of the target names who pushed, not who uploaded elsewhere."""
    await site.index("ann/prod")
    await site.grant("ann/prod", "ann", "read")
    ann = await site.token_of("ann")
    await site.push("root/dev", "widget==1.0", "root/stable")
    assert (await site.push("root/stable", "widget==1.0", "ann/prod", as_whom=ann)).status_code == 200
    (history,) = {orjson.dumps(row.history) for row in await site.rows("ann/prod")}
    entries = orjson.loads(history)
    assert [(e["what"], e["who"], e["src"], e["dst"]) for e in entries] == [
        ("push", "root", "root/dev", "root/stable"),
        ("push", "ann", "root/stable", "ann/prod"),
    ]
    assert all(len(entry["when"]) == 6 for entry in entries)
    assert {row.uploader for row in await site.rows("ann/prod")} == {"root"}
    async with site.resources.engine.connect() as connection:
        where = Journal.index_id == site.indexes["ann/prod"].id
        lines = list(await connection.execute(select(Journal.action, Journal.actor).where(where)))
    assert {line.actor for line in lines} == {"ann"}
    assert len(lines) == 2
    assert await count(site, Audit.id, Audit.action == "release.push", Audit.actor == "ann") == 1


async def test_a_version_is_found_and_joined_in_any_spelling(site: Site) -> None:
    """1.0.0 means the release 1.0, and files of an equal version of the target end up in its one release."""
    await site.upload("root/stable", "widget-1.0.0-1-py3-none-any.whl", make_wheel("widget", "1.0.0"))
    assert (await site.push("root/dev", "Widget==1.0.0", "root/stable", only_docs=False)).status_code == 200
    releases = {row.release_id for row in await site.rows("root/stable")}
    assert len(releases) == 1
    assert len(site.listed("root/stable")) == 3


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


async def test_a_hundred_files_are_a_constant_number_of_queries(site: Site) -> None:
    """However many files a push has, it asks the catalogue as often, and they are one publication."""
    await site.stop_signing()
    site.resources.settings.uploads.__dict__["publish_wait"] = 0
    with counted_queries(site.resources.engine) as few:
        assert (await site.push("root/dev", "widget==1.0", "root/stable")).status_code == 200
    for number in range(98):
        name = f"widget-1.0-{number:02}-py3-none-any.whl"
        await add_bare(site, "root/dev", name, b"bytes %d" % number)
    await site.index("root/more")
    with counted_queries(site.resources.engine) as many:
        assert (await site.push("root/dev", "widget==1.0", "root/more")).status_code == 200
    assert len(await site.rows("root/more")) == 100
    # The first to ask reads what trust signs; it is remembered.
    assert len(many) <= len(few) <= 34, [statement[:80] for statement in many]


async def test_what_one_push_adds_is_one_publication_however_small_batches_are(site: Site) -> None:
    """A batch is not ended between two files of a push."""
    await site.stop_signing()
    site.resources.settings.uploads.__dict__["publish_wait"] = 0
    site.resources.settings.signing.__dict__["batch"] = 1
    await site.push("root/dev", "widget==1.0", "root/stable")
    site.signer = asyncio.create_task(site.sign())
    async with asyncio.timeout(20):
        while not site.listed("root/stable"):
            await asyncio.sleep(0.05)
    stable = site.indexes["root/stable"].id
    assert await count(site, Publication.serial, Publication.index_id == stable, Publication.changes == 2) == 1


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


async def test_a_push_to_the_other_side_of_the_store_copies_first(site: Site) -> None:
    """From a private index to a public one: files, core metadata and attachments lie there, checked, before any row."""
    await site.index("root/vault", public=False, volatile=True)
    content = make_wheel("widget", "2.0")
    name = FileName(wheel_name("widget", "2.0"))
    await site.upload("root/vault", name, content)
    await site.attach("root/vault", "doc", "widget-2.0.doc.zip", b"a zip")
    sha256 = sha256_of(content)
    assert not site.stored(sha256, name, public=True).exists()
    answer = await site.push("root/vault", "widget==2.0", "root/stable")
    assert answer.status_code == 200, answer.text
    assert site.stored(sha256, name, public=True).read_bytes() == content
    metadata = site.folder / "public" / core_metadata_key(sha256, name)
    assert metadata.read_bytes().startswith(b"Metadata-Version:")
    assert site.stored(sha256_of(b"a zip"), "widget-2.0.doc.zip", public=True).read_bytes() == b"a zip"
    assert site.listed("root/stable") == {name: sha256}
    assert [path for path in (site.folder / "staging").glob("*") if path.is_file()] == []
    assert (await site.push("root/stable", "widget==2.0", "root/vault")).status_code == 200


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


async def test_documentation_and_test_results_go_along_as_the_flags_say(site: Site) -> None:
    """All of it, all but documentation, or documentation alone; each is in the log, the results behind their file."""
    await site.attach("root/dev", "doc", "widget-1.0.doc.zip", b"a zip")
    result = f"{WHEEL}.toxresult-20261125120000-0"
    await site.attach("root/dev", "test-result", result, b"{}", about=WHEEL)
    sha256 = site.listed("root/dev")[WHEEL]
    both = ["store_releasefile", "store_toxresult", "store_releasefile"]
    cases: list[tuple[str, dict[str, Any], list[str], int]] = [
        ("root/a", {}, ["register", *both, "store_doczip"], 2),
        ("root/b", {"no_docs": True}, ["register", *both], 1),
        ("root/c", {"only_docs": True}, ["register", "store_doczip"], 1),
    ]
    for target, flags, kinds, names in cases:
        await site.index(target)
        answer = await site.push("root/dev", "widget==1.0", target, **flags)
        assert answer.status_code == 200, answer.text
        assert [line[1] for line in answer.json()["result"]] == kinds
        rows = await site.attachments(target)
        assert len(rows) == names
        assert all([entry["what"] for entry in row.history] == ["push"] for row in rows)
        if "store_toxresult" in kinds:
            assert [200, "store_toxresult", address(target, sha256, result)] in answer.json()["result"]
            (tested,) = [row for row in rows if row.kind == "test-result"]
            (file,) = await site.rows(target, file_name=WHEEL)
            assert tested.file_id == file.id
    assert site.listed("root/c") == {}
    answer = await site.push("root/dev", "widget==1.0", "root/c")
    assert answer.json()["message"] == "widget-1.0.doc.zip already exists in non-volatile index"
    assert await site.rows("root/c") == []


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


async def add_bare(site: Site, index: str, name: str, content: bytes) -> None:
    """Add a file as admission `devpi` takes it: nobody looked inside."""
    made = site.indexes[index]
    file = await make_file(
        site.resources.engine, made, name.removesuffix(".zip") if name.endswith(".zip") else name, content
    )
    if file.file_name != name:
        async with site.resources.engine.begin() as connection:
            await connection.execute(update(File).where(File.id == file.id).values(file_name=name))
    store = site.resources.objects.side(public=made.public)
    await store.put(file_key(file.sha256, FileName(name)), content, Put.REPLACE)
