"""A gateway, and a real issuer of identity tokens on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.accounts import NewIndex
from shared.outgoing import Outgoing
from shared.outside import LOOPBACK, Outside
from tests.integration.minting.site import PASSWORD, SHUT, STABLE, Site
from tests.support.ci_issuer import CiIssuer, ci_issuer, server_tls
from tests.support.gateway import Servers, open_gateway


@pytest.fixture
def issuer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CiIssuer]:
    """A CI service whose certificate this process trusts."""
    tls, files = server_tls(tmp_path / "tls")
    monkeypatch.setenv("SSL_CERT_FILE", str(files.authority))
    with ci_issuer(tls) as running:
        yield running


@pytest.fixture
async def site(
    engine: AsyncEngine, valkey_url: str, database: str, tmp_path: Path, issuer: CiIssuer
) -> AsyncIterator[Site]:
    """A gateway with an administrator, and alice, who owns a private index."""
    async with AsyncExitStack() as stack:
        outgoing = await stack.enter_async_context(Outgoing(Outside(networks=LOOPBACK)))
        servers = Servers(engine, valkey_url, database, tmp_path)
        gateway = await stack.enter_async_context(open_gateway(servers, outgoing=outgoing))
        await gateway.accounts.init_deployment(STABLE)
        await gateway.accounts.set_password("root", PASSWORD)
        for name in ("alice", "bob"):
            await gateway.accounts.create_account(name, password=PASSWORD)
        await gateway.accounts.create_index(NewIndex(SHUT, "private"))
        await gateway.resources.directory.refresh()
        issuer.now = lambda: int(gateway.clock.now().timestamp())
        yield Site(gateway, issuer)
