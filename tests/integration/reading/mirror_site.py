"""A mirror of an upstream, and a stage that is based on it: what the tests of mirrors begin with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import httpx2
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from services.index.settings import Limits
from shared.catalogue.tables import MirrorPage
from shared.reading.answered import AnsweredPages
from shared.settings import Mirrors
from tests.integration.reading.constants import JSON
from tests.integration.reading.family import Family
from tests.support.factories import now
from tests.support.reading import Reading, open_reading, served
from tests.support.upstream import Upstream

DIRECT, BASED = "/root/pypi/+simple/thing/", "/a/top/+simple/thing/"
OLD, NEW = "thing-0.9.tar.gz", "thing-2.0.tar.gz"
STALE = "x-countermark-stale-since"
MIRRORS = Mirrors(patience=0.3)


@dataclass(slots=True)
class Site:
    """A mirror of an upstream, and a stage based on it."""

    engine: AsyncEngine
    family: Family
    upstream: Upstream
    client: httpx2.AsyncClient
    url: str
    limits: Limits | None = None

    async def set(self, name: str, **settings: object) -> None:
        """Change settings of an index."""
        await self.family.set(name, **settings)

    async def expire(self) -> None:
        """Let the time pass for which kept pages are fresh, and what memory holds of them."""
        await self.at_rest()
        async with self.engine.begin() as connection:
            past = now() - timedelta(hours=1)
            await connection.execute(update(MirrorPage).values(fresh_until=past, checked_at=past, retry_at=None))
        self.reopen()

    def forget(self) -> None:
        """Let a process forget the pages that it answered lately."""
        resources = self.family.reading.resources
        object.__setattr__(resources, "answered", AnsweredPages(resources.listener))
        resources.answered.followed = True

    def reopen(self) -> None:
        """Go on with another process."""
        self.family.reading = open_reading(self.engine, self.family.stores, self.limits, mirrors=MIRRORS)
        self.client = self.family.reading.client()

    async def get(self, path: str = DIRECT, accept: str = JSON) -> httpx2.Response:
        """Ask; a page is kept as well when this returns."""
        await self.family.reading.news()
        answer = await self.client.get(path, headers={"accept": accept})
        await self.at_rest()
        return answer

    async def at_rest(self) -> None:
        """Wait until what was answered is kept."""
        async with asyncio.timeout(10):
            while self.family.reading.resources.answered.unkept:
                await asyncio.sleep(0.001)

    async def names(self, path: str = DIRECT) -> list[str]:
        """Return the files that a page lists."""
        answer = await self.get(path)
        assert answer.status_code == 200, answer.text
        return [file["filename"] for file in answer.json()["files"]]


S = TypeVar("S", bound=Site)


@asynccontextmanager
async def mirrored(kind: type[S], engine: AsyncEngine, reading: Reading, upstream: Upstream) -> AsyncIterator[S]:
    """Serve an upstream; gives a site with `root/pypi`, a mirror of it, and `a/top`, a stage based on that."""
    family = Family(engine, reading, reading.resources.objects)
    await family.make("root/pypi", kind="mirror")
    await family.make("a/top", "root/pypi")
    async with served(upstream) as url, reading.client() as client:
        site = kind(engine, family, upstream, client, url)
        await site.set("root/pypi", mirror_url=f"{url}/simple/")
        yield site
