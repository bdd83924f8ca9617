"""A site whose files are asked for, and what its tests have in common."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import httpx2
import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from services.download.settings import Limits
from shared.catalogue.tables import Audit, MirrorFile
from shared.fetching.flight import SUFFIX
from shared.fetching.receiving import FetchLimits
from shared.objects.interface import ObjectStores
from shared.outgoing import Patience
from tests.integration.reading.mirror_site import MIRRORS, Site
from tests.support.reading import Reading, open_reading, served
from tests.support.upstream import Fault

FETCHING = FetchLimits(Patience(connect=2, read=2, head=2), slow_seconds=0.5, slow_bytes=8 << 10, others=20, wait=25)
LIMITS = Limits(fetching=FETCHING, absent_seconds=0.0, page_seconds=0.2)
BIG = "thing-3.0.tar.gz"
UP = f"/files/{BIG}"
ON_FOLDERS = pytest.mark.parametrize("stores", ["folder"], indirect=True)
"""Marks what has nothing to do with the store."""


@dataclass(slots=True)
class Files(Site):
    """A site whose files are asked for."""

    others: list[Reading] = field(default_factory=list)

    def reopen(self) -> None:
        """Go on with another process."""
        self.family.reading = opened(self.engine, self.family.stores)
        self.client = self.family.reading.client()

    async def page(self, index: str = "root/pypi") -> dict[str, str]:
        """Read the project's page; returns the path of each file."""
        page = (await self.get(f"/{index}/+simple/thing/")).json()
        return {file["filename"]: f"/{index}/{file['url'].removeprefix('../../')}" for file in page["files"]}

    def fault(self, name: str, **fault: object) -> Fault:
        """Let something be wrong with a file."""
        made = Fault(**fault)  # type: ignore[arg-type]
        self.upstream.faults[f"/files/{name}"] = made
        return made

    async def alarms(self) -> int:
        """Return how many alarms are on record."""
        async with self.engine.connect() as connection:
            rows = select(func.count()).where(Audit.action == "mirror.wrong-bytes")
            return await connection.scalar(rows) or 0

    async def settled(self, count: int) -> None:
        """Wait until so many files are kept: clients have the bytes before they are stored."""
        async with asyncio.timeout(10):
            while len(await self.rows()) != count:
                await asyncio.sleep(0.02)

    async def rows(self) -> dict[str, int]:
        """Return what is kept: key -> length."""
        async with self.engine.connect() as connection:
            found = await connection.execute(select(MirrorFile.key, MirrorFile.length))
            return {row.key: row.length for row in found}

    def left_over(self) -> list[str]:
        """Return arriving files that lie around."""
        folder = self.family.reading.resources.settings.data / "staging"
        return [path.name for path in folder.glob(f"*{SUFFIX}")] if folder.is_dir() else []

    @asynccontextmanager
    async def listening(self, reading: Reading | None = None) -> AsyncIterator[httpx2.AsyncClient]:
        """Serve a process as it really is; gives a client."""
        reading = reading or self.family.reading
        await reading.news()
        async with served(reading.app) as url, httpx2.AsyncClient(base_url=url, timeout=30) as client:
            yield client


def opened(engine: AsyncEngine, stores: ObjectStores) -> Reading:
    """Return another process."""
    return open_reading(engine, stores, download_limits=LIMITS, mirrors=MIRRORS)


def path_of(content: bytes, name: str) -> str:
    """Return what follows `+f/` in the address of a file."""
    sha256 = hashlib.sha256(content).hexdigest()
    return f"{sha256[:3]}/{sha256[3:16]}/{name}"


@contextmanager
def limited(reading: Reading, cache_bytes: int) -> Iterator[None]:
    """Let a process keep less."""
    settings = reading.resources.settings
    limited = settings.model_copy(update={"mirrors": settings.mirrors.model_copy(update={"cache_bytes": cache_bytes})})
    object.__setattr__(reading.resources, "settings", limited)
    try:
        yield
    finally:
        object.__setattr__(reading.resources, "settings", settings)
