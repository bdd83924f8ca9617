"""The other routes of the exchange: audience, discovery and limits."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.auth.verifier import BadCredentials
from shared.limit_settings import RateLimits
from shared.settings import Publishing, Settings
from tests.integration.minting.site import PASSWORD, Site, code_of
from tests.support.gateway import Servers, open_gateway


async def test_a_burnt_token_is_gone(site: Site) -> None:
    """At once, without credentials; a token of a person is not burnt so."""
    await site.added()
    token = (await site.mint()).json()["token"]
    scopes = [{"index": "root/stable", "verbs": ["upload"]}]
    own = await site.http.post("/api/v1/tokens", json={"label": "x", "scopes": scopes}, auth=("root", PASSWORD))
    for burnt in (token, token, own.json()["token"], "pypi-nonsense"):
        answer = await site.http.post("/_/oidc/burn-token", json={"token": burnt})
        assert (answer.status_code, answer.content) == (202, b"")
    with pytest.raises(BadCredentials):
        await site.verifier.verify(f"Bearer {token}")
    assert (await site.verifier.verify(f"Bearer {own.json()['token']}")).account == "root"
    assert len(await site.audit("publisher.burn")) == 1
    assert code_of(await site.http.post("/_/oidc/burn-token", content=b"x"))[0] == "invalid-payload"


async def test_the_audience_is_the_deployments_own(
    engine: AsyncEngine, valkey_url: str, database: str, tmp_path: Path
) -> None:
    """As set, else the host's name; an empty one switches the exchange off."""
    servers = Servers(engine, valkey_url, database, tmp_path)
    for settings, audience in (
        (Settings(data=tmp_path), "countermark"),
        (Settings(data=tmp_path, outside_url="https://packages.example.org"), "packages.example.org"),
        (Settings(data=tmp_path, publishing=Publishing(audience="acme")), "acme"),
        (Settings(data=tmp_path, publishing=Publishing(audience="")), None),
    ):
        async with open_gateway(servers, settings) as gateway:
            transport = httpx2.ASGITransport(app=gateway.apps.api)
            async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:3141") as http:
                answer = await http.get("/_/oidc/audience")
                if audience is not None:
                    assert (answer.status_code, answer.json()) == (200, {"audience": audience})
                    continue
                assert answer.status_code == 403
                assert code_of(await http.post("/_/oidc/mint-token", json={"token": "x"}))[0] == "not-enabled"
                assert (await http.get("/.well-known/pytp?discover=/legacy/")).status_code == 404


async def test_upload_urls_say_where_their_exchange_is(site: Site) -> None:
    """By the path of the URL, on the same host; whether an index is there is not told."""
    for path in ("/legacy/", "/root/stable/", "/root/stable", "/no/such/"):
        answer = await site.http.get("/.well-known/pytp", params={"discover": path})
        assert answer.status_code == 200, path
        assert answer.headers["content-type"] == "application/vnd.pypi.pytp.v1+json"
        assert answer.json() == {
            "audience-endpoint": "http://127.0.0.1:3141/_/oidc/audience",
            "token-mint-endpoint": "http://127.0.0.1:3141/_/oidc/mint-token",
            "features": ["multi-use-token"],
            "default-features": ["multi-use-token"],
        }
    for path in ("", "/", "/simple/", "/root/stable/+simple/", "https://x/legacy/", "//"):
        assert (await site.http.get("/.well-known/pytp", params={"discover": path})).status_code == 404, path
    wrong = await site.http.get("/.well-known/pytp?discover=/legacy/", headers={"accept": "text/html"})
    assert wrong.status_code == 406


async def test_exchanges_are_counted_by_address(
    engine: AsyncEngine, valkey_url: str, database: str, tmp_path: Path
) -> None:
    """Also those that fail; too many are told to wait, in the shape that clients read."""
    settings = Settings(data=tmp_path, limits=RateLimits(mints_by_address=2))
    async with open_gateway(Servers(engine, valkey_url, database, tmp_path), settings) as gateway:
        transport = httpx2.ASGITransport(app=gateway.apps.api, client=("192.0.2.1", 1))
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:3141") as http:
            answers = [await http.post("/_/oidc/mint-token", json={"token": "x"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [422, 422, 429]
    assert answers[2].json()["errors"][0]["description"].startswith("Too many tries.")
    assert int(answers[2].headers["retry-after"]) > 0
