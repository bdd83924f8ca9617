"""Wires the gateway: the API host for machines and the UI for people. Opens nothing, closes nothing.

Source: architecture sections 3 and 4.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import httpx2
from sqlalchemy import text
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway.accounts import Accounts
from gateway.api import ApiParts, build_api
from gateway.dashboard.desk import Backing, Desk
from gateway.dashboard.remote import Remote
from gateway.dashboard.token_sweep import TokenSweep
from gateway.devpi.app import Devpi
from gateway.limits import Limits
from gateway.local_provider import LocalProvider, ProviderParts
from gateway.login import Login, LoginParts
from gateway.oidc import OidcClient, OidcConfig
from gateway.sessions import Sessions
from gateway.settings import Addresses, addresses_of, external_issuer, uses_local_provider
from gateway.templates import Pages
from gateway.trusted_publishing.forgetting import Forgetting
from gateway.ui import UiParts, build_ui
from gateway.upstream import Upstream
from gateway.v1.app import bounded, create_v1
from shared.auth.verifier import Verifier
from shared.faces import SIGNING
from shared.http import Check, readiness
from shared.resources import Resources


@dataclass(frozen=True, slots=True)
class GatewayApps:
    """The gateway as wired: one application per listener, and what has to run beside them."""

    api: ASGIApp
    ui: ASGIApp
    loops: tuple[Callable[[], Awaitable[None]], ...] = ()


def create_app(
    resources: Resources, upstreams: Mapping[str, Upstream], *, checks: Mapping[str, Check] | None = None
) -> GatewayApps:
    """Return both applications.

    Args:
        upstreams: `upload`, `index`, `download`, `signing` -> how to reach it; the hot readers of mounted ones answer
            first. One that is left out answers 503.
        checks: for `/readyz` of the API host, beside catalogue, Redis, queue, services and default index.
    """
    addresses = addresses_of(resources.settings)
    ready = {**_checks(resources, upstreams), **(checks or {})}
    pages = Pages.with_script()
    limits = Limits(resources.redis, resources.settings.rate_limits)
    client, routes = _signing_in(resources, addresses, pages, limits)
    sessions = Sessions(resources.redis, resources.clock, resources.directory)
    login = Login(LoginParts(client, sessions, resources.redis, limits, resources.directory), https=addresses.https)
    v1 = bounded(create_v1(resources, limits), resources)
    proxies = resources.settings.listen.proxies
    verifier = Verifier(resources.directory, resources.clock)
    api = build_api(
        ApiParts(
            upstreams,
            readiness(ready),
            v1,
            Devpi.create(resources, limits, verifier).at,
            limits,
            addresses.ui,
            resources.metrics,
            proxies,
            verifier=verifier,
            outside_url=resources.settings.outside_url,
            turnstile=resources.turnstile,
        )
    )
    links = uses_local_provider(resources.settings)
    backing = Backing(
        resources.engine,
        resources.clock,
        resources.directory,
        limits,
        links=links,
        most_indexes=resources.settings.indexes.per_owner,
        reserved=resources.settings.mirrors.reserved_prefixes,
    )
    desk = Desk(backing, addresses, login, pages, Remote(api))
    sweep = TokenSweep(resources.engine, resources.clock)
    ui = build_ui(UiParts(addresses, login, desk, pages, proxies), routes)
    forgetting = Forgetting(resources.engine, resources.clock)
    return GatewayApps(api=api, ui=ui, loops=(sweep.run, forgetting.run))


def _signing_in(
    resources: Resources, addresses: Addresses, pages: Pages, limits: Limits
) -> tuple[OidcClient | None, list[Route]]:
    """Return the client of whoever signs people in, and the routes of the provider inside when it is that one."""
    oidc, issuer = resources.settings.oidc, external_issuer(resources.settings)
    if uses_local_provider(resources.settings):
        provider = LocalProvider(
            ProviderParts(
                redis=resources.redis,
                limits=limits,
                clock=resources.clock,
                directory=resources.directory,
                accounts=Accounts(resources.engine, resources.clock, actor="owner-link"),
                pages=pages,
            ),
            ui_url=addresses.ui,
            redirect_uri=addresses.redirect_uri,
        )
        back_channel = httpx2.ASGITransport(app=provider.back_channel)
        return OidcClient(provider.config(), resources.clock, lambda: back_channel), provider.routes
    if issuer is None:
        return None, []
    config = OidcConfig(
        issuer=issuer,
        client_id=oidc.client_id,
        client_secret=None if oidc.client_secret is None else oidc.client_secret.get_secret_value(),
        redirect_uri=addresses.redirect_uri,
        account_claim=oidc.account_claim,
    )
    # Reading the system's certificates takes tens of milliseconds: once, not at each login.
    tls = ssl.create_default_context()
    return OidcClient(config, resources.clock, lambda: httpx2.AsyncHTTPTransport(verify=tls, trust_env=False)), []


def _checks(resources: Resources, upstreams: Mapping[str, Upstream]) -> dict[str, Check]:
    async def catalogue() -> None:
        async with resources.engine.connect() as connection:
            await connection.execute(text("select 1"))

    async def redis() -> None:
        await resources.redis.ping()

    async def default_index() -> None:
        if resources.directory.default_index is None:
            raise RuntimeError("this deployment has no default index yet")

    # Without the signing service nothing is approved or signed by people; nothing that people read or upload needs it.
    services = {name: upstream.ping for name, upstream in upstreams.items() if name != SIGNING}
    queue = resources.queue.ping
    return {"catalogue": catalogue, "redis": redis, "queue": queue, "default index": default_index, **services}
