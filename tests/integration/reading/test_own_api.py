"""The reading services' parts of our own API."""

from __future__ import annotations

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.integration.reading.constants import WHEEL
from tests.support.factories import make_index, make_token
from tests.support.published import Published
from tests.support.reading import Reading

BASE = "/api/v1/indexes/root/stable"


class TestPublications:
    """What was published, newest first."""

    async def test_pages(self, client: httpx2.AsyncClient, stable: Published) -> None:
        """Cursors lead through all publications once, and each tells its changes."""
        other = await stable.upload("other-1.0.tar.gz")
        await stable.publish(other)
        await stable.publish(hidden=[other])
        first = (await client.get(f"{BASE}/publications", params={"limit": 2})).json()
        assert [line["serial"] for line in first["items"]] == [3, 2]
        assert first["items"][1]["journal"] == [
            {"project": "other", "version": "1.0", "action": "add other-1.0.tar.gz", "actor": "root"}
        ]
        assert first["items"][0]["changes"] == 1
        second = (await client.get(f"{BASE}/publications", params={"limit": 2, "after": first["next"]})).json()
        assert [line["serial"] for line in second["items"]] == [1]
        assert second["items"][0]["journal"][0]["action"] == f"add {WHEEL}"
        assert second["next"] is None

    @pytest.mark.parametrize(
        "query", ["limit=0", "limit=201", "limit=x", "after=%00", "after=e30", "after=eyJzZXJpYWwiOiIxIn0", "after=!"]
    )
    async def test_bad_parameters(self, client: httpx2.AsyncClient, query: str) -> None:
        """A limit out of bounds and a cursor that is none of ours are 422 problems."""
        answer = await client.get(f"{BASE}/publications?{query}")
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"


class TestHead:
    """What is current."""

    async def test_head(self, client: httpx2.AsyncClient, reading: Reading, stable: Published) -> None:
        """It is the head that this process serves, and follows it."""
        head = (await client.get(f"{BASE}/head")).json()
        assert (head["serial"], head["root_version"], head["timestamp_version"]) == (1, 1, 1)
        assert set(head) == {
            "serial", "root_version", "snapshot_version", "timestamp_version", "timestamp_expires_at", "committed_at",
        }  # fmt: skip
        await stable.publish(await stable.upload("other-1.0.tar.gz"))
        await reading.news()
        assert (await client.get(f"{BASE}/head")).json()["serial"] == 2

    async def test_without_publication(self, reading: Reading, engine: AsyncEngine) -> None:
        """An index that never published has no head and an empty list."""
        await make_index(engine, "root/new")
        await reading.news()
        async with reading.client() as client:
            assert (await client.get("/api/v1/indexes/root/new/head")).status_code == 404
            listed = await client.get("/api/v1/indexes/root/new/publications")
            assert listed.json() == {"items": [], "next": None}


class TestRights:
    """Architecture section 11.5."""

    PATHS = ("publications", "head", "downloads/thing", "downloads/nothing")

    async def test_private_index(self, reading: Reading, secret: Published, engine: AsyncEngine) -> None:
        """Who may not read an index learns nothing of it: 401 for nobody, 403 for somebody."""
        owner, other = await make_token(engine), await make_token(engine, "mallory")
        await reading.news()
        for token, expected in ((None, [401] * 4), (other, [403] * 4), (owner, [200, 200, 200, 404])):
            async with reading.client(token=token) as client:
                answers = [await client.get(f"/api/v1/indexes/root/secret/{path}") for path in self.PATHS]
            assert [answer.status_code for answer in answers] == expected
            if token is None:
                assert {answer.headers["www-authenticate"] for answer in answers} == {'Basic realm="countermark"'}

    async def test_open_index(self, client: httpx2.AsyncClient) -> None:
        """Wrong credentials count as none where everyone may read; unknown indexes and odd names are 404."""
        answer = await client.get(f"{BASE}/head", headers={"authorization": "Bearer nonsense"})
        assert answer.status_code == 200
        for there in ("root/none", "no one/x", "root/%00"):
            for path in self.PATHS:
                answer = await client.get(f"/api/v1/indexes/{there}/{path}")
                assert answer.status_code == 404, (there, path)
                assert answer.headers["content-type"] == "application/problem+json"
        assert (await client.delete(f"{BASE}/head")).status_code == 405


async def test_described(reading: Reading) -> None:
    """Each service describes its routes with their answers (OpenAPI)."""
    for service, paths in (
        (reading.index, ["publications", "head", "explain/{project}", "holds", "mirrors"]),
        (reading.download, ["downloads/{project}", "attestations/{sha256}/{filename}"]),
    ):
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(service.app), base_url="http://i.test") as client:
            described = (await client.get("/openapi.json")).json()
        ours = {name: path for name, path in described["paths"].items() if name.startswith("/api/v1/indexes/")}
        assert list(ours) == [f"/api/v1/indexes/{{owner}}/{{index}}/{path}" for path in paths]
        for path in ours.values():
            assert "$ref" in path["get"]["responses"]["200"]["content"]["application/json"]["schema"]
