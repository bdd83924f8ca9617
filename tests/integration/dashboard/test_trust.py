"""The dashboard's page of the trust root, in front of the real signing service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from securesystemslib.signer import Signature
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import IndexName
from gateway.upstream import Mounted, Upstream
from services.signing.app import create_service
from services.signing.ceremonies.bootstrapping import bootstrap
from services.signing.ceremonies.events import Ceremonies
from shared.settings import Settings, Signing
from tests.support.dashboard import PASSWORD, signed_in
from tests.support.gateway import Servers, TestGateway, open_gateway
from tests.support.holders import Holders


class _Late:
    """The signing service on the gateway's own resources, which are there when the gateway is."""

    upstream: Upstream

    hot = ()

    async def __call__(self, scope: object, receive: object, send: object) -> None:
        await self.upstream(scope, receive, send)  # type: ignore[arg-type]

    async def ping(self) -> None:
        """Be there."""


@pytest.fixture
async def gateway(engine: AsyncEngine, valkey_url: str, database: str, tmp_path: Path) -> AsyncIterator[TestGateway]:
    """A deployment of profile `small` whose first ceremony was begun; `guest` has an account and no rights."""
    settings = Settings(data=tmp_path, signing=Signing(profile="small"))
    late = _Late()
    servers = Servers(engine, valkey_url, database, tmp_path)
    async with open_gateway(servers, settings, upstreams={"signing": late}) as gateway:
        late.upstream = Mounted(create_service(gateway.resources))
        await gateway.accounts.init_deployment(IndexName("root", "stable"))
        await gateway.accounts.create_account("guest", password=PASSWORD)
        await gateway.resources.directory.refresh()
        yield gateway


async def test_the_page_counts_signatures_and_shows_what_to_run(gateway: TestGateway) -> None:
    """Any account sees what is missing, who signed and the command for it; then the roles and their holders."""
    holders = Holders.of("root", "targets", "trust")
    events = {event.role: event for event in await bootstrap(gateway.resources, holders.held())}
    guest = await signed_in(gateway, "guest")
    page = (await guest.get("/trust")).text
    assert "0 of 2 signatures of root" in page
    assert "missing: 2 signatures" in page
    assert "There is no root yet" in page
    assert f"countermark ceremony sign {events['root'].id} --repository " in page
    ceremonies = Ceremonies(gateway.resources)

    async def sign(role: str, *names: str) -> None:
        event = events[role]
        made = [holders.keys[role][name].sign(event.payload) for name in names]
        given = [Signature(one.keyid, one.signature) for one in made]
        await ceremonies.submit("guest", event.id, event.payload_sha256, given)

    await sign("root", "carol")
    page = (await guest.get("/trust")).text
    assert "1 of 2 signatures of root" in page
    assert "<dd>carol</dd>" in page
    await sign("root", "bob")
    assert f"countermark ceremony finalise {events['root'].id}" in (await guest.get("/trust")).text
    await ceremonies.finalise("root", events["root"].id)
    page = (await guest.get("/trust")).text
    assert '<td class="nowrap" data-label="Must sign">2 of 3</td>' in page
    assert "alice <code" in page
    assert "this server" in page, "the keys of snapshot and timestamp"


async def test_strangers_are_led_to_the_login(gateway: TestGateway) -> None:
    """Nobody who is not signed in sees it."""
    answer = await gateway.browser().client.get("/trust", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
