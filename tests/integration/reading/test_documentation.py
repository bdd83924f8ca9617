"""Documentation as clients read it: contract devpi sections 10 and 13."""

from __future__ import annotations

import asyncio

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import sha256_of
from services.download.doc_rules import EQUIPMENT
from shared.auth.principal import Scope, Verb
from shared.catalogue.tables import Project
from shared.objects.interface import ObjectStores
from tests.integration.reading.library import PAGE, SITE, Library
from tests.support.archives import (
    zip_of,
)
from tests.support.factories import make_token
from tests.support.published import Published
from tests.support.reading import Reading

HERE = "/root/stable/thing/1.0/+doc"


class TestPages:
    """The pages of a version."""

    @pytest.mark.parametrize(
        ("path", "content"),
        [*SITE.items(), ("install/", SITE["install/index.html"])],
    )
    async def test_come_from_the_zip(
        self, client: httpx2.AsyncClient, library: Library, path: str, content: bytes
    ) -> None:
        """Small ones whole, large ones streamed; HEAD says the same; the tag is the zip's digest."""
        answer = await client.get(f"{HERE}/{path}")
        assert (answer.status_code, answer.content) == (200, content)
        assert answer.headers["content-length"] == str(len(content))
        assert answer.headers["etag"] == f'"{sha256_of(zip_of(SITE))}"'
        assert answer.headers["cache-control"] == "max-age=60"
        head = await client.head(f"{HERE}/{path}")
        assert (dict(head.headers), head.content) == (dict(answer.headers), b"")

    async def test_with_a_head_get_a_storage(self, client: httpx2.AsyncClient, library: Library) -> None:
        """Small pages and streamed ones, and their length is right, also for HEAD."""
        pages = {
            "index.html": b"<html><head></head>small",
            "large.html": b"<html><head></head>" + b"large" * 300_000,
        }
        await library.add("3.0", zip_of(pages))
        for path, page in pages.items():
            address = f"/root/stable/thing/3.0/+doc/{path}"
            answer = await client.get(address)
            assert answer.content == page.replace(b"<head>", b"<head>" + EQUIPMENT)
            assert answer.headers["content-length"] == str(len(answer.content))
            assert (await client.head(address)).headers == answer.headers

    async def test_are_sandboxed(self, client: httpx2.AsyncClient, library: Library) -> None:
        """Every answer, also errors and redirects: no origin of ours, no guessing, no frames, no cookies."""
        for path in ("index.html", "picture.svg", "objects.inv", "no.html", "", "install"):
            answer = await client.get(f"{HERE}/{path}", headers={"cookie": "session=secret"})
            policy = answer.headers["content-security-policy"]
            assert "sandbox allow-scripts" in policy
            assert "allow-same-origin" not in policy
            assert "frame-ancestors 'none'" in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["x-frame-options"] == "DENY"
            assert "set-cookie" not in answer.headers
            assert "cross-origin-resource-policy" not in answer.headers
            assert "cross-origin-opener-policy" not in answer.headers

    async def test_are_shared_with_nobody(self, client: httpx2.AsyncClient, library: Library) -> None:
        """Other pages may read fonts and styles, which an origin of nobody needs, and never a page."""
        for path, shared in (("index.html", False), ("picture.svg", False), ("_static/font.woff2", True)):
            answer = await client.get(f"{HERE}/{path}", headers={"origin": "null"})
            assert ("access-control-allow-origin" in answer.headers) == shared, path
        assert (await client.get(f"{HERE}/objects.inv")).headers["content-disposition"] == "attachment"

    async def test_are_asked_for_again_in_vain(self, client: httpx2.AsyncClient, library: Library) -> None:
        """With the tag of the zip, the answer is 304; with another, the page."""
        tag = (await client.get(f"{HERE}/index.html")).headers["etag"]
        same = await client.get(f"{HERE}/searchindex.js", headers={"if-none-match": tag})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
        assert (await client.get(f"{HERE}/index.html", headers={"if-none-match": '"x"'})).content == PAGE
        assert (await client.get(f"{HERE}/no.html", headers={"if-none-match": tag})).status_code == 404

    @pytest.mark.parametrize(
        ("path", "location"),
        [
            ("/root/stable/thing/1.0/+doc", HERE + "/index.html"),
            ("/root/stable/thing/1.0/+doc/", HERE + "/index.html"),
            ("/root/stable/thing/1.0/%2Bdoc/", HERE + "/index.html"),
            ("/root/stable/thing/1.0/+d/", HERE + "/index.html"),
            ("/root/stable/thing/1.0/+d/searchindex.js", HERE + "/searchindex.js"),
            ("/root/stable/Thing/1.0/+doc/index.html?q=a%20b", HERE + "/index.html?q=a%20b"),
            ("/root/stable/thing/1.0/+doc/install", HERE + "/install/"),
        ],
    )
    async def test_in_another_spelling_lie_elsewhere(
        self, client: httpx2.AsyncClient, library: Library, path: str, location: str
    ) -> None:
        """One step leads there."""
        answer = await client.get(path)
        assert answer.status_code == 302
        there = answer.url.join(answer.headers["location"])
        assert str(there).replace("%2B", "+").removeprefix("http://index.test") == location
        assert (await client.get(there)).status_code == 200

    @pytest.mark.parametrize(
        ("path", "words"),
        [
            (f"{HERE}/no.html", "File no.html not found in documentation.\n"),
            (f"{HERE}/_static/", "File _static/ not found in documentation.\n"),
            (f"{HERE}/%2e%2e/index.html", "File ../index.html not found in documentation.\n"),
            ("/root/stable/thing/2.0/+doc/index.html", "No documentation available.\n"),
            ("/root/stable/other/1.0/+doc/index.html", "No documentation available.\n"),
            ("/root/stable/other/latest/+doc/index.html", "No documentation available.\n"),
            ("/root/stable/other/stable/+doc/index.html", "No stable documentation available.\n"),
        ],
    )
    async def test_that_are_not_there(
        self, client: httpx2.AsyncClient, library: Library, path: str, words: str
    ) -> None:
        """In devpi's words; as JSON where that is asked for."""
        answer = await client.get(path)
        assert (answer.status_code, answer.text) == (404, words)
        assert answer.headers["content-type"].startswith("text/plain")
        told = await client.get(path, headers={"accept": "application/json"})
        assert (told.status_code, told.json()) == (404, {"message": words.strip()})

    @pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "POST"])
    async def test_can_only_be_read(self, client: httpx2.AsyncClient, library: Library, method: str) -> None:
        """No preflight is answered."""
        answer = await client.request(method, f"{HERE}/index.html")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
        assert "access-control-allow-origin" not in answer.headers


class TestVersions:
    """Which documentation a version means."""

    async def test_exact_ones_are_found_in_either_spelling(self, client: httpx2.AsyncClient, library: Library) -> None:
        """1.0.0 is 1.0; versions of no standard mean themselves."""
        await library.add("dev-trunk", zip_of({"index.html": b"trunk"}))
        assert (await client.get("/root/stable/thing/1.0.0/+doc/index.html")).content == PAGE
        assert (await client.get("/root/stable/thing/dev-trunk/+doc/index.html")).content == b"trunk"

    async def test_latest_and_stable(self, client: httpx2.AsyncClient, library: Library) -> None:
        """The newest with documentation, by the order of versions; pre-releases are not stable."""
        for version in ("1.10", "1.9", "2.0rc1", "dev-trunk"):
            await library.add(version, zip_of({"index.html": version.encode()}))
        assert (await client.get("/root/stable/thing/latest/+doc/index.html")).content == b"2.0rc1"
        assert (await client.get("/root/stable/thing/stable/+doc/index.html")).content == b"1.10"

    async def test_none_is_stable(self, client: httpx2.AsyncClient, library: Library) -> None:
        """Only pre-releases are documented."""
        await library.add("1.0b1", zip_of({"index.html": b"beta"}), project="early")
        assert (await client.get("/root/stable/early/latest/+doc/index.html")).content == b"beta"
        answer = await client.get("/root/stable/early/stable/+doc/index.html")
        assert (answer.status_code, answer.text) == (404, "No stable documentation available.\n")

    async def test_what_cannot_be_read_does_not_count(self, client: httpx2.AsyncClient, library: Library) -> None:
        """The newest whose zip can be read is the latest."""
        await library.add("2.0", b"no zip at all")
        assert (await client.get("/root/stable/thing/latest/+doc/index.html")).content == PAGE
        answer = await client.get("/root/stable/thing/2.0/+doc/index.html")
        assert (answer.status_code, answer.text) == (404, "No documentation available.\n")

    async def test_removed_ones_are_gone_within_the_bound(
        self, client: httpx2.AsyncClient, reading: Reading, library: Library
    ) -> None:
        """The page is 404, the zip 410; a version that comes is there at once when nobody asked before."""
        zipped = zip_of({"index.html": b"two"})
        path = await library.add("2.0", zipped)
        assert (await client.get("/root/stable/thing/2.0/+doc/index.html")).content == b"two"
        assert (await client.get(f"/root/stable/+f/{path}")).content == zipped
        await library.remove(library.made[-1])
        await asyncio.sleep(reading.resources.settings.staleness + 0.1)
        assert (await client.get("/root/stable/thing/2.0/+doc/index.html")).status_code == 404
        gone = await client.get(f"/root/stable/+f/{path}")
        assert (gone.status_code, gone.json()["detail"]) == (410, "thing-2.0.doc.zip was removed from this index.")

    async def test_in_quarantine_are_held(
        self, client: httpx2.AsyncClient, engine: AsyncEngine, library: Library
    ) -> None:
        """Pages and zip, with the reason."""
        path = await library.add("1.0", zip_of({"index.html": b"x"}), project="bad")
        async with engine.begin() as connection:
            quarantined = Project.__table__.update().where(Project.name == "bad")  # type: ignore[attr-defined]
            await connection.execute(quarantined.values(status="quarantined", status_reason="looks odd"))
        for address in ("/root/stable/bad/1.0/+doc/index.html", f"/root/stable/+f/{path}"):
            answer = await client.get(address)
            assert answer.status_code == 403
            assert "bad-1.0.doc.zip is held for review: looks odd" in answer.text


class TestRights:
    """Documentation of an index that not everyone may read."""

    async def test_are_those_of_the_index(
        self, engine: AsyncEngine, stores: ObjectStores, secret: Published, reading: Reading
    ) -> None:
        """Strangers are told to sign in, whatever exists; readers get pages that nobody else may keep or read."""
        library = Library(engine, stores, secret.index)
        path = await library.add("1.0", zip_of(SITE))
        token = await make_token(engine, "root", [Scope(secret.index.name, None, frozenset({Verb.READ}))])
        other = await make_token(engine, "somebody")
        await reading.news()
        addresses = ["/root/secret/thing/1.0/+doc/index.html", f"/root/secret/+f/{path}"]
        async with reading.client() as nobody, reading.client(token=other) as somebody:
            for address in (*addresses, "/root/secret/thing/1.0/+doc", "/root/secret/no/1.0/+doc/index.html"):
                answer = await nobody.get(address)
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Basic realm="countermark"')
                assert (await somebody.get(address)).status_code == 403
        async with reading.client(token=token) as reader:
            for address in addresses:
                assert (await reader.get(address)).status_code == 200
            font = await reader.get("/root/secret/thing/1.0/+doc/_static/font.woff2")
            assert "access-control-allow-origin" not in font.headers
            assert (font.headers["cache-control"], font.headers["vary"]) == ("private, max-age=60", "Authorization")
