"""People sign in at another provider of OpenID Connect by the same path."""

from __future__ import annotations

import socket

import httpx2
from sqlalchemy import update
from starlette.applications import Starlette

from gateway.limits import Limits
from gateway.local_provider import LocalProvider, ProviderParts
from gateway.templates import Pages
from shared.catalogue.tables import Account
from shared.limit_settings import RateLimits
from shared.settings import Oidc, Settings
from tests.integration.login.signing_in import PASSWORD, STABLE, UI
from tests.support.gateway import Servers, open_gateway
from tests.support.serving import served


async def test_another_provider_signs_in_by_the_same_path(servers: Servers) -> None:
    """With a configured issuer people go there and back over real HTTP; the provider inside is then not there."""
    async with open_gateway(servers) as elsewhere:
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        parts = ProviderParts(
            redis=elsewhere.resources.redis,
            limits=Limits(elsewhere.resources.redis, RateLimits()),
            clock=elsewhere.clock,
            directory=elsewhere.resources.directory,
            accounts=elsewhere.accounts,
            pages=Pages(),
        )
        provider = LocalProvider(parts, ui_url=url, redirect_uri=f"{UI}/login/callback")
        oidc = Oidc(issuer=f"{url}/provider", client_id="countermark")
        async with (
            served(Starlette(routes=provider.routes), listening),
            open_gateway(servers, Settings(data=servers.folder, oidc=oidc)) as gateway,
        ):
            await gateway.accounts.init_deployment(STABLE)
            await gateway.accounts.create_account("alice", password=PASSWORD)
            await gateway.resources.directory.refresh()
            await elsewhere.resources.directory.refresh()
            browser = gateway.browser()
            start = await browser.get("/login", follow=False)
            assert start.headers["location"].startswith(f"{url}/provider/authorize?")
            async with httpx2.AsyncClient() as client:
                page = await client.get(start.headers["location"])
                token = page.text.partition('name="form_token" value="')[2].partition('"')[0]
                fields = {"account": "alice", "password": PASSWORD, "form_token": token}
                back = await client.post(str(page.url), data=fields, headers={"origin": url})
            home = await browser.get(back.headers["location"])
            assert (home.status_code, home.url.path) == (200, "/")
            assert "alice" in home.text
            assert (await gateway.browser().get("/provider/authorize")).status_code == 404
            assert (await gateway.browser().get("/welcome?code=x")).status_code == 404


async def test_a_person_without_an_account_is_told_so(servers: Servers) -> None:
    """A provider may know people whom this deployment does not; the owner decides who gets an account."""
    async with open_gateway(servers) as gateway:
        await gateway.accounts.create_account("alice", password=PASSWORD)
        directory = gateway.resources.directory
        await directory.refresh()
        browser = gateway.browser()
        start = await browser.get("/login", follow=False)
        form = await browser.get(start.headers["location"])
        back = await browser.submit(form, {"account": "alice", "password": PASSWORD}, follow=False)
        async with gateway.resources.engine.begin() as connection:
            await connection.execute(update(Account).values(disabled_at=gateway.clock.now()))
        await directory.refresh()
        answer = await browser.get(back.headers["location"])
    assert answer.status_code == 403
    assert "no account" in answer.text
