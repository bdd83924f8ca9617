"""Documentation and test results as they arrive: every row of contract devpi sections 9 (docs) and 12."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import orjson
import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import sha256_of
from services.upload.attaching import MAX_RESULT_BYTES
from shared.auth.principal import ANONYMOUS, AUTHENTICATED, Scope, Verb
from shared.catalogue import attachments
from shared.catalogue.tables import Attachment, File, IndexRow, Project, Release, StoredObject
from shared.ids import AttachmentId, IndexId
from shared.objects.keys import file_key
from tests.support.archives import make_wheel, zip_of
from tests.support.attached import attached_rows, grant, send_docs, set_index
from tests.support.factories import make_index, make_token
from tests.support.uploader import Uploader
from tests.support.uploading import basic

WHEEL = "widget-1.0-py3-none-any.whl"
DOCS = zip_of({"index.html": b"<h1>Widget</h1>"})
OTHER_DOCS = zip_of({"index.html": b"<h1>Widget, again</h1>"})
REPORT = b'{"testenvs": {"py311": {"test": [{"retcode": 0}]}} , "platform": "linux"}'


class TestDocumentation:
    """Forms with the action `doc_upload`."""

    async def test_is_kept_under_its_release(self, uploader: Uploader, engine: AsyncEngine) -> None:
        """It has a name of its own, whatever it was sent as; its bytes are stored, nothing waits for a publication."""
        await uploader.post(WHEEL, make_wheel("widget", "1.0"))
        answer = await send_docs(uploader, DOCS, name="Widget")
        assert (answer.status_code, answer.text) == (200, "widget-1.0.doc.zip is stored in root/stable.\n")
        (row,) = await attached_rows(engine)
        digest = sha256_of(DOCS)
        assert (row["kind"], row["file_name"], row["path_key"]) == ("doc", "widget-1.0.doc.zip", digest[:16])
        assert (row["sha256"], row["length"], row["history"], row["added_by"]) == (digest, len(DOCS), [], "root")
        store = uploader.resources.objects.public
        info = await store.head(file_key(digest, row["file_name"]))
        assert info is not None
        assert info.length == len(DOCS)
        async with engine.connect() as connection:
            objects = await connection.scalars(select(StoredObject.file_name).where(StoredObject.sha256 == digest))
            assert objects.all() == ["widget-1.0.doc.zip"]
        assert not list(uploader.resources.settings.data.glob("staging/*"))

    async def test_takes_any_bytes(self, uploader: Uploader) -> None:
        """Nobody looks into it at upload."""
        assert (await send_docs(uploader, b"no zip at all")).status_code == 200

    async def test_makes_its_release(self, uploader: Uploader, engine: AsyncEngine) -> None:
        """A project and a version that nobody uploaded a file of are registered by their documentation."""
        assert (await send_docs(uploader, DOCS, name="New.Thing", version="2.0.0")).status_code == 200
        async with engine.connect() as connection:
            query = select(Project.name, Project.display_name, Release.version, Release.core_metadata)
            row = (await connection.execute(query.join(Release, Release.project_id == Project.id))).one()
        assert tuple(row) == ("new-thing", "New.Thing", "2.0.0", {"name": "New.Thing", "version": "2.0.0"})

    async def test_follows_the_spelling_of_its_release(self, uploader: Uploader, engine: AsyncEngine) -> None:
        """1.0.0 is the release that its wheel calls 1.0; versions that no standard knows are taken as they are."""
        await uploader.post(WHEEL, make_wheel("widget", "1.0"))
        await send_docs(uploader, DOCS, version="1.0.0")
        await send_docs(uploader, DOCS, version="dev-trunk_3")
        names = [row["file_name"] for row in await attached_rows(engine)]
        assert names == ["widget-1.0.doc.zip", "widget-dev-trunk_3.doc.zip"]

    async def test_without_a_version_is_about_the_newest(self, uploader: Uploader, engine: AsyncEngine) -> None:
        """The newest release of this index, by the order of versions; one that was emptied does not count."""
        for version in ("1.9", "1.10", "1.2"):
            await uploader.post(f"widget-{version}-py3-none-any.whl", make_wheel("widget", version))
        await uploader.post("widget-3.0-py3-none-any.whl", make_wheel("widget", "3.0"))
        async with engine.begin() as connection:
            gone = uploader.resources.clock.now()
            await connection.execute(update(Release).where(Release.version == "3.0").values(removed_at=gone))
        answer = await send_docs(uploader, DOCS, version=None)
        assert answer.text == "widget-1.10.doc.zip is stored in root/stable.\n"

    async def test_without_a_version_and_without_releases(self, uploader: Uploader) -> None:
        """There is nothing to take the version from."""
        answer = await send_docs(uploader, DOCS, version=None)
        words = "doczip has no version and 'widget' has no releases to derive one from\n"
        assert (answer.status_code, answer.text) == (400, words)

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"name": None}, "The field name is missing"),
            ({"name": "../x"}, "invalid metadata: invalid project name"),
            ({"name": "w\u00efdget"}, "invalid metadata: invalid project name"),
            ({"version": "1/../2"}, "invalid metadata: invalid file name"),
            ({"version": "1.0<script>"}, "invalid metadata: invalid file name"),
            ({"version": "9" * 300}, "invalid metadata: the version is longer than 200 characters"),
            ({"version": "v" * 190}, "invalid metadata: invalid file name"),
        ],
    )
    async def test_that_cannot_be_named_is_refused(
        self, uploader: Uploader, engine: AsyncEngine, fields: dict[str, str | None], words: str
    ) -> None:
        """Each with its words, and nothing is kept."""
        answer = await send_docs(uploader, DOCS, **fields)  # type: ignore[arg-type]
        assert answer.status_code == 400
        assert answer.text.startswith(words)
        assert await attached_rows(engine) == []
        assert uploader.left_behind() == []

    async def test_of_a_non_volatile_index_stays(self, uploader: Uploader, engine: AsyncEngine) -> None:
        """The same bytes again change nothing; others are a conflict that names the file as it was sent."""
        await send_docs(uploader, DOCS)
        same = await send_docs(uploader, DOCS)
        assert (same.status_code, same.text) == (200, "200 Upload of identical file to non volatile index.\n")
        other = await send_docs(uploader, OTHER_DOCS, file_name="widget-docs.zip")
        assert (other.status_code, other.text) == (409, "widget-docs.zip already exists in non-volatile index\n")
        assert len(await attached_rows(engine)) == 1

    async def test_of_a_volatile_index_is_replaced(self, uploader: Uploader, engine: AsyncEngine) -> None:
        """What was there is marked as removed; how often that happened is counted; old bytes may come back."""
        await set_index(engine, uploader.index.id, volatile=True)
        await uploader.resources.directory.refresh()
        for content in (DOCS, OTHER_DOCS, OTHER_DOCS, DOCS):
            assert (await send_docs(uploader, content)).status_code == 200
        rows = {row["sha256"]: row for row in await attached_rows(engine)}
        assert len(rows) == 2
        old, now = rows[sha256_of(OTHER_DOCS)], rows[sha256_of(DOCS)]
        assert (old["removed_by"], now["removed_at"]) == ("root", None)
        assert [(entry["what"], entry["who"], entry["count"]) for entry in now["history"]] == [("overwrite", None, 2)]

    async def test_name_that_was_removed(self, uploader: Uploader, engine: AsyncEngine) -> None:
        """A strict index that is not volatile keeps removed names burnt; one of devpi's kind takes them again."""
        await send_docs(uploader, DOCS)
        now = uploader.resources.clock.now()
        async with engine.begin() as connection:
            doc = (await connection.execute(select(Attachment.id))).scalar_one()
            await attachments.remove(connection, [AttachmentId(doc)], at=now, by="root")
        burnt = await send_docs(uploader, DOCS)
        words = "widget-1.0.doc.zip was removed from root/stable: its name cannot be used again.\n"
        assert (burnt.status_code, burnt.text) == (409, words)
        await set_index(engine, uploader.index.id, admission="devpi")
        await uploader.resources.directory.refresh()
        assert (await send_docs(uploader, DOCS)).status_code == 200
        assert [row["removed_at"] for row in await attached_rows(engine)] == [None]

    async def test_ten_at_once_leave_one(self, uploader: Uploader, engine: AsyncEngine) -> None:
        """A release has one documentation, whoever came last."""
        await set_index(engine, uploader.index.id, volatile=True)
        await uploader.resources.directory.refresh()
        contents = [zip_of({"index.html": b"%d" % number}) for number in range(10)]
        answers = await asyncio.gather(*(send_docs(uploader, content) for content in contents))
        assert {answer.status_code for answer in answers} == {200}
        rows = await attached_rows(engine)
        assert len(rows) == 10
        assert len([row for row in rows if row["removed_at"] is None]) == 1

    async def test_needs_the_right_to_upload(self, uploader: Uploader, engine: AsyncEngine) -> None:
        """Strangers, readers, and tokens for another project are refused; the other project's owner is not."""
        scopes = [Scope(uploader.index.name, None, frozenset({Verb.READ}))]
        reader = await make_token(engine, "root", scopes)
        narrow = [Scope(uploader.index.name, "widget", frozenset({Verb.UPLOAD}))]  # type: ignore[arg-type]
        one = await make_token(engine, "root", narrow)
        await uploader.resources.directory.refresh()
        fields = {":action": "doc_upload", "name": "widget", "version": "1.0"}
        for headers, status in (({}, 401), (basic(reader), 403), (basic(one), 200)):
            assert (await uploader.post("d.zip", DOCS, fields=fields, headers=headers)).status_code == status
        gadget = {**fields, "name": "gadget"}
        assert (await uploader.post("d.zip", DOCS, fields=gadget, headers=basic(one))).status_code == 403

    async def test_is_gone_from_the_default_index_s_upload_url(self, uploader: Uploader, engine: AsyncEngine) -> None:
        """`/legacy/` is no index of devpi's."""
        assert (await send_docs(uploader, DOCS, path="/legacy/")).status_code == 410
        assert await attached_rows(engine) == []


class TestResults:
    """`POST` to the address of a file."""

    @pytest.fixture
    async def address(self, uploader: Uploader, engine: AsyncEngine) -> str:
        """A wheel's address; everybody known may send test results."""
        content = make_wheel("widget", "1.0")
        await uploader.post(WHEEL, content)
        await grant(engine, uploader.index.id, AUTHENTICATED, "test-result")
        await uploader.resources.directory.refresh()
        digest = sha256_of(content)
        return f"/root/stable/+f/{digest[:3]}/{digest[3:16]}/{WHEEL}"

    @pytest.fixture
    async def tester(self, uploader: Uploader, engine: AsyncEngine) -> dict[str, str]:
        """Credentials of somebody who may read and test."""
        token = await make_token(engine, "tess")
        await uploader.resources.directory.refresh()
        return basic(token)

    async def test_lies_beside_its_file(
        self, uploader: Uploader, engine: AsyncEngine, address: str, tester: dict[str, str]
    ) -> None:
        """Byte for byte, under a name with time and number; the answer tells where, and the digest."""
        answer = await uploader.http.post(address, content=REPORT, headers=tester)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        assert answer.headers["x-devpi-api-version"] == "2"
        told = answer.json()
        digest = sha256_of(REPORT)
        assert told["type"] == "toxresultpath"
        name = re.fullmatch(re.escape(address[1:]) + r"\.toxresult-(\d{14})-0#sha256=" + digest, told["result"])
        assert name is not None
        (row,) = await attached_rows(engine)
        assert (row["kind"], row["sha256"], row["added_by"]) == ("test-result", digest, "tess")
        store = uploader.resources.objects.public
        async with store.open(file_key(digest, row["file_name"])) as opened:
            assert b"".join([chunk async for chunk in opened.chunks]) == REPORT

    async def test_are_numbered(
        self, uploader: Uploader, engine: AsyncEngine, address: str, tester: dict[str, str]
    ) -> None:
        """Also when they come at the same moment, or say the same."""
        answers = await asyncio.gather(*(uploader.http.post(address, content=REPORT, headers=tester) for _ in range(5)))
        assert {answer.status_code for answer in answers} == {200}
        names = {answer.json()["result"] for answer in answers}
        assert len(names) == 5
        assert len(await attached_rows(engine)) == 5

    async def test_need_the_right(
        self, uploader: Uploader, engine: AsyncEngine, address: str, tester: dict[str, str]
    ) -> None:
        """Nobody known, and wrong credentials, get 403 with devpi's words; where anybody may, they are taken."""
        words = "No permission to upload tox results. You can use the devpi test --no-upload option to skip the upload."
        for headers in ({}, basic("cmk_1wrong")):
            answer = await uploader.http.post(address, content=REPORT, headers=headers)
            assert (answer.status_code, answer.json()) == (403, {"message": words})
        await grant(engine, uploader.index.id, ANONYMOUS, "test-result")
        await uploader.resources.directory.refresh()
        assert (await uploader.http.post(address, content=REPORT)).status_code == 200
        (row,) = await attached_rows(engine)
        assert row["added_by"] is None

    async def test_of_another_project_need_a_token_for_it(
        self, uploader: Uploader, engine: AsyncEngine, address: str
    ) -> None:
        """A token's project is that of the file."""
        for project, status in (("gadget", 403), ("widget", 200)):
            scope = Scope(uploader.index.name, project, frozenset({Verb.TEST_RESULT}))  # type: ignore[arg-type]
            token = await make_token(engine, "tess", [scope])
            await uploader.resources.directory.refresh()
            answer = await uploader.http.post(address, content=REPORT, headers=basic(token))
            assert answer.status_code == status

    async def test_tell_strangers_nothing(
        self, uploader: Uploader, engine: AsyncEngine, tester: dict[str, str]
    ) -> None:
        """Who may not read an index does not learn which files it has."""
        index = await make_index(engine, "root/secret", public=False)
        await grant(engine, index.id, AUTHENTICATED, "test-result")
        await uploader.resources.directory.refresh()
        path = "/root/secret/+f/012/3456789abcdef/x-1.0.tar.gz"
        assert (await uploader.http.post(path, content=REPORT)).status_code == 401
        assert (await uploader.http.post(path, content=REPORT, headers=tester)).status_code == 403

    async def test_about_no_file(
        self, uploader: Uploader, engine: AsyncEngine, address: str, tester: dict[str, str]
    ) -> None:
        """What never was, was removed, is another digest or a test result itself has none."""
        result = (await uploader.http.post(address, content=REPORT, headers=tester)).json()["result"]
        tested = f"/{result.partition('#')[0]}"
        other = f"/root/stable/+f/000/0000000000000/{WHEEL}"
        for path in (tested, f"{address}x", "/root/stable/+f/", "/root/stable/+f/a/b/c", other):
            answer = await uploader.http.post(path, content=REPORT, headers=tester)
            assert answer.status_code == 404
            assert answer.json()["message"] == f"no release file found at {path[1:]}"
        async with engine.begin() as connection:
            gone = uploader.resources.clock.now()
            await connection.execute(update(File).values(removed_at=gone))
        assert (await uploader.http.post(address, content=REPORT, headers=tester)).status_code == 404
        assert (await uploader.http.post("/root/none/+f/a/b/c", content=REPORT)).status_code == 404

    @pytest.mark.parametrize("body", [b"", b"{", b"not json", b"[" * 200_000, b'"\xff"', b"{}x"])
    async def test_that_are_no_json(
        self, uploader: Uploader, engine: AsyncEngine, address: str, tester: dict[str, str], body: bytes
    ) -> None:
        """Nothing is kept of them, however deep they nest."""
        answer = await uploader.http.post(address, content=body, headers=tester)
        assert (answer.status_code, answer.json()) == (400, {"message": "Bad request: could not decode json"})
        assert await attached_rows(engine) == []

    async def test_that_are_too_long(
        self, uploader: Uploader, engine: AsyncEngine, address: str, tester: dict[str, str]
    ) -> None:
        """One at the limit is taken; one byte more is not, announced or not."""
        most = orjson.dumps("x" * (MAX_RESULT_BYTES - 2))
        assert (await uploader.http.post(address, content=most, headers=tester)).status_code == 200

        async def unannounced() -> AsyncIterator[bytes]:
            for _ in range(11):
                yield b" " * (1 << 20)

        for content in (most + b" ", unannounced()):
            answer = await uploader.http.post(address, content=content, headers=tester)
            assert answer.status_code == 413
            assert answer.json()["message"].startswith("The test result is longer than 10485760 bytes")
        assert len(await attached_rows(engine)) == 1

    async def test_count_on_after_a_removal(
        self, uploader: Uploader, engine: AsyncEngine, address: str, tester: dict[str, str]
    ) -> None:
        """A name is never used twice."""
        await uploader.http.post(address, content=REPORT, headers=tester)
        async with engine.begin() as connection:
            result = (await connection.execute(select(Attachment.id))).scalar_one()
            gone = uploader.resources.clock.now()
            await attachments.remove(connection, [AttachmentId(result)], at=gone, by="root")
        told = (await uploader.http.post(address, content=REPORT, headers=tester)).json()["result"]
        assert told.partition("#")[0].endswith("-1")


async def test_a_second_life_takes_the_same_bytes(uploader: Uploader, engine: AsyncEngine) -> None:
    """What an ended life of the index had is not there: file, documentation and test result come again, and stay."""
    wheel = make_wheel("widget", "1.0")
    async with engine.begin() as connection:
        index_id = IndexId((await connection.execute(select(IndexRow.id))).scalar_one())
    await grant(engine, index_id, AUTHENTICATED, Verb.TEST_RESULT)
    for life in (2, 3, 3):
        assert (await uploader.post(WHEEL, wheel)).status_code == 200
        assert (await send_docs(uploader, DOCS)).status_code == 200
        async with engine.connect() as connection:
            (row,) = (await connection.execute(select(Attachment.release_id, Attachment.removed_at))).all()
            query = select(Project.life).join(Release, Release.project_id == Project.id)
            assert await connection.scalar(query.where(Release.id == row.release_id)) == life - 1 or life == 3
        assert row.removed_at is None
        await set_index(engine, index_id, life=life)
        await uploader.resources.directory.refresh()
