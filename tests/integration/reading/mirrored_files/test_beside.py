"""Core metadata and provenance of mirrored files. Contract python-index section 5.1 items 4 and 5."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from shared.catalogue.tables import MirrorFault
from tests.integration.reading.constants import LARGE, WHEEL
from tests.integration.reading.mirror_site import NEW
from tests.integration.reading.mirrored_files.site import BIG, Files, path_of
from tests.support.factories import now
from tests.support.upstream import Fault


class TestMetadata:
    """Core metadata beside a file."""

    async def test_it_is_fetched_on_demand_and_kept(self, site: Files) -> None:
        """With the digest that the page says; files without it have none."""
        paths = await site.page()
        for _ in range(2):
            answer = await site.get(f"{paths[WHEEL]}.metadata")
            assert (answer.status_code, answer.content) == (200, b"Name: thing")
        assert site.upstream.asked[f"/files/{WHEEL}.metadata"] == 1
        assert site.upstream.asked[f"/files/{WHEEL}"] == 0
        assert (await site.get(f"{paths[BIG]}.metadata")).status_code == 404

    @pytest.mark.parametrize("fault", [Fault(body=b"not the wheel's"), Fault(status=404), Fault(status=500)])
    async def test_what_cannot_be_had_is_not_announced(self, site: Files, fault: Fault) -> None:
        """Who asked is told of the upstream; the next page does not say that it is there, the one after may."""
        paths = await site.page("a/top")
        site.upstream.faults[f"/files/{WHEEL}.metadata"] = fault
        answer = await site.get(f"{paths[WHEEL]}.metadata")
        assert (answer.status_code, answer.headers["content-type"]) == (
            503 if fault.status == 500 else 502,
            "application/problem+json",
        )
        assert "not announced any more" in answer.json()["detail"]
        site.reopen()
        page = await site.get("/a/top/+simple/thing/")
        assert "metadata" not in page.text
        assert WHEEL in page.text
        assert "metadata" not in (await site.get("/a/top/+simple/thing/", "text/html")).text
        assert (await site.get(f"{paths[WHEEL]}.metadata")).status_code == 404
        assert (await site.get(paths[WHEEL])).content == b"wheel"
        async with site.engine.begin() as connection:
            await connection.execute(update(MirrorFault).values(until=now()))
        site.upstream.faults.clear()
        site.reopen()
        assert "core-metadata" in (await site.get("/a/top/+simple/thing/")).text
        assert (await site.get(f"{paths[WHEEL]}.metadata")).content == b"Name: thing"


async def test_provenance_passes_through(site: Files) -> None:
    """Byte for byte, at an absolute address of this registry below the index that was asked; it is fetched once."""
    provenance = b'{"version": 1,  "attestation_bundles": []}'
    site.upstream.add("thing", NEW, b"new", provenance=provenance)
    for index in ("a/top", "root/pypi"):
        page = (await site.get(f"/{index}/+simple/thing/")).json()
        [url] = [file["provenance"] for file in page["files"] if "provenance" in file]
        assert url == f"http://127.0.0.1:3141/{index}/+f/{path_of(b'new', NEW)}.provenance"
        assert f'data-provenance="{url}"' in (await site.get(f"/{index}/+simple/thing/", "text/html")).text
        answer = await site.get(url.removeprefix("http://127.0.0.1:3141"))
        assert (answer.status_code, answer.content) == (200, provenance)
        assert answer.headers["content-type"] == "application/vnd.pypi.integrity.v1+json"
        assert answer.headers["cache-control"] == "public, max-age=600"
    assert site.upstream.asked[f"/files/{NEW}.provenance"] == 1
    assert (await site.get(f"/a/top/+f/{path_of(LARGE, BIG)}.provenance")).status_code == 404
