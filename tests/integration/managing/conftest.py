"""The upload service with a signer at work."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from services.signing.ceremonies.trust_root import ensure_trust
from services.signing.publication.usecases import Publisher
from services.upload.app import create_service
from shared.catalogue.tables import Grant
from tests.integration.managing.deployment import Deployment
from tests.support.factories import make_index, make_token
from tests.support.resources import service_resources
from tests.support.tuf_reader import TreeReader
from tests.support.uploading import basic


@pytest.fixture
async def deployment(engine: AsyncEngine, tmp_path: Path) -> AsyncIterator[Deployment]:
    """The service, its index, and a signer that publishes what waits."""
    async with service_resources(engine, tmp_path, publish_wait=10) as resources:
        await ensure_trust(resources)
        index = await make_index(engine)
        async with engine.begin() as connection:
            await connection.execute(insert(Grant).values(index_id=index.id, subject="root", verb="configure"))
        token = await make_token(engine)
        await resources.directory.refresh()
        publisher = Publisher(resources)
        await publisher.publish(index.id)

        async def sign() -> None:
            while True:
                await publisher.publish(index.id)
                await resources.heads.wake(str(index.id))
                await asyncio.sleep(0.02)

        signer = asyncio.create_task(sign())
        transport = httpx2.ASGITransport(create_service(resources).app)
        tree = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
        async with httpx2.AsyncClient(transport=transport, base_url="http://registry") as http:
            yield Deployment(resources, index, http, basic(token), tree)
        signer.cancel()
        with suppress(asyncio.CancelledError):
            await signer
