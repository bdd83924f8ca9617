"""DELETE as the devpi client sends it: rights first, then the index's rule, exact words, and what is left then."""

import asyncio
import hashlib
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from packaging.utils import NormalizedName
from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import FileName
from services.download.rules import FileWanted, refusal
from shared.auth.principal import Scope, Verb
from shared.catalogue import reading
from shared.catalogue.tables import Attachment, Audit, File, IndexBase, Journal, Outbox, Project, Release
from shared.errors import ErrorKind
from shared.ids import new_uuid
from shared.jobs.messages import PublishIndex
from tests.integration.test_devpi_uploads import SDIST, SUBMIT, Devpi, devpi, shape
from tests.support.factories import make_index, make_token, now

__all__ = ["devpi"]

ZIP = "widget-2.0.zip"


def address(name: str, content: bytes) -> str:
    """Return the address of a file below its index."""
    digest = hashlib.sha256(content).hexdigest()
    return f"+f/{digest[:3]}/{digest[3:16]}/{name}"


async def delete(devpi: Devpi, path: str, **headers: str) -> httpx2.Response:
    """Ask as the devpi client does, as the owner unless other credentials are given."""
    answer = await devpi.http.delete(f"/root/dev/{path}", headers=headers or devpi.headers())
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-devpi-api-version"] == "2"
    return answer


async def gone(devpi: Devpi, name: str, content: bytes) -> ErrorKind | None:
    """Return why the download service refuses a file, None when it serves it."""
    key = hashlib.sha256(content).hexdigest()[:16]
    async with devpi.resources.engine.connect() as connection:
        facts = await reading.file_facts(connection, devpi.index.id, key, FileName(name))
    error = refusal(FileWanted(key, FileName(name), metadata=False), facts)
    return None if error is None else error.kind


@pytest.fixture
async def filled(devpi: Devpi) -> Devpi:
    """A project with two versions."""
    await devpi.upload(SDIST, b"one")
    await devpi.upload(ZIP, b"two", version="2.0")
    return devpi


async def rows(devpi: Devpi, query: Any) -> list[Any]:
    """Return what a query finds."""
    async with devpi.resources.engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(query)]


@pytest.mark.parametrize("end", ["", "/"])
async def test_a_version_is_removed_and_then_the_project(filled: Devpi, end: str) -> None:
    """Files are 410, the page lists the rest, and with the last version the project is gone: its page is 404."""
    answer = await delete(filled, f"Widget/1.0{end}")
    assert (answer.status_code, answer.json()) == (200, {"message": "project 'Widget' version '1.0' deleted"})
    assert [file["filename"] for file in (await filled.page())[1]] == [ZIP]
    assert (await gone(filled, SDIST, b"one"), await gone(filled, ZIP, b"two")) == (ErrorKind.GONE, None)
    assert (await delete(filled, f"widget/2.0{end}")).status_code == 200
    assert await filled.page() == (404, [])
    listed = await filled.pages.get("/root/dev/+simple/", headers={"accept": "text/html"})
    assert "widget" not in listed.text
    assert filled.tree.target(f"pointers/widget/{ZIP}.pointer") is None
    removals = Audit.action == "release.remove"
    audited = await rows(filled, select(Audit.actor, Audit.action, Audit.subject).where(removals))
    assert audited == [("root", "release.remove", f"root/dev/widget/{version}") for version in ("1.0", "2.0")]


@pytest.mark.parametrize("end", ["", "/", "?force=", "/?force"])
async def test_a_project_is_removed_at_once(filled: Devpi, end: str) -> None:
    """All files in one publication, with a line for the journal; a second time there is nothing."""
    before = await rows(filled, select(func.count()).where(Outbox.kind == PublishIndex.kind))
    answer = await delete(filled, f"Widget{end}")
    assert (answer.status_code, answer.json()) == (200, {"message": "project Widget deleted from stage root/dev"})
    assert await filled.page() == (404, [])
    assert (await gone(filled, SDIST, b"one"), await gone(filled, ZIP, b"two")) == (ErrorKind.GONE, ErrorKind.GONE)
    after = await rows(filled, select(func.count()).where(Outbox.kind == PublishIndex.kind))
    assert after[0][0] == before[0][0] + 1
    lines = await rows(filled, select(Journal.version, Journal.action, Journal.actor))
    assert (None, "remove project", "root") in lines
    again = await delete(filled, "Widget")
    assert (again.status_code, again.json()) == (404, {"message": "no project 'Widget'"})


async def test_what_was_removed_can_come_again(filled: Devpi) -> None:
    """The same bytes at the same address, with the metadata of the new form alone; the page is there again."""
    await filled.upload(SDIST, b"one", author="Ann")
    await delete(filled, "widget")
    assert (await filled.upload(SDIST, b"one", name="WIDGET", summary="again")).status_code == 200
    assert [file["filename"] for file in (await filled.page())[1]] == [SDIST]
    assert await filled.metadata() == {"name": "WIDGET", "version": "1.0", "summary": "again"}
    assert (await gone(filled, SDIST, b"one"), await gone(filled, ZIP, b"two")) == (None, ErrorKind.GONE)
    living = select(Release.version).where(Release.removed_at.is_(None))
    assert await rows(filled, living) == [("1.0",)]
    assert await rows(filled, select(Project.removed_at, Project.display_name)) == [(None, "WIDGET")]


async def test_a_file_is_removed_and_with_the_last_one_its_version(filled: Devpi) -> None:
    """By its address; again it is 410, and what never was 404."""
    await filled.upload("widget-1.0.zip", b"three")
    path = address(SDIST, b"one")
    answer = await delete(filled, path)
    assert (answer.status_code, answer.json()) == (200, {"message": f"package 'root/dev/{path}' deleted"})
    assert [file["filename"] for file in (await filled.page())[1]] == ["widget-1.0.zip", ZIP]
    again = await delete(filled, path)
    assert (again.status_code, again.json()["message"]) == (
        410,
        f"file 'root/dev/{path}' existed, deleted in later serial",
    )
    for unknown in (address(SDIST, b"never"), "+f/abc", "+f/abc/0123456789abc/<x>", "+f/a/b/c/d"):
        missing = await delete(filled, unknown)
        assert (missing.status_code, missing.json()["message"]) == (404, f"package 'root/dev/{unknown}' doesn't exist")
    await delete(filled, address("widget-1.0.zip", b"three"))
    assert await rows(filled, select(Release.version).where(Release.removed_at.is_(None))) == [("2.0",)]
    await delete(filled, address(ZIP, b"two"))
    assert await filled.page() == (404, [])


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("Widget", "project 'Widget' is on non-volatile index root/dev"),
        ("widget/1.0", "cannot delete version on non-volatile index"),
        ("nothing/9", "cannot delete version on non-volatile index"),
        (address(SDIST, b"one"), "cannot delete version on non-volatile index"),
        ("+f/abc/0123456789abc/x", "cannot delete version on non-volatile index"),
    ],
)
async def test_a_non_volatile_index_lets_nothing_go_without_force(
    filled: Devpi, engine: AsyncEngine, path: str, words: str
) -> None:
    """403 whether it is there or not; `?force` removes."""
    await shape(engine, filled.resources, volatile=False)
    answer = await delete(filled, path)
    assert (answer.status_code, answer.json()) == (403, {"message": words})
    assert (await delete(filled, f"{path}?force=")).status_code == (404 if "nothing" in path or "abc" in path else 200)


@pytest.mark.parametrize("admission", ["strict", "devpi"])
async def test_a_name_that_was_forced_out_is_burnt_under_strict_admission(
    filled: Devpi, engine: AsyncEngine, admission: str
) -> None:
    """On a non-volatile index; under devpi's admission it is free, as with devpi."""
    await shape(engine, filled.resources, volatile=False, admission=admission)
    await delete(filled, "widget?force=")
    answer = await filled.upload(SDIST, b"one", filetype="sdist", metadata_version="2.1")
    assert answer.status_code == (409 if admission == "strict" else 200)
    assert (await filled.page())[0] == (404 if admission == "strict" else 200)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nothing", "no project 'nothing'"),
        ("-odd-", "no project '-odd-'"),
        ("widget/3.0", "The version 3.0 of project widget does not exist."),
        ("nothing/1.0", "The version 1.0 of project nothing does not exist."),
        ("widget/" + "9" * 1000, "The version " + "9" * 1000 + " of project widget does not exist."),
    ],
)
async def test_what_is_not_there_is_not_found(filled: Devpi, path: str, words: str) -> None:
    """404 in devpi's words, and nothing changes."""
    answer = await delete(filled, path)
    assert (answer.status_code, answer.json()["message"]) == (404, words)
    assert len((await filled.page())[1]) == 2


async def test_versions_are_found_as_people_spell_them(filled: Devpi) -> None:
    """1.0.0 is 1.0, v2 is 2.0."""
    for spelling in ("1.0.0", "v2"):
        assert (await delete(filled, f"widget/{spelling}")).status_code == 200
    assert (await filled.page())[0] == 404


async def test_the_right_comes_first(filled: Devpi, engine: AsyncEngine) -> None:
    """Strangers, and tokens for less, are 403 also for what is not there; so is everybody at an index that is not."""
    mallory = await make_token(engine, "mallory")
    uploads = await make_token(engine, "root", [Scope(filled.index.name, None, frozenset({Verb.UPLOAD}))])
    other = Scope(filled.index.name, NormalizedName("gadget"), frozenset({Verb.REMOVE}))
    elsewhere = await make_token(engine, "root", [other])
    await filled.resources.directory.refresh()
    for path in ("widget", "nothing", "widget/1.0", address(SDIST, b"one")):
        for token in (mallory, uploads, elsewhere):
            assert (await delete(filled, path, **filled.headers(token=token))).status_code == 403
        nobody = await filled.http.delete(f"/root/dev/{path}")
        assert nobody.status_code == 403
        assert "location" not in nobody.headers
    missing = await filled.http.delete("/root/gone/widget", headers=filled.headers())
    assert (missing.status_code, missing.json()["message"]) == (403, "no permission to remove anything from root/gone")
    assert len((await filled.page())[1]) == 2


async def test_a_token_that_is_no_longer_good_is_told_so(filled: Devpi) -> None:
    """401 with a Location: the one sign at which the devpi client drops its token and says so."""
    answer = await delete(filled, "widget", **filled.headers(token="cms_1" + "0" * 49))
    assert answer.status_code == 401
    assert answer.headers["location"] == "http://registry/+login"
    assert (await filled.page())[0] == 200


async def test_registered_releases_are_removed_like_others(devpi: Devpi) -> None:
    """A project without files has an empty page until its last release is removed."""
    for version in ("1.0", "2.0"):
        await devpi.form(SUBMIT | {"version": version})
    assert await devpi.page() == (200, [])
    assert (await delete(devpi, "widget/1.0")).status_code == 200
    assert await devpi.page() == (200, [])
    assert (await delete(devpi, "widget/2.0")).status_code == 200
    assert await devpi.page() == (404, [])
    assert (await delete(devpi, "widget/2.0")).status_code == 404
    await devpi.form(SUBMIT)
    assert await devpi.page() == (200, [])


async def test_attachments_go_with_what_they_belong_to(filled: Devpi, engine: AsyncEngine) -> None:
    """Test results with their file, documentation with its version; a version with documentation alone stays."""
    async with engine.begin() as connection:
        file = (await connection.execute(select(File.id, File.release_id).where(File.file_name == SDIST))).one()
        common = {"index_id": filled.index.id, "release_id": file.release_id, "length": 1, "added_at": now()}
        for kind, file_id in (("doc", None), ("test-result", file.id)):
            digest = hashlib.sha256(kind.encode()).hexdigest()
            about = {"kind": kind, "file_id": file_id, "file_name": f"{kind}.zip", "path_key": digest[:16]}
            await connection.execute(insert(Attachment).values(id=new_uuid(), sha256=digest, **common, **about))
    living = select(Attachment.kind).where(Attachment.removed_at.is_(None))
    await delete(filled, address(SDIST, b"one"))
    assert await rows(filled, living) == [("doc",)]
    assert await rows(filled, select(func.count()).select_from(Release).where(Release.removed_at.is_(None))) == [(2,)]
    digest = hashlib.sha256(b"doc").hexdigest()
    answer = await delete(filled, f"+f/{digest[:3]}/{digest[3:16]}/doc.zip")
    assert answer.status_code == 200
    assert await rows(filled, living) == []
    assert await rows(filled, select(func.count()).select_from(Release).where(Release.removed_at.is_(None))) == [(1,)]


async def test_uploads_and_removals_at_once_leave_a_whole_project(devpi: Devpi, engine: AsyncEngine) -> None:
    """However they meet: a living file has a living release and project, and what is gone has none."""

    async def upload(number: int) -> int:
        return (await devpi.upload(f"widget-1.{number}.zip", b"x", version=f"1.{number}")).status_code

    async def remove(path: str) -> int:
        return (await delete(devpi, path)).status_code

    for _ in range(3):
        answers = await asyncio.gather(*map(upload, range(4)), remove("widget"), remove("widget/1.1"), remove("widget"))
        assert set(answers[:4]) == {200}
        assert set(answers[4:]) <= {200, 404}
    async with engine.connect() as connection:
        torn = await connection.scalar(
            text(
                "select count(*) from file join release r on r.id = release_id join project p on p.id = r.project_id"
                " where file.removed_at is null and (r.removed_at is not null or p.removed_at is not null)"
            )
        )
        files = await connection.scalar(select(func.count()).select_from(File).where(File.removed_at.is_(None)))
    assert torn == 0
    status, listed = await devpi.page()
    assert (status, len(listed)) == (200 if files else 404, files)


async def test_what_is_no_address_of_anything_is_not_found(devpi: Devpi) -> None:
    """404 as JSON, whatever the address."""
    for path in ("/root/dev/+simple/widget/", "/odd", "/root/dev/a/b/c", "/root/dev/a/1/+doc/index.html"):
        answer = await devpi.http.delete(path, headers=devpi.headers())
        assert (answer.status_code, answer.json()) == (404, {"message": "There is nothing to remove at this address."})


async def test_removal_through_our_own_api_ends_the_page_as_well(filled: Devpi) -> None:
    """The last release removed at /api/v1: the page is 404, and the state of the project is still told there."""
    for version in ("1.0", "2.0"):
        path = f"/api/v1/indexes/root/dev/projects/widget/releases/{version}"
        answer = await filled.http.delete(path, headers=filled.headers(devpi=False))
        assert answer.status_code == 200
    assert await filled.page() == (404, [])
    shown = await filled.http.get("/api/v1/indexes/root/dev/projects/widget", headers=filled.headers(devpi=False))
    assert (shown.status_code, shown.json()["releases"]) == (200, [])


async def test_a_removed_project_is_gone_from_indexes_above(filled: Devpi, engine: AsyncEngine) -> None:
    """What an index inherits is 404 as well, and a registered project is there without files."""
    top = await make_index(engine, "root/top")
    async with engine.begin() as connection:
        base = {"index_id": top.id, "position": 0, "base_owner": "root", "base_name": "dev"}
        await connection.execute(insert(IndexBase).values(**base))
    await filled.resources.directory.refresh()
    above = replace(filled, path="/root/top/")
    assert len((await above.page())[1]) == 2
    await delete(filled, "widget")
    assert await above.page() == (404, [])
    await filled.form(SUBMIT)
    assert await above.page() == (200, [])


@pytest.mark.parametrize("version", ["1.0%00", "%00", "1%001"])
async def test_a_version_with_a_nul_is_not_there(filled: Devpi, version: str) -> None:
    """The catalogue cannot hold such a text, nor be asked for it."""
    assert (await delete(filled, f"widget/{version}")).status_code == 404


@pytest.mark.parametrize("path", ["thing", "thing/1.0", f"{address(SDIST, b'one')}"])
async def test_of_a_mirror_that_keeps_nothing(devpi: Devpi, engine: AsyncEngine, path: str) -> None:
    """A final one lets nothing go without force; of what is not kept nothing can be removed."""
    await make_index(engine, "root/world", kind="mirror")
    await devpi.resources.directory.refresh()
    answers = [
        await devpi.http.delete(f"/root/world/{path}{query}", headers=devpi.headers()) for query in ("", "?force=")
    ]
    assert [answer.status_code for answer in answers] == [403, 404]
    assert "non-volatile index" in answers[0].json()["message"]
