"""Who may read what."""

from __future__ import annotations

import asyncio

import httpx2
import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.auth.passwords import hash_password
from shared.auth.principal import Scope, Verb
from shared.catalogue.tables import Grant as GrantRow
from shared.objects.interface import ObjectStores
from shared.objects.keys import file_key
from tests.integration.reading.constants import PAGE, WHEEL
from tests.support.factories import make_account, make_default, make_index, make_token
from tests.support.published import Published
from tests.support.reading import Reading, basic, counted_queries


class TestRights:
    """Architecture sections 5.8 and 11.5; contract python-index section 1.7."""

    PATHS = ("/root/secret/+simple/", "/root/secret/+simple/thing/", "/root/secret/+tuf/metadata/timestamp.json")

    @pytest.fixture
    async def paths(self, reading: Reading, secret: Published) -> list[str]:
        """Everything that can be read of the private index."""
        await reading.news()
        file = secret.visible[WHEEL]
        key = file_key(file.sha256, file.file_name)
        files = [f"/root/secret/+f/{file.path}", f"/root/secret/+f/{file.path}.metadata", f"/root/secret/+tuf/{key}"]
        return [*self.PATHS, *files, "/root/secret/+simple/unknown/", "/root/secret/+simple/Thing"]

    async def test_stranger(self, reading: Reading, paths: list[str]) -> None:
        """Without credentials, or with wrong ones, everything of a private index is 401 with a challenge."""
        async with reading.client() as client:
            for path in paths:
                for wrong in (None, basic("root", "wrong").encode(), b"Bearer cmk_1nothing", b"Basic \xe9\xff"):
                    headers = [] if wrong is None else [(b"authorization", wrong)]
                    answer = await client.get(path, headers=headers)
                    assert answer.status_code == 401, path
                    assert answer.headers["www-authenticate"].startswith('Basic realm="')
                    assert answer.headers["cache-control"] == "no-store"

    async def test_known_without_the_right(self, reading: Reading, paths: list[str], engine: AsyncEngine) -> None:
        """Somebody else's token gives 403 everywhere, also for what does not exist: never 404."""
        token = await make_token(engine, "mallory")
        await reading.news()
        async with reading.client(token=token) as client:
            assert {(await client.get(path)).status_code for path in paths} == {403}

    async def test_token_for_another_index(self, reading: Reading, paths: list[str], engine: AsyncEngine) -> None:
        """The owner's own token is refused when it is for something else."""
        scope = Scope(index=(await make_index(engine, "root/other")).name, project=None, verbs=frozenset([Verb.READ]))
        token = await make_token(engine, "root", [scope])
        await reading.news()
        async with reading.client(token=token) as client:
            assert {(await client.get(path)).status_code for path in paths} == {403}

    async def test_reader(self, reading: Reading, paths: list[str], engine: AsyncEngine) -> None:
        """Who may read gets the same bytes, marked as private; twice, so that memory checks as well."""
        token = await make_token(engine)
        await reading.news()
        async with reading.client(token=token) as client:
            for path in [*paths[:6], *paths[:6]]:
                answer = await client.get(path)
                assert answer.status_code == 200, path
                assert answer.headers["cache-control"].startswith("private")
                assert "Authorization" in answer.headers["vary"]
            assert (await client.get(paths[6])).status_code == 404
        async with reading.client() as stranger:
            assert {(await stranger.get(path)).status_code for path in paths} == {401}, "memory must not leak"

    async def test_too_many_wrong_passwords(self, reading: Reading, paths: list[str], engine: AsyncEngine) -> None:
        """After ten wrong passwords of an account reads say 429 and when to try again, as writes do."""
        await make_account(engine, "ann", password_hash=hash_password("a long enough password"))
        await reading.news()
        async with reading.client() as client:
            wrong = {"authorization": basic("ann", "wrong")}
            answers = [await client.get(paths[0], headers=wrong) for _ in range(11)]
        assert [answer.status_code for answer in answers] == [401] * 10 + [429]
        assert 0 < int(answers[-1].headers["retry-after"]) <= 300

    async def test_wrong_credentials_on_an_open_read(self, client: httpx2.AsyncClient) -> None:
        """Where everyone may read, wrong credentials count as none."""
        for header in (basic("a", "b").encode(), b"Bearer nonsense", b"nonsense", b"", b"Basic \xe9\xff"):
            assert (await client.get(PAGE, headers=[(b"authorization", header)])).status_code == 200

    async def test_rights_change(self, reading: Reading, engine: AsyncEngine, stores: ObjectStores) -> None:
        """A revoked token ends with the next refresh of the directory, also for pages in memory."""
        published = Published(engine, stores, await make_index(engine, "root/secret", public=False))
        await published.publish(await published.upload(WHEEL))
        token = await make_token(engine)
        await reading.news()
        async with reading.client(token=token) as client:
            assert (await client.get("/root/secret/+simple/thing/")).status_code == 200
            async with engine.begin() as connection:
                await connection.exec_driver_sql("update token set revoked_at = now()")
            await reading.news()
            assert (await client.get("/root/secret/+simple/thing/")).status_code == 401

    async def test_index_that_is_closed(
        self, client: httpx2.AsyncClient, reading: Reading, stable: Published, engine: AsyncEngine
    ) -> None:
        """When everyone's right to read is taken away, what lies in memory is shut as well, and opens again with it."""
        paths = (PAGE, f"/root/stable/+f/{stable.visible[WHEEL].path}")
        assert {(await client.get(path)).status_code for path in (*paths, *paths)} == {200}
        async with engine.begin() as connection:
            await connection.exec_driver_sql("update \"grant\" set subject = 'root' where verb = 'read'")
        await reading.news()
        assert {(await client.get(path)).status_code for path in (*paths, *paths)} == {401}
        async with engine.begin() as connection:
            await connection.exec_driver_sql("update \"grant\" set subject = ':ANONYMOUS:' where verb = 'read'")
        await reading.news()
        answers = [await client.get(path) for path in paths]
        assert {answer.headers["cache-control"].split(",")[0] for answer in answers} == {"public"}

    async def test_file_of_another_index(
        self, client: httpx2.AsyncClient, reading: Reading, secret: Published, stable: Published
    ) -> None:
        """Knowing the digest of a private index's file gives nothing at a public index's address."""
        await reading.news()
        file = secret.visible[WHEEL]
        assert (await client.get(f"/root/stable/+f/{file.path}")).status_code == 404
        assert (await client.get(f"/+tuf/{file_key(file.sha256, file.file_name)}")).status_code == 404

    async def test_private_default_index(self, reading: Reading, engine: AsyncEngine, secret: Published) -> None:
        """The host's own addresses are switched off when the default index is private, for its readers too."""
        await make_default(engine, secret.index)
        token = await make_token(engine)
        await reading.news()
        async with reading.client(token=token) as client:
            for path in ("/simple/", "/simple/thing/", f"/+f/{secret.visible[WHEEL].path}", "/+tuf/timestamp.json"):
                assert (await client.get(path)).status_code == 404, path
            assert (await client.get("/root/secret/+simple/thing/")).status_code == 200

    async def test_what_was_made_elsewhere_a_moment_ago(self, reading: Reading, engine: AsyncEngine) -> None:
        """An index, a token and a right that this process was not told of yet are found before anything is refused."""
        await reading.news()
        fresh = await make_index(engine, "root/fresh", public=False)
        token = await make_token(engine)
        async with reading.client(token=token) as client:
            assert (await client.get("/root/fresh/+simple/")).status_code == 200
            other = await make_token(engine, "mallory")
            headers = {"authorization": basic("mallory", other)}
            assert (await client.get("/root/fresh/+simple/", headers=headers)).status_code == 403
            async with engine.begin() as connection:
                await connection.execute(
                    insert(GrantRow).values(index_id=fresh.id, subject="mallory", verb=Verb.READ.value)
                )
            assert (await client.get("/root/fresh/+simple/", headers=headers)).status_code == 200

    async def test_refusing_a_crowd_costs_few_looks(self, reading: Reading, engine: AsyncEngine) -> None:
        """Fifty strangers at once who are refused make the catalogue read two times, not fifty."""
        await reading.news()
        async with reading.client() as client:
            with counted_queries(engine) as queries:
                answers = await asyncio.gather(*(client.get(f"/root/none{n}/+simple/") for n in range(50)))
        assert {answer.status_code for answer in answers} == {404}
        assert sum("deployment" in query for query in queries) <= 2
