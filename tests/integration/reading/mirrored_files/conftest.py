"""Both kinds of stores, and a mirror with a small and a large file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.objects.interface import ObjectStores
from tests.integration.reading.constants import LARGE, WHEEL
from tests.integration.reading.mirror_site import mirrored
from tests.integration.reading.mirrored_files.site import BIG, Files, opened
from tests.support.reading import open_stores
from tests.support.s3_server import S3Server
from tests.support.upstream import Upstream


@pytest.fixture(params=["folder", "plain_s3"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStores]:
    """Both sides of a store: of folders, then of buckets of a real S3 server."""
    if request.param == "folder":
        yield open_stores(tmp_path)
        return
    server: S3Server = request.getfixturevalue(request.param)
    async with server.connect() as connection:
        yield ObjectStores(connection.store(server.make_bucket()), connection.store(server.make_bucket()))


@pytest.fixture
async def site(
    engine: AsyncEngine, stores: ObjectStores, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Files]:
    """An upstream with a small and a large file, a mirror of it and a stage based on the mirror."""
    monkeypatch.chdir(tmp_path_factory.mktemp("work"))
    upstream = Upstream()
    upstream.add("thing", WHEEL, b"wheel", metadata=b"Name: thing")
    upstream.add("thing", BIG, LARGE)
    async with mirrored(Files, engine, opened(engine, stores), upstream) as site:
        yield site
