"""The upload service for the suites that upload."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.uploader import Uploader, open_uploader


@pytest.fixture
async def uploader(engine: AsyncEngine, tmp_path: Path) -> AsyncIterator[Uploader]:
    """The service, its default index, and the owner's token for it."""
    async with open_uploader(engine, tmp_path) as opened:
        yield opened
