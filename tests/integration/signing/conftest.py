"""Resources of a signer on a real Postgres and a real folder, with a clock that tests move."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.signing.ceremony import ensure_trust
from shared.resources import Resources
from tests.support.clock import SettableClock
from tests.support.resources import service_resources


@pytest.fixture
def clock() -> SettableClock:
    """The real time, until a test moves it."""
    return SettableClock(datetime.now(UTC))


@pytest.fixture
async def resources(engine: AsyncEngine, tmp_path: Path, clock: SettableClock) -> AsyncIterator[Resources]:
    """Resources of a deployment that has its trust root, with 256 bins."""
    async with service_resources(engine, tmp_path, clock=clock) as opened:
        await ensure_trust(opened)
        yield opened
