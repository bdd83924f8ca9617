"""Each adapter of the object store in turn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.metrics import Metrics
from shared.objects.filesystem import FolderStore
from shared.objects.interface import (
    ObjectStore,
)
from shared.objects.metered import metered
from tests.contract.object_store.places import Place
from tests.support.s3_server import S3Server


@pytest.fixture(params=["folder", "metered", "plain_s3", "s3"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """Each adapter in turn, empty."""
    if request.param in ("folder", "metered"):
        store: ObjectStore = FolderStore(tmp_path / "objects")
        if request.param == "metered":
            store = metered(store, Metrics())
        yield Place(store, "", atomic=True)
        await store.close()
        return
    server: S3Server = request.getfixturevalue(request.param)
    async with server.connect() as connection:
        yield Place(connection.store(server.make_bucket()), "test/", atomic=False)
