"""A gateway with root, alice, bob and carol, and an open one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import IndexName
from gateway.accounts import NewIndex
from gateway.upstream import Mounted
from services.download.app import create_service as create_download
from services.index.app import create_service as create_index
from services.signing.ceremonies.trust_root import ensure_trust
from services.signing.publication.usecases import Publisher
from services.upload.app import create_service as create_upload
from shared.auth.principal import Verb
from shared.limit_settings import RateLimits
from shared.settings import Settings, Uploads
from tests.support.archives import make_wheel
from tests.support.devpi_api import PASSWORD, DevpiUser
from tests.support.devpi_deployment import WHEEL, Deployment
from tests.support.factories import make_token
from tests.support.gateway import Servers, TestGateway, open_gateway

STABLE = IndexName("root", "stable")


@pytest.fixture
def servers(engine: AsyncEngine, valkey_url: str, database: str, tmp_path: Path) -> Servers:
    """What gateways run on."""
    return Servers(engine, valkey_url, database, tmp_path)


@pytest.fixture
async def gateway(servers: Servers) -> AsyncIterator[TestGateway]:
    """A gateway; alice owns the private index alice/shut, which bob may read."""
    settings = Settings(data=servers.folder, uploads=Uploads(publish_wait=0), limits=RateLimits(passwords_by_account=3))
    async with open_gateway(servers, settings) as gateway:
        await gateway.accounts.init_deployment(STABLE)
        await gateway.accounts.set_password("root", PASSWORD)
        for name in ("alice", "bob", "carol"):
            await gateway.accounts.create_account(name, password=PASSWORD, email=f"{name}@example.org")
        await gateway.accounts.create_index(NewIndex(IndexName("alice", "shut"), "private"))
        await gateway.rights.set_grants(IndexName("alice", "shut"), "bob", [Verb.READ])
        await gateway.resources.directory.refresh()
        yield gateway


@pytest.fixture
async def other(servers: Servers, gateway: TestGateway) -> AsyncIterator[TestGateway]:
    """A second gateway of the same deployment, which nobody tells of anything."""
    settings = gateway.resources.settings
    async with open_gateway(servers, settings) as other:
        yield other


@pytest.fixture
async def open_devpi(servers: Servers) -> AsyncIterator[TestGateway]:
    """A gateway that is as open as a plain devpi-server."""
    settings = Settings(data=servers.folder, compat="devpi-open", uploads=Uploads(publish_wait=0))
    async with open_gateway(servers, settings) as gateway:
        await gateway.accounts.init_deployment(STABLE)
        await gateway.resources.directory.refresh()
        yield gateway


@pytest.fixture
async def deployment(servers: Servers) -> AsyncIterator[Deployment]:
    """A deployment in which alice has the index alice/dev with one published wheel."""
    settings = Settings(data=servers.folder, uploads=Uploads(publish_wait=0))
    # The services are wired on the gateway's own resources, so a first gateway gives those.
    async with open_gateway(servers, settings) as bare:
        await ensure_trust(bare.resources)
        services = (create_upload, create_index, create_download)
        mounted = [create(bare.resources) for create in services]
        upstreams = {service.name: Mounted(service) for service in mounted}
        gateway = bare.wired(upstreams)
        await gateway.accounts.init_deployment(STABLE)
        await gateway.accounts.create_account("alice", password=PASSWORD)
        token = await make_token(gateway.resources.engine, "alice")
        await gateway.resources.directory.refresh()
        alice = DevpiUser(gateway, "alice")
        found = Deployment(
            gateway, Publisher(gateway.resources), alice, token, servers.folder / "public/indexes/alice/dev"
        )
        assert (await alice("PUT", "/alice/dev", {})).status_code == 200
        found.record()
        assert (await found.upload(WHEEL, make_wheel("widget", "1.0"))).status_code == 200
        await found.publish()
        yield found
