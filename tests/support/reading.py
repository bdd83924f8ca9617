"""The reading services as one process holds them, and ways to ask them."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from redis.asyncio import Redis
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from starlette.types import ASGIApp, Receive, Scope, Send

from services.download.app import create_service as create_download
from services.download.settings import Limits as DownloadLimits
from services.index.app import create_service as create_index
from services.index.settings import Limits as IndexLimits
from shared.attesting.processes import Verifying
from shared.auth.directory import Directory
from shared.catalogue.heads import Heads
from shared.catalogue.listener import Listener
from shared.catalogue.prepared import Found, Prepared, is_autocommit
from shared.clock import SystemClock
from shared.faces import parse_face, service_for
from shared.jobs.memory_queue import MemoryQueue
from shared.objects.filesystem import FolderStore
from shared.objects.interface import ObjectStores
from shared.outgoing import Outgoing
from shared.outside import LOOPBACK, Outside
from shared.resources import Resources
from shared.service import HotPath, Service
from shared.settings import Attestations, Mirrors, Settings
from shared.settings import Downloads as DownloadSettings


@dataclass(slots=True)
class Reading:
    """One process that serves pages and files; `news` tells it what other processes committed."""

    resources: Resources
    index: Service
    download: Service
    app: ASGIApp = field(init=False)
    """Hot readers first, then the services, as every listener has them."""
    cold: ASGIApp = field(init=False)
    """The services alone."""

    def __post_init__(self) -> None:
        """Put the services behind one address."""
        services = {service.name: service.app for service in (self.index, self.download)}

        async def cold(scope: Scope, receive: Receive, send: Send) -> None:
            face = parse_face(scope["path"])
            name = "index" if face is None else service_for(face)
            if re.match(r"/api/v1/(verify|indexes/[^/]+/[^/]+/(downloads|attestations))/", scope["path"]):
                name = "download"
            await services.get(name, self.index.app)(scope, receive, send)

        self.cold = cold
        self.app = HotPath((*self.index.hot, *self.download.hot), cold)

    async def news(self) -> None:
        """Learn of new rights and heads, as the listener would."""
        await self.resources.directory.refresh()
        await self.resources.heads.wake("")

    def client(self, *, token: str | None = None) -> httpx2.AsyncClient:
        """Return a client of this process; without any header but those the test gives."""
        headers = {} if token is None else {"authorization": basic("__token__", token)}
        client = httpx2.AsyncClient(transport=httpx2.ASGITransport(self.app), base_url="http://index.test")
        client.headers.clear()
        client.headers.update(headers)
        return client


def open_stores(folder: Path) -> ObjectStores:
    """Return both sides of a store in a folder."""
    return ObjectStores(FolderStore(folder / "public"), FolderStore(folder / "private", private=True))


def open_reading(
    engine: AsyncEngine,
    stores: ObjectStores,
    index_limits: IndexLimits | None = None,
    download_limits: DownloadLimits | None = None,
    *,
    redirect: bool = False,
    mirrors: Mirrors | None = None,
    attestations: Attestations | None = None,
    verifying: Verifying | None = None,
) -> Reading:
    """Return the reading services over a catalogue and a store. Nothing needs Redis: its client never connects.

    Upstreams may be on this machine. What verifies attestations is to be closed by whoever gives it.
    """
    settings = Settings(
        downloads=DownloadSettings(redirect=redirect),
        mirrors=mirrors or Mirrors(),
        attestations=attestations or Attestations(),
    )
    resources = Resources(
        settings=settings,
        clock=SystemClock(),
        engine=engine,
        objects=stores,
        queue=MemoryQueue(),
        redis=Redis(host="127.0.0.1", port=1),
        directory=Directory(engine, reserved=settings.mirrors.reserved_prefixes),
        heads=Heads(engine),
        listener=Listener(engine.url.render_as_string(hide_password=False), tick=settings.staleness_bound),
        outgoing=Outgoing(Outside(networks=LOOPBACK)),
        verifying=verifying or Verifying(),
    )
    return Reading(resources, create_index(resources, index_limits), create_download(resources, download_limits))


def basic(user: str, password: str) -> str:
    """Return a Basic Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@contextmanager
def counted_queries(engine: AsyncEngine) -> Iterator[list[str]]:
    """Collect the statements that are sent over an engine meanwhile."""
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    async def rows(self: Prepared, connection: AsyncConnection, values: dict[str, Any]) -> Sequence[Found]:
        # These go past SQLAlchemy, but where a transaction is open.
        if connection.engine is engine and is_autocommit(connection):
            statements.append(self.text)
        return await send(self, connection, values)

    send = Prepared.rows
    event.listen(engine.sync_engine, "before_cursor_execute", note)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Prepared, "rows", rows)
        try:
            yield statements
        finally:
            event.remove(engine.sync_engine, "before_cursor_execute", note)


@asynccontextmanager
async def served(app: ASGIApp, port: int = 0) -> AsyncIterator[str]:
    """Serve an application with uvicorn on a port of the loopback, by default a free one; gives its URL."""
    # A level given here would be every later test's as well.
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, lifespan="off", log_config=None, access_log=False, http="httptools"
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task
