"""Pushing a release from one index to another: all or none, and what is signed then."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from sqlalchemy import func, select, update

from countermark.core.digest import sha256_of
from countermark.core.names import FileName
from shared.catalogue.tables import Audit, File, Journal, Publication, Release
from shared.objects.keys import core_metadata_key
from tests.integration.pushing.widget import SDIST, WHEEL, add_bare, address, count
from tests.support.archives import make_wheel, wheel_name
from tests.support.pushing import Site
from tests.support.reading import counted_queries


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
