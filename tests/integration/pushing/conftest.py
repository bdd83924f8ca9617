"""Two indexes and a release to push from one to the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.integration.pushing.widget import SDIST, WHEEL
from tests.support.archives import Project as Metadata
from tests.support.archives import make_sdist, make_wheel
from tests.support.pushing import Site, open_site


@pytest.fixture
async def site(engine: AsyncEngine, tmp_path: Path) -> AsyncIterator[Site]:
    """`root/dev` holds widget 1.0 as wheel and source archive, `root/stable` takes it."""
    async with open_site(engine, tmp_path) as opened:
        await opened.index("root/dev", volatile=True)
        await opened.index("root/stable")
        metadata = Metadata("widget", "1.0", summary="Widgets.", requires_python=">=3.9")
        await opened.upload("root/dev", SDIST, make_sdist("widget", "1.0", project=metadata))
        await opened.upload("root/dev", WHEEL, make_wheel("widget", "1.0", project=metadata))
        yield opened
