"""What a service gets, for tests of one service: the real catalogue and a real folder store, and a queue that nobody
empties."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Literal

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.attesting.processes import Verifying
from shared.auth.directory import Directory
from shared.catalogue.heads import Heads
from shared.catalogue.listener import Listener
from shared.clock import Clock, SystemClock
from shared.jobs.memory_queue import MemoryQueue
from shared.objects.filesystem import FolderStore
from shared.objects.interface import ObjectStore, ObjectStores
from shared.resources import Resources
from shared.settings import Settings, Uploads

Scan = Literal["off", "warn", "refuse"]


@asynccontextmanager
async def service_resources(
    engine: AsyncEngine,
    folder: Path,
    *,
    clock: Clock | None = None,
    publish_wait: float = 0.0,
    scan: Scan = "warn",
    push_to: str = "",
) -> AsyncIterator[Resources]:
    """Open resources on `engine`, with everything else in `folder`."""
    uploads = Uploads(publish_wait=publish_wait, max_file_bytes=20_000_000, scan=scan, push_to=push_to)
    settings = Settings(data=folder, uploads=uploads)
    public, private = FolderStore(folder / "public"), FolderStore(folder / "private", private=True)
    url = engine.url.render_as_string(hide_password=False)
    async with Redis(unix_socket_path=str(folder / "no-such-socket")) as redis, Verifying() as verifying:
        yield Resources(
            settings=settings,
            clock=clock or SystemClock(),
            engine=engine,
            objects=ObjectStores(public, private),
            queue=MemoryQueue(),
            redis=redis,
            directory=Directory(engine),
            heads=Heads(engine),
            listener=Listener(url, tick=timedelta(seconds=1)),
            verifying=verifying,
        )


def with_public_store(resources: Resources, store: ObjectStore) -> Resources:
    """Return the same resources with another store on the public side."""
    return Resources(
        settings=resources.settings,
        clock=resources.clock,
        engine=resources.engine,
        objects=ObjectStores(store, resources.objects.private),
        queue=resources.queue,
        redis=resources.redis,
        directory=resources.directory,
        heads=resources.heads,
        listener=resources.listener,
        verifying=resources.verifying,
    )
