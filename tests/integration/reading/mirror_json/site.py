"""A site whose JSON documents are asked for, and what its tests have in common."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx2
from sqlalchemy import func, select, update

from shared.catalogue.tables import MirrorJson, MirrorPage
from shared.settings import Mirrors
from tests.integration.reading.mirror_site import Site
from tests.support.factories import now
from tests.support.reading import open_reading

WHOLE, RELEASE, UP = "/root/pypi/pypi/thing/json", "/root/pypi/pypi/thing/0.9/json", "/pypi/thing/json"
BASED = "/a/top/pypi/thing/json"
MIRRORS = Mirrors(patience=0.3, page_bytes=1 << 20)
BUG = {"id": "PYSEC-1", "aliases": ["CVE-2026-1"], "details": "bad", "fixed_in": ["1.0"], "withdrawn": None, "x": 1}

INFO = {
    "summary": "First",
    "classifiers": ["Topic :: A"],
    "requires_dist": ["other>1"],
    "keywords": "a,b",
    "description": "# Thing",
    "project_urls": {"Home": "https://thing.test"},
    "license": "",
    "new_key": "kept",
    "package_url": "https://upstream.test/thing",
    "yanked": True,
    "_private": "x",
    "author": 7,
}


@dataclass(slots=True)
class Documents(Site):
    """A site whose documents are asked for."""

    async def expire(self, *, pages: bool = True) -> None:
        """Let the time pass for which what is kept is fresh, and go on with another process."""
        await self.at_rest()
        past = now() - timedelta(hours=1)
        old = {"fresh_until": past, "checked_at": past, "retry_at": None}
        async with self.engine.begin() as connection:
            for table in (MirrorJson, MirrorPage) if pages else (MirrorJson,):
                await connection.execute(update(table).values(**old))
        self.reopen()

    def reopen(self) -> None:
        """Go on with another process."""
        self.family.reading = open_reading(self.engine, self.family.stores, mirrors=MIRRORS)
        self.client = self.family.reading.client()

    async def get(self, path: str = WHOLE, accept: str = "application/json") -> httpx2.Response:
        """Ask."""
        return await Site.get(self, path, accept)

    async def document(self, path: str = WHOLE) -> dict[str, Any]:
        """Return a document."""
        answer = await self.get(path)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def kept(self) -> int:
        """Return how many documents the catalogue keeps."""
        async with self.engine.connect() as connection:
            return await connection.scalar(select(func.count()).select_from(MirrorJson)) or 0


def fresh(moment: datetime | None = None) -> dict[str, str]:
    """Return the fields of a file that its upstream got a moment ago."""
    return {"upload-time": (moment or now()).isoformat().replace("+00:00", "Z")}
