"""Resources of a signer on a real Postgres and a real folder, with a clock that tests move."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from services.signing.app import create_service
from services.signing.ceremonies.bootstrapping import bootstrap
from services.signing.ceremonies.own_trust import set_trust_targets
from services.signing.ceremonies.trust_root import ensure_trust
from services.signing.publication.usecases import Publisher
from shared.catalogue.tables import Grant
from shared.jobs.messages import PublishIndex
from shared.resources import Resources
from tests.integration.signing.attested_site import OPEN, Site
from tests.integration.signing.ceremony_deployment import Deployment
from tests.integration.signing.changes import enqueue
from tests.support.approving import Desk, open_desk
from tests.support.builds import Forge
from tests.support.clock import SettableClock
from tests.support.factories import MadeIndex, make_default, make_index, make_token
from tests.support.holders import CeremonyApi, Holders, in_profile
from tests.support.resources import service_resources
from tests.support.uploading import basic


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


@pytest.fixture
async def desk(resources: Resources) -> AsyncIterator[Desk]:
    """An index that demands two approvals of alice, bob and carol, who have keys."""
    async with open_desk(resources) as opened:
        await opened.register("alice", "bob", "carol")
        await opened.demand(2, ["alice", "bob", "carol"])
        yield opened


@pytest.fixture
async def deployment(engine: AsyncEngine, tmp_path: Path) -> AsyncIterator[Deployment]:
    """The signing service of a deployment with three holders, an administrator and a plain account."""
    clock = SettableClock(datetime.now(UTC))
    async with service_resources(engine, tmp_path, clock=clock) as opened:
        resources = in_profile(opened, "small")
        holders = Holders.of("root", "targets", "trust")
        await bootstrap(resources, holders.held())
        index = await make_index(engine)
        await make_default(engine, index)
        async with engine.begin() as connection:
            await connection.execute(insert(Grant).values(index_id=index.id, subject="root", verb="configure"))
        await enqueue(resources, PublishIndex(index.id))
        tokens = [await make_token(engine, name, lifetime=timedelta(days=90)) for name in ("root", "signer")]
        await resources.directory.refresh()
        transport = httpx2.ASGITransport(app=create_service(resources).app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://registry") as http:
            admin, plain = (CeremonyApi(http, basic(token)) for token in tokens)
            tree = tmp_path / "public/indexes/root/stable"
            yield Deployment(resources, clock, index, holders, admin, plain, tree)


@pytest.fixture
async def index(resources: Resources) -> MadeIndex:
    """A stage index whose first publication waits."""
    made = await make_index(resources.engine)
    await enqueue(resources, PublishIndex(made.id))
    return made


@pytest.fixture
async def site(resources: Resources, tmp_path: Path) -> Site:
    """The site, with a policy that demands nothing."""
    index, forge = await make_index(resources.engine), Forge()
    root = {"trusted_root.json": forge.instance.trusted_root(), "trust/policy.yaml": OPEN}
    await set_trust_targets(resources, root, (), "a test")
    await enqueue(resources, PublishIndex(index.id))
    made = Site(resources, index, forge, tmp_path, Publisher(resources))
    await made.publish()
    return made
