"""devpi's documents over bases, who may read them, and `refresh`."""

from __future__ import annotations

from datetime import timedelta

import httpx2
import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.catalogue.tables import IndexRow
from shared.objects.interface import ObjectStores
from tests.integration.reading.constants import WHEEL
from tests.support.devpi_reading import HOST, base_on, basic, other_index, signed_in, url_of
from tests.support.factories import make_account, make_token
from tests.support.published import Published
from tests.support.reading import Reading

THING = "/root/stable/thing"


class TestBases:
    """Contract devpi section 15."""

    async def test_merged(
        self, devpi: httpx2.AsyncClient, reading: Reading, stable: Published, stores: ObjectStores, engine: AsyncEngine
    ) -> None:
        """Versions are those of all members; one on several shows the nearest, whose links name the owning index."""
        far = await other_index(engine, stores, "root/far", WHEEL, "thing-0.9.tar.gz", "only-1.0.tar.gz")
        near = await other_index(engine, stores, "root/near", WHEEL, "thing-2.0.tar.gz")
        for published, bases in ((stable, ("root/near", "root/gone")), (near, ("root/far", "root/stable"))):
            await base_on(engine, published, *bases)
        await reading.news()
        result = (await devpi.get(THING)).json()["result"]
        assert set(result) == {"0.9", "1.0", "2.0"}
        shown = [result["1.0"], *result["1.0"]["+shadowing"]]
        expected = [url_of(one.visible[WHEEL], str(one.index.name)) for one in (stable, near, far)]
        assert [one["+links"][0]["href"] for one in shown] == expected
        assert all("+shadowing" not in one for one in (*shown[1:], result["0.9"], result["2.0"]))
        assert (await devpi.get(f"{THING}/1.0")).json()["result"] == result["1.0"]
        assert (await devpi.get(f"{THING}/0.9")).json()["result"] == result["0.9"]
        assert set((await devpi.get(f"{THING}?ignore_bases=")).json()["result"]) == {"1.0"}
        assert (await devpi.get(f"{THING}/0.9?ignore_bases=")).status_code == 404
        # Known through a base alone: no versions of its own, and no error, as devpi has it.
        assert (await devpi.get("/root/stable/only/?ignore_bases=")).json()["result"] == {}
        assert (await devpi.get("/root/stable/none/?ignore_bases=")).status_code == 404

    async def test_mirrors(
        self, devpi: httpx2.AsyncClient, reading: Reading, stable: Published, stores: ObjectStores, engine: AsyncEngine
    ) -> None:
        """A mirror adds nothing to a project that a stage has, and has nothing of its own yet."""
        await other_index(engine, stores, "root/pypi", "thing-9.0.tar.gz", "free-1.0.tar.gz")
        async with engine.begin() as connection:
            await connection.execute(update(IndexRow).where(IndexRow.name == "pypi").values(type="mirror"))
        await base_on(engine, stable, "root/pypi")
        await reading.news()
        assert set((await devpi.get(THING)).json()["result"]) == {"1.0"}
        assert (await devpi.get(f"{THING}/9.0")).status_code == 404
        assert set((await devpi.get("/root/stable/free")).json()["result"]) == {"1.0"}

    async def test_a_private_base(
        self, devpi: httpx2.AsyncClient, reading: Reading, stable: Published, stores: ObjectStores, engine: AsyncEngine
    ) -> None:
        """What a base shows is for whoever may read the index that was asked; a public one shows nothing of it."""
        await other_index(engine, stores, "root/closed", "hidden-1.0.tar.gz", public=False)
        above = await other_index(engine, stores, "a/above", "thing-1.0.tar.gz", public=False)
        for published in (stable, above):
            await base_on(engine, published, "root/closed")
        token = await make_token(engine, "a")
        await reading.news()
        assert (await devpi.get("/a/above/hidden", headers=signed_in("a", token))).status_code == 200
        assert (await devpi.get("/root/closed/hidden", headers=signed_in("a", token))).status_code == 403
        assert (await devpi.get("/root/closed/hidden")).status_code == 401
        assert (await devpi.get("/root/stable/hidden")).status_code == 404


class TestRights:
    """Architecture section 11.5; contract devpi sections 2 and 23."""

    PATHS = ("thing", "Thing", "thing/1.0", "nothing", "nothing/1.0")

    @pytest.mark.parametrize("path", PATHS)
    async def test_strangers(
        self, devpi: httpx2.AsyncClient, reading: Reading, secret: Published, engine: AsyncEngine, path: str
    ) -> None:
        """Of a private index nothing is told: 401 without credentials, 403 to others, whatever is asked for."""
        await make_account(engine, "eve")
        token = await make_token(engine, "eve")
        await reading.news()
        answer = await devpi.get(f"/root/secret/{path}")
        assert (answer.status_code, list(answer.json())) == (401, ["message"])
        assert answer.headers["www-authenticate"].startswith("Basic")
        assert "location" not in answer.headers
        answer = await devpi.get(f"/root/secret/{path}", headers=signed_in("eve", token))
        assert (answer.status_code, list(answer.json())) == (403, ["message"])

    async def test_who_may_read(
        self, devpi: httpx2.AsyncClient, reading: Reading, secret: Published, engine: AsyncEngine
    ) -> None:
        """Credentials are taken in devpi's header and in the usual one."""
        token = await make_token(engine, "root")
        await reading.news()
        for headers in (signed_in("root", token), {"authorization": "Basic " + basic("root", token)}):
            answer = await devpi.get("/root/secret/thing", headers=headers)
            assert list(answer.json()["result"]) == ["1.0"]

    async def test_a_token_that_ended(
        self, devpi: httpx2.AsyncClient, reading: Reading, secret: Published, engine: AsyncEngine
    ) -> None:
        """The devpi client is told where to log in again, after which it drops its token."""
        token = await make_token(engine, "root", lifetime=timedelta(seconds=-1))
        await reading.news()
        answer = await devpi.get("/root/secret/thing", headers=signed_in("root", token))
        assert (answer.status_code, answer.headers["location"]) == (401, f"{HOST}/+login")


class TestRefresh:
    """Contract devpi sections 3, 14 and 23."""

    async def test_refresh(self, devpi: httpx2.AsyncClient) -> None:
        """Whoever may read is sent to the page."""
        answer = await devpi.post("/root/stable/+simple/Thing/refresh")
        assert answer.status_code == 302
        assert answer.headers["location"] == f"{HOST}/root/stable/+simple/thing/"
        assert (await devpi.get(answer.headers["location"], headers={"accept": "*/*"})).status_code == 200

    async def test_refused(self, devpi: httpx2.AsyncClient, secret: Published, reading: Reading) -> None:
        """Who may not read is refused, and other methods are as well."""
        await reading.news()
        assert (await devpi.post("/root/secret/+simple/thing/refresh")).status_code == 401
        assert (await devpi.post("/root/none/+simple/thing/refresh")).status_code == 404
        assert (await devpi.put("/root/stable/+simple/thing/refresh")).status_code == 405
        assert (await devpi.post("/root/stable/+simple/thing/")).status_code == 405
