"""The real queue and an index, for jobs of the outbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.ids import IndexId
from shared.jobs.arq_queue import ArqQueue, WorkerOptions
from tests.support.outbox import make_index


@pytest.fixture
async def queue(valkey_url: str) -> AsyncIterator[ArqQueue]:
    """The real queue, empty."""
    queue = ArqQueue(valkey_url, WorkerOptions(claim_lifetime=timedelta(seconds=1)))
    yield queue
    await queue.close()


@pytest.fixture
async def index_id(engine: AsyncEngine) -> IndexId:
    """An index that jobs can be about."""
    return await make_index(engine)
