"""What the API tells of what is held back, beside what pages show. Contract python-index sections 5.3 and 6."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import IndexName
from gateway.policies import NewExemption, Policies
from shared.auth import directory as directory_module
from shared.auth.principal import Scope, Verb
from shared.catalogue.listener import Listener
from shared.clock import SystemClock
from shared.objects.interface import ObjectStores
from tests.integration.reading.constants import JSON, WHEEL
from tests.integration.reading.mirror_site import BASED, DIRECT, MIRRORS, NEW, OLD, Site, mirrored
from tests.support.factories import make_token, now
from tests.support.reading import open_reading
from tests.support.upstream import Fault, Upstream

API = "/api/v1/indexes/a/top"
MIRROR, TOP = IndexName("root", "pypi"), IndexName("a", "top")
UNDATED, PRE = "thing-3.0.tar.gz", "thing-4.0rc1.tar.gz"


def recently(**ago: float) -> str:
    """Return a time as upstreams write it."""
    return (now() - timedelta(**ago)).isoformat().replace("+00:00", "Z")


@pytest.fixture
async def site(engine: AsyncEngine, stores: ObjectStores) -> AsyncIterator[Site]:
    """A mirror of an upstream with old, new and undated releases, and a stage based on it."""
    upstream = Upstream()
    upstream.add("thing", OLD)
    upstream.add("thing", WHEEL, fields={"yanked": "broken"})
    upstream.add("thing", NEW, fields={"upload-time": recently(hours=1)})
    upstream.add("thing", UNDATED, fields={"upload-time": None})
    upstream.add("thing", PRE, fields={"upload-time": recently(days=3)})
    async with mirrored(Site, engine, open_reading(engine, stores, mirrors=MIRRORS), upstream) as site:
        yield site


async def told(site: Site, path: str = f"{API}/explain/thing", **how: Any) -> dict[str, Any]:
    """Return what the API answers; the pages that it asks for are kept as well when this returns."""
    await site.family.reading.news()
    answer = await site.client.get(path, **how)
    await site.at_rest()
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def policies(site: Site) -> Policies:
    """Return the gateway's writer."""
    return Policies(site.engine, SystemClock(), actor="ann")


def shown(document: dict[str, Any]) -> set[str]:
    """Return the files that an explanation says are shown."""
    return {file["filename"] for file in document["files"] if file["shown"]}


def rules(document: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    """Return which rule of which index hides which file."""
    hidden = (file for file in document["files"] if not file["shown"])
    return {file["filename"]: (file["hidden"]["rule"], file["hidden"]["index"]) for file in hidden}


class TestExplain:
    """One project."""

    async def test_it_says_what_the_page_shows(self, site: Site) -> None:
        """With and without rules: files that are shown are on the page, all others have a rule and its index."""
        for policy in ({}, {"min_age": 86_400}, {"min_age": 864_000}, {"denied": {"th*": "no"}}):
            await site.set("a/top", policy=policy)
            page = await site.get(BASED)
            names = {file["filename"] for file in page.json()["files"]} if page.status_code == 200 else set()
            document = await told(site)
            assert shown(document) == names
            assert document["found"] is bool(names)
        await site.set("a/top", policy={"min_age": 86_400})
        await site.set("root/pypi", policy={"min_age": 7200})
        document = await told(site)
        assert rules(document) == {NEW: ("too-new", "a/top"), UNDATED: ("undated", "root/pypi")}
        new = next(file for file in document["files"] if file["filename"] == NEW)
        until = now() - timedelta(hours=1) + timedelta(days=1)
        assert new["hidden"]["until"][:15] == until.isoformat()[:15]
        assert new["hidden"]["reason"] == "files must be 1 day old here"

    async def test_it_says_what_each_kind_of_client_takes(self, site: Site) -> None:
        """The newest that is neither yanked nor a pre-release; pre-releases where they are allowed; what is signed."""
        await site.set("a/top", policy={"min_age": 86_400})
        document = await told(site)
        latest = {client["kind"]: client["latest"] for client in document["clients"]}
        assert latest == {"installers": "0.9", "installers-pre": "4.0rc1", "countermark": None}
        assert document["without_rules"] == "3.0"
        assert [file["version"] for file in document["files"]] == ["4.0rc1", "3.0", "2.0", "1.0", "0.9"]

    async def test_one_release(self, site: Site) -> None:
        """However it is written; one that there is not has no files."""
        document = await told(site, f"{API}/explain/Thing?version=v2.0.0")
        assert [file["filename"] for file in document["files"]] == [NEW]
        assert (await told(site, f"{API}/explain/thing?version=9"))["found"] is False

    async def test_what_clients_take_of_one_release(self, site: Site) -> None:
        """That release or nothing, never another one: whoever pins it gets it, a pre-release and what is yanked too."""
        await site.set("a/top", policy={"min_age": 86_400})
        for version, taken, free in (("2", None, "2.0"), ("4.0rc1", "4.0rc1", "4.0rc1"), ("9", None, None)):
            document = await told(site, f"{API}/explain/thing?version={version}")
            latest = {client["kind"]: client["latest"] for client in document["clients"]}
            assert latest == {"installers": taken, "installers-pre": taken, "countermark": None}
            assert document["without_rules"] == free

    @pytest.mark.parametrize("path", ["explain/a b", "explain/thing?version=one", "explain/-", "explain/x?version="])
    async def test_what_is_none_is_refused(self, site: Site, path: str) -> None:
        """In words."""
        answer = await site.client.get(f"{API}/{path}")
        assert (answer.status_code, bool(answer.json()["detail"])) == (400, True)

    async def test_a_private_name_is_kept_from_the_upstream(self, site: Site) -> None:
        """The stage that holds it shuts the mirror out, unless its whitelist opens the name; both are told."""
        await site.family.publish("a/top", "thing-0.1.tar.gz", b"private")
        document = await told(site)
        states = [(member["index"], member["state"], member["by"]) for member in document["members"]]
        assert states == [("a/top", "shows", None), ("root/pypi", "shut-out", "a/top")]
        assert (shown(document), document["hidden"]) == ({"thing-0.1.tar.gz"}, 0)
        assert site.upstream.asked["/simple/thing/"] == 0
        assert {one["kind"]: one["latest"] for one in document["clients"]}["countermark"] == "0.1"
        await site.set("a/top", mirror_whitelist=["thing"])
        document = await told(site)
        assert (document["whitelist_opens"], len(shown(document))) == (True, 6)

    async def test_a_name_that_a_rule_hides_is_not_asked_for(self, site: Site) -> None:
        """Which rule, of which index, and why."""
        for policy, rule in (
            ({"reserved": ["thing"]}, "reserved"),
            ({"denied": {"th*": "known to steal"}}, "denied"),
            ({"allowed": ["other"]}, "not-allowed"),
            ({"quarantined": {"thing": "looked at"}}, "quarantined"),
        ):
            await site.set("a/top", policy=policy)
            document = await told(site)
            member = document["members"][1]
            assert (member["state"], member["hidden"]["rule"], member["hidden"]["index"]) == ("hidden", rule, "a/top")
            assert document["found"] is False
        assert site.upstream.asked["/simple/thing/"] == 0

    async def test_an_upstream_that_fails_is_told(self, site: Site) -> None:
        """Since when, and what is shown meanwhile; where nothing is kept, that nobody knows."""
        await told(site)
        await site.expire()
        site.upstream.down = Fault(status=503)
        upstream = (await told(site))["members"][1]["upstream"]
        assert upstream["url"] == f"{site.url}/simple/"
        assert upstream["stale_since"] is not None
        assert upstream["failing_since"] is not None
        assert upstream["failure"] == "it answers 503"
        document = await told(site, f"{API}/explain/other")
        assert (document["found"], document["members"][1]["state"]) == (False, "away")
        mirror = (await told(site, f"{API}/mirrors"))["items"][0]
        assert (mirror["index"], mirror["projects"], mirror["failing"]) == ("root/pypi", 1, 1)
        assert mirror["failing_since"] is not None

    async def test_an_unknown_project_is_explained_as_well(self, site: Site) -> None:
        """Nobody has it."""
        document = await told(site, f"{API}/explain/nothing")
        assert [member["state"] for member in document["members"]] == ["nothing", "nothing"]

    async def test_an_exemption_shows_one_release(self, site: Site) -> None:
        """It is told with its owner; the rule of another index stays."""
        await site.set("a/top", policy={"min_age": 86_400})
        new = NewExemption("thing", "2.0", "a fix", now() + timedelta(days=1))
        await policies(site).exempt(TOP, new)
        document = await told(site)
        assert NEW in shown(document)
        assert [(one["index"], one["owner"], one["version"]) for one in document["exemptions"]] == [
            ("a/top", "ann", "2.0")
        ]
        await site.set("root/pypi", policy={"min_age": 86_400})
        assert rules(await told(site))[NEW] == ("too-new", "root/pypi")

    async def test_a_hosted_file_that_is_held_for_review_is_told(self, site: Site) -> None:
        """It hides the mirror's file of its name as well, where a whitelist lets the mirror in."""
        await site.set("a/top", mirror_whitelist=["thing"])
        file = await site.family.publish("a/top", OLD, b"private")
        await site.family.hide("a/top", file, held_at=now(), held_reason="looked at")
        names = await site.names(BASED)
        document = await told(site)
        assert OLD not in names
        assert shown(document) == set(names)
        assert rules(document) == {OLD: ("held", None)}


class TestWhoMayKnow:
    """Private indexes and private bases."""

    @pytest.mark.parametrize("path", ["explain/thing", "holds", "mirrors"])
    async def test_readers_of_the_index_alone(self, site: Site, path: str) -> None:
        """401 for nobody, 403 for strangers."""
        await site.family.make("a/shut", "root/pypi", public=False)
        await site.family.reading.news()
        url = f"/api/v1/indexes/a/shut/{path}"
        assert (await site.client.get(url)).status_code == 401
        stranger = await make_token(site.engine, "stranger")
        async with site.family.reading.client(token=stranger) as client:
            assert (await client.get(url)).status_code == 403
            assert (await client.get(f"/api/v1/indexes/a/nothing/{path}")).status_code == 404

    async def test_a_private_base_is_not_told(self, site: Site) -> None:
        """Neither its name nor its upstream, its words nor what it holds back: only that there is one."""
        await site.family.make("b/hidden", kind="mirror", public=False)
        await site.set("b/hidden", mirror_url=f"{site.url}/simple/", policy={"denied": {"other": "secret words"}})
        await site.family.make("a/shut", "b/hidden", public=False)
        await site.set("a/shut", policy={"min_age": 86_400})
        only = Scope(IndexName("a", "shut"), None, frozenset({Verb.READ}))
        secret = await make_token(site.engine, "a", [only])
        async with site.family.reading.client(token=secret) as client:
            for project in ("thing", "other"):
                await site.family.reading.news()
                answer = await client.get(f"/api/v1/indexes/a/shut/explain/{project}")
                assert answer.status_code == 200, answer.text
                assert "hidden/" not in answer.text
                assert "b/hidden" not in answer.text
                assert "secret words" not in answer.text
                assert site.url not in answer.text
                assert NEW not in answer.text
            assert (await client.get("/api/v1/indexes/a/shut/mirrors")).json()["items"] == []
            assert (await client.get("/api/v1/indexes/a/shut/holds")).json()["items"] == []


class TestHolds:
    """All that is held back of what is kept."""

    async def test_releases_are_listed_with_their_rule(self, site: Site) -> None:
        """And nothing of projects that nobody asked for, nor of a name that is private here."""
        assert (await told(site, f"{API}/holds")) == {"items": [], "next": None}
        await site.set("a/top", policy={"min_age": 86_400})
        assert (await told(site, f"{API}/holds"))["items"] == []
        await told(site)
        found = (await told(site, f"{API}/holds"))["items"]
        assert {(item["version"], item["hidden"]["rule"], item["mirror"]) for item in found} == {
            ("2.0", "too-new", "root/pypi"),
            ("3.0", "undated", "root/pypi"),
        }
        await policies(site).exempt(TOP, NewExemption("thing", None, "a fix", now() + timedelta(days=1)))
        assert (await told(site, f"{API}/holds"))["items"] == []
        await site.set("a/top", policy={"quarantined": {"thing": "looked at"}})
        (item,) = (await told(site, f"{API}/holds"))["items"]
        assert (item["project"], item["version"], item["hidden"]["reason"]) == ("thing", None, "looked at")
        await site.family.publish("a/top", "thing-0.1.tar.gz", b"private")
        assert (await told(site, f"{API}/holds"))["items"] == []

    async def test_cursors_lead_through_all(self, site: Site) -> None:
        """Each project once, by name."""
        names = [f"p{number}" for number in range(7)]
        for name in names:
            site.upstream.add(name, f"{name}-1.0.tar.gz", fields={"upload-time": recently(hours=1)})
            await site.get(f"/root/pypi/+simple/{name}/")
        await site.set("root/pypi", policy={"min_age": 7200})
        found, after = [], None
        while True:
            query = {"limit": 3} | ({"after": after} if after else {})
            page = await told(site, "/api/v1/indexes/root/pypi/holds", params=query)
            found += [item["project"] for item in page["items"]]
            if (after := page["next"]) is None:
                break
        assert found == names
        bad = await site.client.get("/api/v1/indexes/root/pypi/holds?after=x")
        assert bad.status_code == 422


@asynccontextmanager
async def listening(site: Site, database: str) -> AsyncIterator[httpx2.AsyncClient]:
    """Open another process, which is told of changes by the catalogue alone, and looks by itself once a minute."""
    reading = open_reading(site.engine, site.family.stores, mirrors=MIRRORS)
    listener = Listener(database, tick=timedelta(minutes=1))
    listener.subscribe(directory_module.CHANNEL, reading.resources.directory.wake)
    await reading.news()
    task = asyncio.create_task(listener.run())
    await asyncio.sleep(0.3)
    try:
        async with reading.client() as client:
            yield client
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_listed(client: httpx2.AsyncClient, path: str, name: str, *, listed: bool) -> float:
    """Return the seconds until a page lists a file, or lists it no more."""
    began = time.perf_counter()
    async with asyncio.timeout(10):
        while (name in (await client.get(path, headers={"accept": JSON})).text) is not listed:
            await asyncio.sleep(0.01)
    return time.perf_counter() - began


async def test_a_change_shows_at_once_in_every_process(site: Site, database: str) -> None:
    """A policy, an exemption and its revocation: in pages that two processes have in memory."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(listening(site, database)) for _ in range(2)]

        async def seen(*, listed: bool) -> None:
            for client in clients:
                for path in (DIRECT, BASED):
                    assert await until_listed(client, path, NEW, listed=listed) < 5

        await seen(listed=True)
        await policies(site).change(MIRROR, {"min_age": "1d"})
        await seen(listed=False)
        new = NewExemption("thing", "2.0", "a fix", now() + timedelta(days=1))
        made = await policies(site).exempt(MIRROR, new)
        await seen(listed=True)
        await policies(site).revoke(MIRROR, made.id)
        await seen(listed=False)


async def test_an_exemption_ends_by_the_clock_alone(site: Site) -> None:
    """Nobody tells the process, and the page in its memory is put together again all the same."""
    await site.set("root/pypi", policy={"min_age": 86_400})
    end = SystemClock().now() + timedelta(seconds=1.5)
    await policies(site).exempt(MIRROR, NewExemption("thing", "2.0", "a fix", end))
    assert NEW in await site.names()
    await until_listed(site.client, DIRECT, NEW, listed=False)
    assert SystemClock().now() >= end
    assert NEW not in (await site.client.get(DIRECT, headers={"accept": JSON})).text
