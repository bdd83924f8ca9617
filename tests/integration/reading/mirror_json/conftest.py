"""A mirror whose upstream has a JSON API."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.objects.interface import ObjectStores
from tests.integration.reading.constants import WHEEL
from tests.integration.reading.mirror_json.site import BUG, INFO, MIRRORS, Documents
from tests.integration.reading.mirror_site import OLD, mirrored
from tests.support.reading import open_reading
from tests.support.upstream import Upstream


@pytest.fixture
async def site(engine: AsyncEngine, stores: ObjectStores) -> AsyncIterator[Documents]:
    """An upstream with one project, a mirror of it and a stage based on the mirror."""
    upstream = Upstream()
    upstream.add("thing", WHEEL, metadata=b"Name: thing")
    upstream.add("thing", OLD, fields={"yanked": "broken", "requires-python": ">=3.9"})
    upstream.infos["thing", "1.0"] = INFO.copy()
    upstream.infos["thing", "0.9"] = {"summary": "Old"}
    upstream.vulnerabilities["thing", "0.9"] = [BUG, "nonsense", {"details": "nameless"}]
    async with mirrored(Documents, engine, open_reading(engine, stores, mirrors=MIRRORS), upstream) as site:
        yield site
