"""What a real browser lets documentation do: it works as a site, and is a stranger to the host it lies on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, async_playwright
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.objects.interface import ObjectStores
from tests.integration.reading.library import Library
from tests.support.archives import zip_of
from tests.support.published import Published
from tests.support.reading import Reading
from tests.support.real import CHROMIUM, CHROMIUM_FLAGS
from tests.support.serving import served

PAGE = b"""<!doctype html><html><head><meta charset="utf-8">
<link rel="stylesheet" href="_static/theme.css">
</head><body><h1 id="title">Thing</h1>
<form action="search.html"><input name="q"><button>Search</button></form>
<img id="own" src="_static/picture.svg">
<script>document.body.dataset.inline = "ran"; document.body.dataset.origin = self.origin;</script>
<script src="_static/site.js"></script>
"""
SCRIPT = b"""
const told = document.body.dataset;
const tries = {
  cookie: () => document.cookie,
  storage: () => { told.kept = String(localStorage.getItem("theme")); localStorage.setItem("theme", "dark"); },
};
for (const [name, attempt] of Object.entries(tries)) {
  try { attempt(); told[name] = "allowed"; } catch (error) { told[name] = error.name; }
}
const asked = {
  data: () => fetch("searchindex.json").then(answer => answer.json()),
  account: () => fetch("/root/secret/+simple/", {credentials: "include"}).then(answer => answer.text()),
  upload: () => fetch("/root/stable/", {method: "POST", headers: {"x-devpi-auth": "eA=="}}),
  elsewhere: () => fetch("http://localhost:1/"),
};
Promise.all(Object.entries(asked).map(([name, attempt]) =>
  attempt().then(() => { told[name] = "allowed"; }, error => { told[name] = error.name; })
)).then(() => { told.done = "yes"; });
"""
SITE = {
    "index.html": PAGE,
    "search.html": b"<!doctype html><h1>Found</h1>",
    "searchindex.json": b"{}",
    "_static/theme.css": b"#title { color: rgb(1, 2, 3); font-family: own } "
    b"@font-face { font-family: own; src: url(font.woff2) }",
    "_static/site.js": SCRIPT,
    "_static/picture.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
}


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    """A real headless Chromium."""
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}")
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=str(CHROMIUM), args=CHROMIUM_FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
async def site(engine: AsyncEngine, stores: ObjectStores, stable: Published, reading: Reading) -> AsyncIterator[str]:
    """The address of the documentation of a public index, beside a private one."""
    await Library(engine, stores, stable.index).add("1.0", zip_of(SITE))
    await reading.news()
    async with served(reading.app) as url:
        yield f"{url}/root/stable/thing/1.0/+doc/"


async def test_documentation_is_a_site_and_a_stranger(chromium: Browser, site: str) -> None:
    """Styles, pictures, scripts, data and search forms work; cookies, storage and the host are out of reach."""
    context = await chromium.new_context()
    await context.add_cookies([{"name": "session", "value": "secret", "url": site}])
    page = await context.new_page()
    cookies = []
    page.on("request", lambda request: cookies.append(request.headers.get("cookie")))
    await page.goto(site)
    await page.wait_for_selector("body[data-done=yes]", state="attached")
    told = await page.evaluate("({...document.body.dataset})")
    color = await page.evaluate("getComputedStyle(document.getElementById('title')).color")
    assert color == "rgb(1, 2, 3)"
    assert await page.evaluate("document.getElementById('own').naturalWidth") == 9
    assert (told["inline"], told["data"]) == ("ran", "allowed")
    assert told["origin"] == "null"
    assert told["cookie"] == "SecurityError"
    assert (told["storage"], told["kept"]) == ("allowed", "null")
    assert await page.evaluate("localStorage.getItem('theme')") == "dark"
    await page.reload()
    await page.wait_for_selector("body[data-done=yes]", state="attached")
    assert await page.evaluate("document.body.dataset.kept") == "null", "it forgets"
    assert (told["account"], told["upload"], told["elsewhere"]) == ("TypeError", "TypeError", "TypeError")
    await page.fill("input", "word")
    await page.click("button")
    await page.wait_for_url("**/+doc/search.html?q=word")
    assert await page.inner_text("h1") == "Found"


async def test_documentation_stands_in_no_frame(chromium: Browser, site: str) -> None:
    """No page around it can pass its own off as it, or lay itself over it."""
    page = await chromium.new_page()
    await page.set_content(f'<iframe src="{site}index.html"></iframe>')
    await page.wait_for_timeout(500)
    shown = page.frames[1]
    assert "Thing" not in await shown.content()
