"""devpi's documents of projects and versions as the devpi client reads them."""

from __future__ import annotations

import httpx2
import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import sha256_of
from services.index import devpi_rules
from shared.catalogue import audit
from shared.catalogue.tables import File, IndexRow, Project, Release
from shared.ids import new_uuid
from tests.integration.reading.constants import JSON, PIP, WHEEL
from tests.support.devpi_reading import HOST, attach, register, url_of
from tests.support.factories import now
from tests.support.published import Published
from tests.support.reading import Reading, counted_queries, served

THING = "/root/stable/thing"
FIELDS = {
    "name": "Thing", "version": "1.0", "metadata_version": "2.4", "summary": "Does things", "keywords": ["one", "two"],
    "requires_dist": ["six>=1"], "project_urls": {"Source": "https://code.test/thing"},
}  # fmt: skip


class TestProjects:
    """Contract devpi sections 3, 4.4, 4.5 and 7."""

    async def test_document(self, devpi: httpx2.AsyncClient, stable: Published, engine: AsyncEngine) -> None:
        """A project's document maps its versions to their metadata and links."""
        file = stable.visible[WHEEL]
        await stable.describe(file, **FIELDS)
        answer = await devpi.get(THING)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-devpi-api-version"] == "2"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-length"] == str(len(answer.content))
        document = answer.json()
        assert set(document) == {"type", "result"}
        assert document["type"] == "projectconfig"
        assert list(document["result"]) == ["1.0"]
        found = document["result"]["1.0"]
        assert found.items() >= {
            "name": "Thing", "version": "1.0", "metadata_version": "2.4", "summary": "Does things",
            "keywords": "one,two", "author": "", "comment": "", "license": "",
        }.items()  # fmt: skip
        assert found["requires_dist"] == ["six>=1"]
        assert found["project_urls"] == ["Source, https://code.test/thing"]
        assert found["classifiers"] == found["provides_extras"] == []
        async with engine.connect() as connection:
            at = (await connection.execute(select(File.uploaded_at).where(File.id == file.id))).scalar_one()
        assert found["+links"] == [
            {
                "rel": "releasefile",
                "href": url_of(file),
                "hash_spec": f"sha256={file.sha256}",
                "hashes": {"sha256": file.sha256},
                "log": [{"what": "upload", "who": "root", "when": list(at.timetuple()[:6]), "dst": "root/stable"}],
            }
        ]
        assert (await devpi.get(f"{THING}/")).json() == document

    async def test_version(self, devpi: httpx2.AsyncClient, stable: Published) -> None:
        """A version's document is what the project's has under it, whichever equal version is asked for."""
        await stable.describe(stable.visible[WHEEL], **FIELDS)
        whole = (await devpi.get(THING)).json()["result"]["1.0"]
        for path in ("1.0", "1.0/", "1.0.0", "v1"):
            answer = await devpi.get(f"{THING}/{path}")
            assert answer.status_code == 200, path
            assert answer.headers["content-type"] == "application/json"
            assert answer.json() == {"type": "versiondata", "result": whole}

    async def test_odd_versions(self, devpi: httpx2.AsyncClient, stable: Published, engine: AsyncEngine) -> None:
        """Versions may hold `+` and `!`, encoded or not, and need be no versions by any rule."""
        for version in ("1!2.0+local.1", "about 2 weeks"):
            await register(engine, stable, "thing", version, name="thing")
        for path in ("1!2.0+local.1", "1%212.0%2Blocal.1", "about%202%20weeks"):
            answer = await devpi.get(f"{THING}/{path}")
            assert answer.status_code == 200, path
            assert answer.json()["result"]["version"] in ("1!2.0+local.1", "about 2 weeks")

    async def test_registered(self, devpi: httpx2.AsyncClient, stable: Published, engine: AsyncEngine) -> None:
        """A release without files is there from its registration, without links."""
        await register(engine, stable, "Other.Thing", "0.1", name="Other_Thing", summary="soon")
        result = (await devpi.get("/root/stable/other-thing")).json()["result"]
        assert list(result) == ["0.1"]
        assert (result["0.1"]["name"], result["0.1"]["summary"]) == ("Other_Thing", "soon")
        assert "+links" not in result["0.1"]

    async def test_only_what_is_published(self, devpi: httpx2.AsyncClient, stable: Published) -> None:
        """A file is listed when its publication shows it, its release with the first of them, and no longer."""
        first = await stable.upload("later-1.0.tar.gz")
        assert (await devpi.get("/root/stable/later")).status_code == 404
        assert (await devpi.get("/root/stable/later/1.0")).status_code == 404
        await stable.publish(first)
        await stable.upload("later-1.0-py3-none-any.whl", b"waits")
        await stable.upload("later-2.0.tar.gz", b"waits too")
        result = (await devpi.get("/root/stable/later")).json()["result"]
        assert {version: len(found["+links"]) for version, found in result.items()} == {"1.0": 1}
        await stable.publish(hidden=[first])
        assert (await devpi.get("/root/stable/later")).status_code == 404

    async def test_history(self, devpi: httpx2.AsyncClient, stable: Published, engine: AsyncEngine) -> None:
        """A link's log tells of replacements, the upload and pushes."""
        overwrite = {"what": "overwrite", "who": None, "when": [2026, 1, 2, 3, 4, 5], "count": 1}
        push = {"what": "push", "who": "ann", "when": [2026, 1, 2, 3, 4, 6], "src": "root/dev", "dst": "root/stable"}
        await stable.mark(stable.visible[WHEEL], history=[overwrite, push])
        log = (await devpi.get(THING)).json()["result"]["1.0"]["+links"][0]["log"]
        assert [log[0], log[1]["what"], log[1]["dst"], log[2]] == [overwrite, "upload", "root/dev", push]

    async def test_attachments(self, devpi: httpx2.AsyncClient, stable: Published, engine: AsyncEngine) -> None:
        """Documentation and test results are linked as soon as they are there, and no more when they are removed."""
        file = stable.visible[WHEEL]
        result = f"{WHEEL}.toxresult-20261125130509-0"
        await attach(engine, file, "test-result", result, added_by=None)
        await attach(engine, file, "doc", "thing-1.0.doc.zip")
        await attach(engine, file, "doc", "thing-1.0-old.doc.zip", removed_at=now())
        links = (await devpi.get(f"{THING}/1.0")).json()["result"]["+links"]
        assert [link["rel"] for link in links] == ["releasefile", "doczip", "toxresult"]
        assert links[1]["href"].endswith("/thing-1.0.doc.zip")
        assert links[1]["log"][0]["who"] == "root"
        assert links[2]["href"] == url_of(file).replace(WHEEL, result)
        assert links[2]["for_href"] == links[0]["href"]
        assert links[2]["log"][0]["who"] is None
        assert links[2]["hash_spec"] == f"sha256={sha256_of(result.encode())}"

    async def test_a_new_life(self, devpi: httpx2.AsyncClient, reading: Reading, stable: Published) -> None:
        """Nothing of an earlier life of an index is told."""
        async with stable.engine.begin() as connection:
            await connection.execute(update(IndexRow).where(IndexRow.id == stable.index.id).values(life=2))
        await reading.news()
        assert (await devpi.get(THING)).status_code == 404

    async def test_quarantine(self, devpi: httpx2.AsyncClient, stable: Published, engine: AsyncEngine) -> None:
        """A project in quarantine is there without versions, as its page is without files."""
        async with engine.begin() as connection:
            await connection.execute(update(Project).values(status="quarantined"))
        await stable.publish(hidden=[stable.visible[WHEEL]])
        assert (await devpi.get(THING)).json() == {"type": "projectconfig", "result": {}}
        assert (await devpi.get(f"{THING}/1.0")).status_code == 404


class TestAddresses:
    """Contract devpi sections 1, 3, 7 and 17."""

    @pytest.mark.parametrize(
        ("path", "location"),
        [
            ("/root/stable/Thing", "/root/stable/thing"),
            ("/root/stable/th_.ing/?ignore_bases=", "/root/stable/th-ing/?ignore_bases="),
            ("/root/stable/THING/1%212%2Ba?x=%20&y", "/root/stable/thing/1!2+a?x=%20&y"),
        ],
    )
    async def test_other_spellings(self, devpi: httpx2.AsyncClient, path: str, location: str) -> None:
        """Another spelling of a name is redirected to the normalised one, with the query, on GET and HEAD."""
        for method in ("GET", "HEAD"):
            answer = await devpi.request(method, path)
            assert answer.status_code == 302
            assert answer.headers["location"] == HOST + location

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("/root/none/thing", "The stage root/none could not be found."),
            ("/nobody/dev/thing/1.0", "The stage nobody/dev could not be found."),
            ("/root/stable/nothing", "no project 'nothing'"),
            ("/root/stable/nothing?ignore_bases=", "no project 'nothing'"),
            ("/root/stable/no%20thing", "no project 'no thing'"),
            ("/root/stable/nothing/1.0", "The version 1.0 of project nothing does not exist."),
            ("/root/stable/thing/2.0", "The version 2.0 of project thing does not exist."),
            ("/root/stable/thing/1%002", "The version 1\x002 of project thing does not exist."),
        ],
    )
    async def test_what_is_not_there(self, devpi: httpx2.AsyncClient, path: str, message: str) -> None:
        """What is not there is 404 in devpi's words."""
        answer = await devpi.get(path)
        assert answer.status_code == 404
        assert answer.json() == {"message": message}
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-devpi-api-version"] == "2"

    async def test_head(self, devpi: httpx2.AsyncClient, reading: Reading) -> None:
        """HEAD has the headers of GET and nothing more, also of what is not there."""
        async with served(reading.cold) as host:
            for path, status in ((THING, 200), (f"{THING}/1.0", 200), (f"{THING}/9", 404), ("/root/none/x", 404)):
                async with httpx2.AsyncClient(base_url=host) as client:
                    got, head = await client.get(path), await client.head(path)
                assert (head.status_code, head.content) == (status, b"")
                for name in ("content-length", "content-type", "x-devpi-api-version"):
                    assert head.headers[name] == got.headers[name], (path, name)

    async def test_who_gets_documents(self, devpi: httpx2.AsyncClient) -> None:
        """Scripts that say nothing of what they take get the document; installers do not."""
        for accept in ("*/*", "", "text/html"):
            answer = await devpi.get(THING, headers={"accept": accept})
            assert answer.json()["type"] == "projectconfig", accept
        for headers in ({"accept": "*/*", "user-agent": "pip/26.3 {}"}, {"accept": PIP}, {"accept": JSON}):
            assert "projectconfig" not in (await devpi.get(THING, headers=headers)).text

    async def test_outside_url(self, devpi: httpx2.AsyncClient, stable: Published) -> None:
        """Links and redirects begin with the address under which the caller reached us."""
        outside = {"x-outside-url": "https://pkg.test/up/"}
        links = (await devpi.get(THING, headers=outside)).json()["result"]["1.0"]["+links"]
        assert links[0]["href"] == url_of(stable.visible[WHEEL]).replace(HOST, "https://pkg.test/up")
        answer = await devpi.get("/root/stable/Thing", headers=outside)
        assert answer.headers["location"] == "https://pkg.test/up/root/stable/thing"

    async def test_serial(self, devpi: httpx2.AsyncClient, engine: AsyncEngine) -> None:
        """The serial is the deployment's newest audit number."""
        assert (await devpi.get(THING)).headers["x-devpi-serial"] == "0"
        async with engine.begin() as connection:
            number = await audit.record(connection, at=now(), actor="root", action="test", subject="x")
        for path in (THING, f"{THING}/1.0"):
            assert (await devpi.get(path)).headers["x-devpi-serial"] == str(number)


class TestCost:
    """The work of a document."""

    async def test_large_projects(
        self,
        devpi: httpx2.AsyncClient,
        stable: Published,
        engine: AsyncEngine,
        reading: Reading,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A document of many releases is sent in parts, is whole, and takes one statement more for each part."""
        async with engine.begin() as connection:
            project = (await connection.execute(select(Project.id))).scalar_one()
            rows = [
                {
                    "id": new_uuid(),
                    "project_id": project,
                    "version": f"2.{number}",
                    "version_key": f"2.{number}",
                    Release.core_metadata: {"name": "thing", "description": "x" * number},
                    "created_at": now(),
                }
                for number in range(1000)
            ]
            await connection.execute(insert(Release).values(rows))
        with counted_queries(engine) as statements:
            answer = await devpi.get(THING)
        document = answer.json()
        assert document["type"] == "projectconfig"
        assert len(document["result"]) == 1001
        assert all(len(document["result"][f"2.{number}"]["description"]) == number for number in (0, 1, 500, 999))
        assert "content-length" not in answer.headers
        assert len(statements) == 6 + -(-1001 // devpi_rules.PART_RELEASES)
        head = await devpi.head(THING)
        assert (head.status_code, head.content, head.headers["content-type"]) == (200, b"", "application/json")
        async with served(reading.cold) as host, httpx2.AsyncClient(base_url=host) as client:
            assert (await client.get(THING)).json()["result"].keys() == document["result"].keys()
            assert (await client.head(THING)).content == b""

    async def test_small_projects(self, devpi: httpx2.AsyncClient, engine: AsyncEngine) -> None:
        """A document of a usual project takes seven statements, and one about nothing two."""
        for path, most in ((THING, 7), (f"{THING}/1.0", 7), ("/root/stable/nothing", 2)):
            with counted_queries(engine) as statements:
                await devpi.get(path)
            assert len(statements) == most, path
