"""A gateway for tests, on real Postgres and Valkey, with a clock that tests move."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.accounts import Accounts
from gateway.app import GatewayApps, create_app
from gateway.index_rights import IndexRights
from gateway.settings import addresses_of
from gateway.upstream import Upstream
from shared.auth.directory import Directory
from shared.auth.passwords import hash_password
from shared.catalogue.heads import Heads
from shared.catalogue.listener import Listener
from shared.jobs.memory_queue import MemoryQueue
from shared.objects.filesystem import FolderStore
from shared.objects.interface import ObjectStores
from shared.outgoing import Outgoing
from shared.resources import Resources
from shared.settings import Settings
from tests.support.browser import Browser
from tests.support.clock import SettableClock


@dataclass(frozen=True, slots=True)
class Servers:
    """What a gateway runs on."""

    engine: AsyncEngine
    valkey_url: str
    database_url: str
    folder: Path


@dataclass(frozen=True, slots=True)
class TestGateway:
    """A gateway and what tests look at behind it."""

    __test__ = False

    apps: GatewayApps
    resources: Resources
    clock: SettableClock
    accounts: Accounts
    rights: IndexRights

    def wired(self, upstreams: Mapping[str, Upstream]) -> TestGateway:
        """Return the same gateway in front of services that run on its resources."""
        return replace(self, apps=create_app(self.resources, upstreams))

    def browser(self, *, address: str = "127.0.0.1") -> Browser:
        """Return a new browser on the UI."""
        return Browser(self.apps.ui, addresses_of(self.resources.settings).ui, address=address)


@asynccontextmanager
async def open_gateway(
    servers: Servers,
    settings: Settings | None = None,
    upstreams: Mapping[str, Upstream] | None = None,
    *,
    outgoing: Outgoing | None = None,
) -> AsyncIterator[TestGateway]:
    """Wire a gateway as the launcher does, with a clock that tests move.

    Args:
        outgoing: asks what is outside; what is not public stays out of reach unless it says otherwise.
    """
    clock = SettableClock()
    no_password = hash_password("") if settings is not None and settings.is_open_devpi else None
    settings = settings or Settings(data=servers.folder)
    reserved = settings.mirrors.reserved_prefixes
    directory = Directory(servers.engine, no_password=no_password, reserved=reserved)
    redis = Redis.from_url(servers.valkey_url)
    resources = Resources(
        settings=settings,
        clock=clock,
        engine=servers.engine,
        objects=ObjectStores(FolderStore(servers.folder / "public"), FolderStore(servers.folder / "private")),
        queue=MemoryQueue(),
        redis=redis,
        directory=directory,
        heads=Heads(servers.engine),
        listener=Listener(servers.database_url, tick=timedelta(seconds=2)),
        outgoing=outgoing or Outgoing(),
    )
    await directory.refresh()
    async with redis, resources.verifying:
        apps = create_app(resources, upstreams or {})
        yield TestGateway(
            apps,
            resources,
            clock,
            Accounts(servers.engine, clock, actor="test"),
            IndexRights(servers.engine, clock, actor="test"),
        )
