"""Documentation and test results as clients read them: contract devpi sections 10, 12 and 13."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import sha256_of
from countermark.core.names import FileName
from services.download.doc_rules import EQUIPMENT, DocWanted, Which
from services.download.documentation import OPENED_AT_ONCE, Documentation, Page
from shared.auth.principal import Scope, Verb
from shared.catalogue.tables import Project
from shared.objects.interface import ByteRange, ObjectStores, OpenObject, Put
from shared.objects.keys import file_key
from shared.reading.access import Place
from tests.integration.reading.constants import METADATA, WHEEL
from tests.integration.reading.library import Library
from tests.support.archives import (
    ZipEnd,
    overlapping_zip,
    payload,
    raw_zip,
    streamed_zip,
    zip_bomb,
    zip_entry,
    zip_of,
)
from tests.support.factories import make_token, now
from tests.support.published import Published
from tests.support.reading import Reading

PAGE = b"<!doctype html><h1>Thing</h1>"
SITE = {
    "index.html": PAGE,
    "install/index.html": b"<h1>Install</h1>",
    "_static/theme.css": b"body {}",
    "_static/font.woff2": b"wOF2",
    "searchindex.js": b"Search.setIndex({})" * 50_000,
    "picture.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "objects.inv": b"# Sphinx inventory version 2",
}
HERE = "/root/stable/thing/1.0/+doc"


@pytest.fixture
async def library(engine: AsyncEngine, stores: ObjectStores, stable: Published) -> Library:
    """The public index, with documentation of version 1.0."""
    made = Library(engine, stores, stable.index)
    await made.add("1.0", zip_of(SITE))
    return made


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


class TestHostileZips:
    """Archives that want to do harm: pages of them are 404, never 500, and the process stays small."""

    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(b"no zip at all", id="no zip"),
            pytest.param(zip_of(SITE)[:-30], id="cut short"),
            pytest.param(overlapping_zip(1000), id="overlapping"),
            pytest.param(raw_zip([zip_entry("index.html")] * 50_001), id="too many"),
            pytest.param(raw_zip([zip_entry("index.html", PAGE)], ZipEnd(offset=0)), id="elsewhere"),
            pytest.param(zip_bomb("index.html", 1024), id="bomb"),
            pytest.param(raw_zip([zip_entry("index.html", PAGE).both(flags=1)]), id="encrypted"),
            pytest.param(raw_zip([zip_entry("index.html", PAGE).both(crc=1)]), id="damaged"),
            pytest.param(raw_zip([zip_entry("index.html", PAGE).both(length=10, method=8)]), id="not deflated"),
            pytest.param(raw_zip([zip_entry("../index.html", PAGE)]), id="climbing"),
            pytest.param(raw_zip([zip_entry("/index.html", PAGE)]), id="absolute"),
        ],
    )
    async def test_are_no_documentation(self, client: httpx2.AsyncClient, library: Library, content: bytes) -> None:
        """The zip itself is served as it was sent; nothing in it is."""
        path = await library.add("6.6", content)
        for page in ("index.html", "../index.html", "%2e%2e/index.html", "000001"):
            answer = await client.get(f"/root/stable/thing/6.6/+doc/{page}")
            assert answer.status_code == 404, page
        assert (await client.get(f"/root/stable/+f/{path}")).content == content

    async def test_scripts_in_names_stay_text(self, client: httpx2.AsyncClient, library: Library) -> None:
        """A name that is a script is one file among others, and an error that names it is plain text."""
        name = "<script>alert(1)<script>.html"
        await library.add("6.6", zip_of({name: b"x"}))
        quoted = name.replace("<", "%3C").replace(">", "%3E")
        assert (await client.get(f"/root/stable/thing/6.6/+doc/{quoted}")).content == b"x"
        answer = await client.get(f"/root/stable/thing/6.6/+doc/x{quoted}")
        assert (answer.status_code, answer.headers["content-type"]) == (404, "text/plain; charset=utf-8")

    async def test_a_large_page_that_is_damaged_is_cut_off(self, client: httpx2.AsyncClient, library: Library) -> None:
        """Its last bytes never come: nobody takes it for whole."""
        entry = zip_entry("large.html", payload(2_000_000)).both(crc=1)
        await library.add("6.6", raw_zip([entry]))
        with pytest.raises(Exception, match="could not be sent to its end"):
            await client.get("/root/stable/thing/6.6/+doc/large.html")

    async def test_streamed_zips_are_read(self, client: httpx2.AsyncClient, library: Library) -> None:
        """Archives that were written to a pipe are no harm."""
        await library.add("3.0", streamed_zip(SITE))
        for path, content in SITE.items():
            assert (await client.get(f"/root/stable/thing/3.0/+doc/{path}")).content == content


class TestStore:
    """What is read of the store."""

    async def test_a_page_costs_two_small_ranges(
        self, client: httpx2.AsyncClient, reading: Reading, library: Library, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of a large zip the end and the member are read, the end only the first time."""
        await library.add("3.0", zip_of({"big.bin": payload(5_000_000), **SITE}))
        store = reading.resources.objects.public
        read: list[int] = []
        open_ = store.open

        @asynccontextmanager
        async def counted(key: str, byte_range: ByteRange | None = None) -> AsyncIterator[OpenObject]:
            assert byte_range is not None
            assert byte_range.stop is not None
            read.append(byte_range.stop - byte_range.start)
            async with open_(key, byte_range) as opened:  # type: ignore[arg-type]
                yield opened

        monkeypatch.setattr(store, "open", counted)
        for _ in range(3):
            assert (await client.get("/root/stable/thing/3.0/+doc/index.html")).content == PAGE
        assert len(read) == 4
        assert sum(read) < 100_000

    async def test_few_directories_are_read_at_a_time(
        self, client: httpx2.AsyncClient, reading: Reading, library: Library, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Fifty readers of fifty archives wait for each other: each takes some memory while it is read."""
        for number in range(50):
            await library.add(f"6.{number}", zip_of({"index.html": b"%d" % number}))
        store = reading.resources.objects.public
        open_, under_way, most = store.open, 0, 0

        @asynccontextmanager
        async def slow(key: str, byte_range: ByteRange | None = None) -> AsyncIterator[OpenObject]:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.01)
            async with open_(key, byte_range) as opened:  # type: ignore[arg-type]
                yield opened
            under_way -= 1

        documentation = Documentation(reading.resources)
        record = reading.resources.directory.index(library.index.name)
        assert record is not None
        wanted = [DocWanted("thing", f"6.{number}", "index.html") for number in range(50)]  # type: ignore[arg-type]
        monkeypatch.setattr(store, "open", slow)
        found = await asyncio.gather(*(documentation.find(Place(record, open=True), one) for one in wanted))
        assert all(isinstance(page, Page) for page in found)
        assert most <= OPENED_AT_ONCE

    async def test_a_zip_that_is_missing_or_damaged_is_unavailable(
        self, client: httpx2.AsyncClient, reading: Reading, library: Library
    ) -> None:
        """Not "no documentation": the operator is to mend it, and then it is back at once."""
        content = zip_of({"index.html": b"x"})
        path = await library.add("3.0", content)
        store = reading.resources.objects.public
        key = file_key(sha256_of(content), FileName(path.rpartition("/")[2]))
        await store.delete(key)
        assert (await client.get("/root/stable/thing/3.0/+doc/index.html")).status_code == 503
        await store.put(key, content[:-5], Put.REPLACE)
        assert (await client.get("/root/stable/thing/3.0/+doc/index.html")).status_code == 503
        await store.put(key, content, Put.REPLACE)
        assert (await client.get("/root/stable/thing/3.0/+doc/index.html")).content == b"x"

    async def test_directories_in_memory_are_bounded(
        self, client: httpx2.AsyncClient, reading: Reading, library: Library
    ) -> None:
        """However many archives are asked for; those that were dropped are read again."""
        memory = 2 << 20
        documentation = Documentation(reading.resources, memory)
        record = reading.resources.directory.index(library.index.name)
        assert record is not None
        content = zip_of({f"{number:05}.html": b"" for number in range(2000)})
        sizes = []
        for number in [*range(5), 0]:
            if number >= len(library.made) - 1:
                await library.add(f"5.{number}", content + b"", project=f"many{number}")
            wanted = DocWanted(f"many{number}", Which.LATEST, "00001.html")  # type: ignore[arg-type]
            assert isinstance(await documentation.find(Place(record, open=True), wanted), Page)
            sizes.append(documentation.kept_bytes)
        assert 500_000 < max(sizes) <= memory


class TestResults:
    """Test results at their addresses."""

    async def test_are_read_as_they_were_sent(
        self, client: httpx2.AsyncClient, stable: Published, library: Library
    ) -> None:
        """With names longer than any file's; they go with their file."""
        long_name = f"thing-{'1' * 150}-py3-none-any.whl"
        file = await stable.upload(long_name, b"wheel", METADATA)
        path = await library.add_result(file, b'{"testenvs": {}}')
        answer = await client.get(f"/root/stable/+f/{path}", headers={"accept": "*/*"})
        assert (answer.status_code, answer.content) == (200, b'{"testenvs": {}}')
        assert answer.headers["etag"] == f'"{sha256_of(answer.content)}"'
        await stable.mark(file, removed_at=now(), removed_by="root")
        await asyncio.sleep(2.1)
        assert (await client.get(f"/root/stable/+f/{path}")).status_code == 410

    async def test_one_that_comes_is_found_though_it_was_asked_for(
        self, client: httpx2.AsyncClient, stable: Published, library: Library
    ) -> None:
        """That there is none is forgotten within `staleness`: no publication tells of it."""
        file = stable.visible[WHEEL]
        path = f"{file.path}.toxresult-20261125120000-0"
        assert (await client.get(f"/root/stable/+f/{path}")).status_code == 404
        assert await library.add_result(file, b"{}") == path
        await asyncio.sleep(2.1)
        assert (await client.get(f"/root/stable/+f/{path}")).content == b"{}"
