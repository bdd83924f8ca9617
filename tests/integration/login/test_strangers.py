"""What the UI shows before anybody signed in, also without its Redis."""

from __future__ import annotations

from dataclasses import replace

import httpx2
import pytest

from tests.integration.login.signing_in import STABLE, UI
from tests.support.gateway import Servers, TestGateway, open_gateway


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 303),
        ("/healthz", 200),
        ("/signed-out", 200),
        ("/readyz", 404),
        ("/root/stable/+simple/", 404),
        ("/logout", 405),
    ],
)
async def test_what_a_stranger_sees(gateway: TestGateway, path: str, status: int) -> None:
    """Behind the login is everything but health and the login's own pages; the API host's faces are not here."""
    answer = await gateway.browser().get(path, follow=False)
    assert answer.status_code == status
    assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_the_style_sheet_of_a_page_is_there(gateway: TestGateway) -> None:
    """Its address is in the page, and what is there can be kept for ever."""
    browser = gateway.browser()
    page = await browser.get("/login")
    path = page.text.partition('rel="stylesheet" href="')[2].partition('"')[0]
    style = await browser.get(path)
    assert (style.status_code, style.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in style.headers["cache-control"]


@pytest.mark.parametrize(
    ("host", "status"), [("127.0.0.1:3142", 303), ("localhost:3142", 307), ("evil.test", 421), ("evil.test:3142", 421)]
)
async def test_only_our_own_name_is_answered(gateway: TestGateway, host: str, status: int) -> None:
    """A foreign name that resolves to us gets no page; another name of this machine leads to the right one."""
    answer = await gateway.browser().client.get("/?a=b", headers={"host": host})
    assert answer.status_code == status
    if status == 307:
        assert answer.headers["location"] == f"{UI}/?a=b"


async def test_readyz_tells_what_is_missing(servers: Servers) -> None:
    """The API host is ready when catalogue, Redis, queue and default index are there."""
    async with open_gateway(servers) as gateway:
        transport = httpx2.ASGITransport(app=gateway.apps.api)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:3141") as client:
            before = await client.get("/readyz")
            await gateway.accounts.init_deployment(STABLE)
            await gateway.resources.directory.refresh()
            after = await client.get("/readyz")
    assert (before.status_code, before.json()["failed"]) == (503, {"default index": "RuntimeError"})
    assert (after.status_code, after.json()) == (200, {"status": "ready"})


async def test_without_redis_nobody_signs_in_and_the_page_says_so(servers: Servers) -> None:
    """An outage of Redis is 503 in words, not a fault of ours, and lets nobody in."""
    async with open_gateway(replace(servers, valkey_url=f"unix://{servers.folder}/nothing")) as gateway:
        browser = gateway.browser()
        stranger = await browser.get("/login")
        browser.client.cookies.set("countermark_session", "some-id")
        answer = await browser.get("/")
    assert (stranger.status_code, answer.status_code) == (503, 503)
    assert "Try again shortly" in stranger.text
    assert "Try again shortly" in answer.text
