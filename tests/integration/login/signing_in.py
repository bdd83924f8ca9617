"""Who signs in at the gateway of these tests, and the two ways in."""

from __future__ import annotations

import httpx2

from countermark.core.names import IndexName
from gateway.accounts import owner_link_url
from tests.support.browser import Browser
from tests.support.gateway import TestGateway

UI = "http://127.0.0.1:3142"
PASSWORD = "correct horse battery"
STABLE = IndexName("root", "stable")


async def owner_link(gateway: TestGateway) -> str:
    """Return the path of a new one-time link for `root`."""
    return owner_link_url("", await gateway.accounts.create_owner_link("root"))


async def sign_in(gateway: TestGateway, browser: Browser, **fields: str) -> httpx2.Response:
    """Fill in the login form as `root`, with other fields where given, and return the answer."""
    return await browser.submit(await browser.get("/"), {"account": "root", "password": PASSWORD, **fields})
