"""People at the dashboard: signing in, and sending the forms that its pages show."""

from __future__ import annotations

import re

import httpx2

from tests.support.browser import Browser
from tests.support.gateway import TestGateway

PASSWORD = "a long enough password"


async def signed_in(gateway: TestGateway, account: str, password: str = PASSWORD) -> Browser:
    """Return the browser of an account that signed in with its password."""
    browser = gateway.browser()
    home = await browser.submit(await browser.get("/"), {"account": account, "password": password})
    assert home.status_code == 200
    return browser


async def post(browser: Browser, page: str, path: str, **fields: str) -> httpx2.Response:
    """Send a form with the token that `page` shows; a page's first form is the one that signs out."""
    token = re.search(r'name="form_token" value="([^"]+)"', (await browser.get(page)).text)
    assert token is not None
    headers = {"origin": str(browser.client.base_url).rstrip("/")}
    return await browser.client.post(path, data={"form_token": token[1], **fields}, headers=headers)
