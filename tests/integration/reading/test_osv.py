"""Advisories as audits ask for them, and in the JSON API of an index."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import orjson
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.index import osv_api
from shared.catalogue import advisories
from shared.catalogue.advisories import Counts
from shared.catalogue.unit_of_work import UnitOfWork
from shared.formats.python.osv import parse_advisory
from tests.support.advisories import fixed, record
from tests.support.factories import now
from tests.support.published import Published
from tests.support.reading import Reading, counted_queries

THING = {"package": {"name": "Thing", "ecosystem": "PyPI"}}
MODIFIED = "2026-01-02T03:04:05Z"


async def served(engine: AsyncEngine, *records: bytes) -> None:
    """Serve these advisories in place of those that are served."""
    async with UnitOfWork(engine) as work:
        await advisories.begin_snapshot(work.connection)
        await advisories.add(work.connection, [advisories.rows_of(parse_advisory(one), one) for one in records])
        await advisories.end_snapshot(work.connection, "test", Counts(len(records), newest_at=now()), now())
        await work.commit()


async def asked(client: httpx2.AsyncClient, *queries: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the answers of a batch."""
    answer = await client.post("/v1/querybatch", json={"queries": queries})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


def of(version: str, package: str = "thing", **members: str) -> dict[str, Any]:
    """Return a query."""
    return {"package": {"name": package, "ecosystem": "PyPI"}, "version": version, **members}


class TestQueries:
    """The OSV API."""

    async def test_batch(self, client: httpx2.AsyncClient, engine: AsyncEngine) -> None:
        """Each query is answered in its place with ids and times; nothing known is an empty object."""
        await served(engine, fixed("B-1", "2.0"), fixed("A-1", "3.0"), fixed("C-1", "3.0", "other"))
        purl = {"package": {"purl": "pkg:pypi/thing@2.5"}}
        both = [{"id": name, "modified": MODIFIED} for name in ("A-1", "B-1")]
        assert await asked(client, of("1.0"), of("3.0"), purl, of("1.0", "unknown"), of("1.0", "other"), THING) == [
            {"vulns": both},
            {},
            {"vulns": both[:1]},
            {},
            {"vulns": [{"id": "C-1", "modified": MODIFIED}]},
            {"vulns": both},
        ]

    async def test_whole_records(self, client: httpx2.AsyncClient, engine: AsyncEngine) -> None:
        """A query, and an id, are answered with the records as they were imported, and when that was."""
        spaced = fixed("A-1", "2.0", database_specific={"x": [1.5, None]}).replace(b",", b", \n")
        await served(engine, spaced, fixed("A-2", "2.0"))
        whole = await client.post("/v1/query", json=of("1.0"))
        assert whole.content == b'{"vulns":[' + spaced + b"," + fixed("A-2", "2.0") + b"]}"
        assert "x-countermark-imported" in whole.headers
        assert (await client.post("/v1/query", json=of("2.0"))).json() == {}
        one = await client.get("/v1/vulns/A-1")
        assert (one.status_code, one.content, one.headers["content-type"]) == (200, spaced, "application/json")
        for absent in ("A-3", "..", "x" * 300):
            assert (await client.get(f"/v1/vulns/{absent}")).status_code == 404

    @pytest.mark.parametrize("kind", [None, "application/x-www-form-urlencoded", "application/json; charset=utf-8"])
    async def test_media_types(self, client: httpx2.AsyncClient, engine: AsyncEngine, kind: str | None) -> None:
        """A query is JSON, whatever its media type says: pip-audit sends none, curl another one."""
        await served(engine, fixed("A-1", "2.0"))
        headers = {} if kind is None else {"content-type": kind}
        answer = await client.post("/v1/query", content=orjson.dumps(of("1.0")), headers=headers)
        assert [one["id"] for one in answer.json()["vulns"]] == ["A-1"]

    async def test_withdrawn(self, client: httpx2.AsyncClient, engine: AsyncEngine) -> None:
        """A withdrawn advisory is no answer to a query; its id still has it."""
        await served(engine, fixed("A-1", "2.0", withdrawn="2026-03-01T00:00:00Z"))
        assert await asked(client, of("1.0")) == [{}]
        assert (await client.get("/v1/vulns/A-1")).json()["withdrawn"] == "2026-03-01T00:00:00Z"

    async def test_nothing_imported(self, client: httpx2.AsyncClient) -> None:
        """Before anything was imported nobody is told that nothing is known."""
        for answer in (
            await client.post("/v1/query", json=of("1.0")),
            await client.post("/v1/querybatch", json={"queries": [of("1.0")]}),
            await client.get("/v1/vulns/A-1"),
        ):
            assert (answer.status_code, "osv import" in answer.json()["detail"]) == (404, True)

    @pytest.mark.parametrize(
        ("body", "status", "why"),
        [
            (b"{", 422, ""),
            (b"[" * 100_000, 400, ""),
            (b"[]", 422, ""),
            (b'{"queries": 1}', 422, "queries"),
            (orjson.dumps({"queries": [of("1")] * 1_001}), 422, "queries"),
            (orjson.dumps({"queries": [of("1"), {"version": "1"}]}), 400, "queries[1]: Only packages"),
            (orjson.dumps({"queries": [of("1", page_token="x")]}), 400, "queries[0]: "),
            (b'{"queries": ["' + b"x" * (1 << 20) + b'"]}', 413, "larger"),
        ],
    )
    async def test_refused(
        self, client: httpx2.AsyncClient, engine: AsyncEngine, body: bytes, status: int, why: str
    ) -> None:
        """What is no batch, or too much of one, is refused in words."""
        await served(engine, fixed("A-1", "2.0"))
        answer = await client.post("/v1/querybatch", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, why in answer.json()["detail"]) == (status, True), answer.text

    async def test_most_queries(self, client: httpx2.AsyncClient, engine: AsyncEngine) -> None:
        """A batch of 1,000 projects costs one query for fifty of them."""
        await served(engine, *(fixed(f"A-{number}", "2.0", f"thing-{number}") for number in range(1_000)))
        with counted_queries(engine) as queries:
            found = await asked(client, *(of("1.0", f"thing-{number}") for number in range(1_000)))
        assert [one["vulns"][0]["id"] for one in found] == [f"A-{number}" for number in range(1_000)]
        assert len(queries) == 21


class TestPages:
    """What is too much for one answer."""

    async def test_batch(self, client: httpx2.AsyncClient, engine: AsyncEngine) -> None:
        """Who goes on with the tokens is told every advisory of every query once."""
        names = [f"A-{number:04}" for number in range(1_500)]
        await served(engine, *(fixed(name, "2.0") for name in names))
        told: list[list[str]] = [[] for _ in range(5)]
        pending: dict[int, dict[str, Any]] = {place: of(f"1.{place}") for place in range(5)}
        rounds = 0
        while pending:
            rounds += 1
            found = await asked(client, *pending.values())
            assert sum(len(one.get("vulns", ())) for one in found) < osv_api._MOST_TOLD + osv_api._MOST_IDS
            for (place, query), one in zip(list(pending.items()), found, strict=True):
                told[place] += [vuln["id"] for vuln in one.get("vulns", ())]
                del pending[place]
                if "next_page_token" in one:
                    pending[place] = {**query, "page_token": one["next_page_token"]}
        assert told == [names] * 5
        assert rounds > 2

    async def test_bounded_work(self, client: httpx2.AsyncClient, engine: AsyncEngine) -> None:
        """A batch that would have very many advisories looked at is answered in part, and can go on."""
        await served(engine, *(fixed(f"A-{number}", "2.0") for number in range(1_000)))
        found = await asked(client, *(of(f"3.{number}") for number in range(100)))
        assert found[:20] == [{}] * 20
        assert all(set(one) == {"next_page_token"} for one in found[20:])
        again = [of("1.0", page_token=one["next_page_token"]) for one in found[20:21]]
        assert len((await asked(client, *again))[0]["vulns"]) == 1_000

    async def test_query(self, client: httpx2.AsyncClient, engine: AsyncEngine) -> None:
        """Whole records come by the hundred, by bytes too; the last page has no token."""
        await served(engine, *(fixed(f"A-{number:03}", "2.0") for number in range(250)))
        first = (await client.post("/v1/query", json=of("1.0"))).json()
        rest = (await client.post("/v1/query", json=of("1.0", page_token=first["next_page_token"]))).json()
        assert [len(page["vulns"]) for page in (first, rest)] == [200, 50]
        assert ("next_page_token" in rest, rest["vulns"][0]["id"]) == (False, "A-200")
        large = {"details": "x" * 3_000_000}
        await served(engine, *(fixed(f"A-{number}", "2.0", **large) for number in range(4)))
        first = (await client.post("/v1/query", json=of("1.0"))).json()
        assert [one["id"] for one in first["vulns"]] == ["A-0", "A-1"]


class TestJsonApi:
    """Contract python-index section 1.9.4."""

    async def test_vulnerabilities(self, client: httpx2.AsyncClient, engine: AsyncEngine, stable: Published) -> None:
        """The document of the latest release and that of each version list what that version is affected by."""
        await served(
            engine,
            fixed("A-1", "1.5", aliases=["CVE-1"], summary="Bad", details="Very bad"),
            record("A-2", {"versions": ["2.0"]}),
            fixed("A-3", "1.5", withdrawn="2026-03-01T00:00:00Z"),
        )
        whole = (await client.get("/root/stable/pypi/thing/json")).json()
        one = (await client.get("/root/stable/pypi/thing/1.0/json")).json()
        assert whole["vulnerabilities"] == one["vulnerabilities"]
        first, withdrawn = one["vulnerabilities"]
        assert first == {
            "id": "A-1",
            "source": "osv",
            "link": "https://osv.dev/vulnerability/A-1",
            "aliases": ["CVE-1"],
            "details": "Very bad",
            "summary": "Bad",
            "fixed_in": ["1.5"],
            "withdrawn": None,
        }
        assert (withdrawn["id"], withdrawn["withdrawn"]) == ("A-3", "2026-03-01T00:00:00Z")

    async def test_another_snapshot(
        self, client: httpx2.AsyncClient, reading: Reading, engine: AsyncEngine, stable: Published
    ) -> None:
        """What is in memory lists the advisories of another snapshot as soon as it was imported."""
        path = "/root/stable/pypi/thing/json"
        listening = asyncio.create_task(reading.resources.listener.run())
        try:
            assert (await client.get(path)).json()["vulnerabilities"] == []
            await served(engine, fixed("A-1", "1.5"))
            async with asyncio.timeout(10):
                while not (found := (await client.get(path)).json()["vulnerabilities"]):
                    await asyncio.sleep(0.01)
            assert [one["id"] for one in found] == ["A-1"]
        finally:
            listening.cancel()
            await asyncio.wait([listening])
