"""An index as it stood at a moment: hosted, mirrored, and both under one address. ADR 0030."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from services.index.settings import Limits
from shared.catalogue.tables import Publication
from shared.objects.interface import ObjectStores
from shared.settings import Mirrors
from tests.integration.reading.constants import JSON, METADATA, WHEEL
from tests.integration.reading.family import Family
from tests.support.factories import MadeFile, make_token, now
from tests.support.reading import counted_queries, open_reading, served
from tests.support.upstream import Upstream

START = datetime(2024, 1, 1, tzinfo=UTC)
OLD, MIDDLE, NEW = "thing-0.9.tar.gz", WHEEL, "thing-2.0.tar.gz"
LIMITS = Limits(list_seconds=0.0)


@dataclass(slots=True)
class Past:
    """Indexes whose publications are dated by the test: the first on the first day of 2024, then day by day."""

    engine: AsyncEngine
    family: Family
    upstream: Upstream
    client: httpx2.AsyncClient
    days: int = 0

    async def publish(self, name: str, file_name: str, content: bytes = b"bytes") -> MadeFile:
        """Publish a file on the next day."""
        file = await self.family.publish(name, file_name, content, METADATA if file_name == WHEEL else None)
        await self.date(name)
        return file

    async def date(self, name: str) -> None:
        """Date the newest publication of an index on the next day."""
        published = self.family.indexes[name]
        batch = (Publication.index_id == published.index.id, Publication.serial == published.serial)
        async with self.engine.begin() as connection:
            at = START + timedelta(days=self.days)
            await connection.execute(update(Publication).where(*batch).values(committed_at=at))
        self.days += 1

    async def set(self, name: str, **settings: object) -> None:
        """Change settings of an index."""
        await self.family.set(name, **settings)

    async def get(self, name: str, at: str | None, rest: str = "thing/", accept: str = JSON) -> httpx2.Response:
        """Ask for a page, as it is without a moment."""
        await self.family.reading.news()
        return await self.client.get(address(name, at, rest), headers={"accept": accept})

    async def names(self, name: str, at: str | None, rest: str = "thing/") -> list[str]:
        """Return the files that a page lists in every form; its versions are those of the files."""
        answer = await self.get(name, at, rest)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        files = [file["filename"] for file in page["files"]]
        html = (await self.get(name, at, rest, "text/html")).text
        assert re.findall(r">([^<>]+)</a>", html) == files
        assert sorted(page["versions"]) == sorted({re.split("[-]|.tar", file)[1] for file in files})
        return sorted(files)

    async def listed(self, name: str, at: str | None) -> list[str]:
        """Return the projects that an index lists in every form."""
        listed = [project["name"] for project in (await self.get(name, at, "")).json()["projects"]]
        html = (await self.get(name, at, "", "text/html")).text
        assert re.findall(r">([^<>]+)</a>", html) == listed
        return listed


def address(name: str, at: str | None, rest: str = "thing/") -> str:
    """Return the address of a page."""
    return f"/{name}/+simple/{rest}" if at is None else f"/{name}/+at/{at}/+simple/{rest}"


def day(number: int) -> str:
    """Return noon of a day after the first publication's."""
    return f"{START + timedelta(days=number, hours=12):%Y-%m-%dT%H:%M:%SZ}"


@pytest.fixture
async def past(engine: AsyncEngine, stores: ObjectStores) -> AsyncIterator[Past]:
    """A stage, a mirror with files of 2022 and 2023 and one without a date, and a stage based on both."""
    upstream = Upstream()
    for name, uploaded_at in ((OLD, "2022-01-01T00:00:00.5Z"), (MIDDLE, "2023-01-01T00:00:00Z"), (NEW, None)):
        upstream.add("cached", name.replace("thing", "cached"), fields={"upload-time": uploaded_at})
    reading = open_reading(engine, stores, LIMITS, mirrors=Mirrors(patience=0.3))
    family = Family(engine, reading, stores)
    await family.make("root/pypi", kind="mirror")
    await family.make("a/base")
    await family.make("a/top", "a/base", "root/pypi")
    async with served(upstream) as url, reading.client() as client:
        past = Past(engine, family, upstream, client)
        await past.set("root/pypi", mirror_url=f"{url}/simple/")
        yield past


async def test_hosted_files_are_there_since_their_publication(past: Past) -> None:
    """A page shows what was published by then, whatever its files say of their upload; the newest shows all."""
    for file_name in (OLD, MIDDLE, NEW):
        await past.publish("a/base", file_name)
    assert await past.names("a/base", "2023-12-31") == []
    assert await past.names("a/base", "2024-01-01") == [OLD]
    assert await past.names("a/base", day(0)) == [OLD]
    assert await past.names("a/base", day(1)) == [OLD, MIDDLE]
    assert await past.names("a/base", day(2)) == await past.names("a/base", None)
    plain, then = [(await past.get("a/base", at)).json() for at in (None, day(2))]
    assert then["versions"] == plain["versions"]
    absent = await past.get("a/base", day(2), "nothing/")
    assert absent.status_code == 404


async def test_links_lead_to_the_index_itself(past: Past) -> None:
    """From the page, from its address without a slash, and for devpi's clients; bytes and metadata come from there."""
    await past.publish("a/base", WHEEL, b"a wheel")
    at = day(0).replace(":", "%3A")
    for rest, headers in (("thing/", {}), ("thing", {}), ("thing/", {"x-devpi-absolute-urls": ""})):
        answer = await past.client.get(address("a/base", at, rest), headers={"accept": JSON, **headers})
        assert answer.status_code == 200
        [file] = answer.json()["files"]
        found = answer.url.join(file["url"])
        assert found.path.startswith("/a/base/+f/")
        assert (await past.client.get(str(found))).content == b"a wheel"
        assert (await past.client.get(f"{found}.metadata")).content == METADATA
    html = (await past.get("a/base", at, accept="text/html")).text
    [link] = re.findall(r'href="([^"#]+)#', html)
    assert answer.url.join(link).path == found.path
    beside = found.path.replace("/+f/", f"/+at/{day(0)}/+f/")
    assert (await past.client.get(beside)).content == b"a wheel"


async def test_other_spellings_lead_to_the_page(past: Past) -> None:
    """A name is redirected to its normalised form, below the same moment."""
    await past.publish("a/base", WHEEL)
    answer = await past.get("a/base", "2024-01-02", "Thing/")
    assert (answer.status_code, answer.headers["location"]) == (301, "../thing/")
    answer = await past.client.get("/a/base/+at/2024-01-02/+simple")
    assert (answer.status_code, answer.headers["location"]) == (301, "+simple/")


async def test_marks_count_as_of_now(past: Past) -> None:
    """What was removed does not come back, and a project in quarantine lists nothing in any past."""
    for file_name in (OLD, MIDDLE, NEW):
        file = await past.publish("a/base", file_name)
    before = await past.get("a/base", day(3))
    await past.family.hide("a/base", file, removed_at=now())
    await past.date("a/base")
    assert await past.names("a/base", day(2)) == [OLD, MIDDLE]
    after = await past.get("a/base", day(2))
    assert after.headers["etag"] != before.headers["etag"]
    await past.family.quarantine("a/base", "looks bad")
    await past.date("a/base")
    page = (await past.get("a/base", day(2))).json()
    assert (page["files"], page["project-status"]["status"]) == ([], "quarantined")
    assert await past.listed("a/base", day(2)) == []


async def test_a_file_that_was_put_away_is_there_since_the_first_time(past: Past) -> None:
    """A hold that ended leaves no trace."""
    file = await past.publish("a/base", OLD)
    await past.family.hide("a/base", file, held_at=now())
    await past.date("a/base")
    await past.family.indexes["a/base"].mark(file, held_at=None)
    await past.family.indexes["a/base"].publish(file)
    await past.date("a/base")
    assert await past.names("a/base", day(0)) == [OLD]
    assert await past.listed("a/base", day(0)) == ["thing"]


async def test_mirrored_files_are_there_since_their_upstream_has_them(past: Past) -> None:
    """Directly and through a base; a file without a date never was there."""
    for name in ("root/pypi", "a/top"):
        assert await past.names(name, "2021-06-01", "cached/") == []
        assert await past.names(name, "2022-01-01T00:00:00.500000Z", "cached/") == ["cached-0.9.tar.gz"]
        assert await past.names(name, "2022-01-01T00:00:00.499999Z", "cached/") == []
        both = ["cached-0.9.tar.gz", "cached-1.0-py3-none-any.whl"]
        assert await past.names(name, "2026-01-01", "cached/") == both
        page = await past.get(name, "2026-01-01", "cached/")
        for file in page.json()["files"]:
            assert (await past.client.get(str(page.url.join(file["url"])))).status_code == 200
    assert past.upstream.asked["/simple/cached/"] == 1


async def test_rules_count_as_of_now(past: Past) -> None:
    """What a rule holds back today is held back in every past."""
    assert len(await past.names("a/top", "2026-01-01", "cached/")) == 2
    between = now() - datetime(2022, 7, 1, tzinfo=UTC)
    await past.set("a/top", policy={"min_age": int(between.total_seconds())})
    assert await past.names("a/top", "2026-01-01", "cached/") == ["cached-0.9.tar.gz"]
    await past.set("a/top", policy={"denied": {"cached": "no"}})
    assert (await past.get("a/top", "2026-01-01", "cached/")).status_code == 404


async def test_names_belong_to_whom_they_belong_now(past: Past) -> None:
    """A name that a stage took since is no mirror's in the past either: nobody is sent to look for it there."""
    assert len(await past.names("a/top", "2023-06-01", "cached/")) == 2
    await past.publish("a/base", "cached-3.0.tar.gz")
    assert await past.names("a/top", "2023-06-01", "cached/") == []
    assert await past.names("a/top", day(0), "cached/") == ["cached-3.0.tar.gz"]
    assert await past.listed("a/top", "2023-06-01") == []


async def test_of_equal_names_the_nearest_file_counts(past: Past) -> None:
    """A base's file of a name does not show where a nearer one has the name since: its address leads nowhere."""
    await past.publish("a/base", OLD, b"of the base")
    await past.publish("a/top", OLD, b"nearer")
    assert await past.names("a/base", day(0)) == [OLD]
    assert await past.names("a/top", day(0)) == []
    page = await past.get("a/top", day(1))
    [file] = page.json()["files"]
    assert (await past.client.get(str(page.url.join(file["url"])))).content == b"nearer"


async def test_lists_agree_with_pages(past: Past) -> None:
    """A project is listed when its page lists a file; of mirrors those of which a page is kept."""
    await past.publish("a/base", OLD)
    await past.publish("a/top", "other-1.0.tar.gz")
    assert await past.listed("a/top", day(1)) == ["other", "thing"]
    await past.get("root/pypi", None, "cached/")
    for at, names in (("2021-06-01", []), ("2022-06-01", ["cached"]), (day(0), ["cached", "thing"])):
        assert await past.listed("a/top", at) == names
        for name in ("cached", "thing", "other"):
            assert (name in names) == bool(await past.names("a/top", at, f"{name}/"))
    assert await past.listed("a/base", "2023-01-01") == []
    assert await past.listed("a/base", day(0)) == ["thing"]
    assert await past.listed("root/pypi", "2022-06-01") == ["cached"]


@pytest.mark.parametrize(
    "moment",
    [
        *("yesterday", "2024", "2024-1-1", "2024-13-01", "2024-02-30", "2024-01-01T00:00Z", "2024-01-01T00:00:00"),
        *("2024-01-01T00:00:00%2B00:00", "2024-01-01t00:00:00z", "2024-01-01%2000:00:00Z", "0000-01-01", "1704067200"),
        *("2024-01-01T00:00:60Z", "2024-01-01T24:00:00Z", "２０２４-01-01", "2024-01-01T00:00:00.1234567Z"),
    ],
)
async def test_what_is_no_moment_is_refused(past: Past, moment: str) -> None:
    """With one answer that says how a moment is written."""
    answer = await past.get("a/base", moment)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert "YYYY-MM-DDThh:mm:ssZ" in answer.json()["detail"]


async def test_the_future_is_refused(past: Past) -> None:
    """What is to come cannot be shown; and below a moment there are simple pages alone."""
    answer = await past.get("a/base", f"{now() + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert "has not come yet" in answer.json()["detail"]
    assert (await past.get("a/base", f"{now():%Y-%m-%dT%H:%M:%SZ}", "")).status_code == 200
    for path in ("/a/base/+at/2024-01-01/", "/a/base/+at/2024-01-01/pypi/thing/json", "/a/base/+at/2024-01-01/+tuf/x"):
        assert (await past.client.get(path)).status_code == 404
    assert (await past.client.post("/a/base/+at/2024-01-01/+simple/")).status_code == 405
    assert (await past.client.get("/a/none/+at/2024-01-01/+simple/")).status_code == 404


async def test_rights_are_those_of_the_index(past: Past) -> None:
    """Nothing is said of a private index to whoever may not read it, not even that a moment is none."""
    await past.family.make("a/secret", public=False)
    await past.publish("a/secret", WHEEL)
    for at in (day(0), "yesterday"):
        answer = await past.get("a/secret", at)
        assert (answer.status_code, "www-authenticate" in answer.headers) == (401, True)
    token = await make_token(past.engine, "a")
    async with past.family.reading.client(token=token) as known:
        await past.family.reading.news()
        answer = await known.get(address("a/secret", day(past.days)), headers={"accept": JSON})
        assert [file["filename"] for file in answer.json()["files"]] == [WHEEL]
        assert "private" in answer.headers["cache-control"]
        assert "Authorization" in answer.headers["vary"]


async def test_pages_are_confirmed_by_their_tags(past: Past) -> None:
    """As plain pages are; a later publication changes neither page nor tag, a yank shows in both."""
    file = await past.publish("a/base", OLD)
    plain, first = await past.get("a/base", None), await past.get("a/base", day(0))
    assert first.headers["cache-control"] == plain.headers["cache-control"]
    asked = {"accept": JSON, "if-none-match": first.headers["etag"]}
    assert (await past.client.get(address("a/base", day(0)), headers=asked)).status_code == 304
    published = past.family.indexes["a/base"]
    published.yanked[file.file_name] = "broken"
    await published.publish(again=[file])
    await past.date("a/base")
    again = await past.client.get(address("a/base", day(0)), headers=asked)
    await past.family.reading.news()
    again = await past.client.get(address("a/base", day(0)), headers=asked)
    assert (again.status_code, again.json()["files"][0]["yanked"]) == (200, "broken")


async def test_moments_have_a_memory_of_their_own(past: Past) -> None:
    """However many are asked for, a page as it is stays in memory, and no row is written."""
    await past.publish("a/base", OLD)
    await past.get("a/base", None)
    tiny = open_reading(past.engine, past.family.stores, Limits(past_memory=20_000, list_seconds=0.0))
    await tiny.news()
    async with tiny.client() as client:
        await client.get(address("a/base", None), headers={"accept": JSON})
        with counted_queries(past.engine) as statements:
            for second in range(50):
                at = f"2024-02-01T00:00:{second:02}Z"
                answer = await client.get(address("a/base", at), headers={"accept": JSON})
                assert answer.status_code == 200
            assert all(statement.lower().startswith("select") for statement in statements)
            assert len(statements) == 50, "one for each moment: none is remembered so well that it pushes others out"
        with counted_queries(past.engine) as statements:
            await client.get(address("a/base", None), headers={"accept": JSON})
            await client.get(address("a/base", "2024-02-01T00:00:49Z"), headers={"accept": JSON})
        assert statements == []
