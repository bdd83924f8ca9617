"""Zips of documentation: those that are refused, and what is read of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest

from countermark.core.digest import sha256_of
from countermark.core.names import FileName
from services.download.doc_rules import DocWanted, Which
from services.download.documentation import OPENED_AT_ONCE, Documentation, Page
from shared.objects.interface import ByteRange, OpenObject, Put
from shared.objects.keys import file_key
from shared.reading.access import Place
from tests.integration.reading.library import PAGE, SITE, Library
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
from tests.support.reading import Reading


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
