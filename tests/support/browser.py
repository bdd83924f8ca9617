"""A browser for tests: keeps cookies, follows redirects on its own host, fills in the forms that pages show."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import urljoin

import httpx2
from starlette.types import ASGIApp


class _Form(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember the form's action and its fields."""
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = values.get("action", "")
        elif tag == "input" and "name" in values:
            self.fields[values["name"]] = values.get("value", "")


class Browser:
    """One person's browser on the UI listener."""

    def __init__(self, app: ASGIApp, url: str, *, address: str = "127.0.0.1") -> None:
        self._url = url
        transport = httpx2.ASGITransport(app=app, client=(address, 50_000))
        self.client = httpx2.AsyncClient(transport=transport, base_url=url)

    async def get(self, path: str, *, follow: bool = True) -> httpx2.Response:
        """Open a page."""
        return await self.client.get(path, follow_redirects=follow)

    async def submit(
        self, page: httpx2.Response, fields: dict[str, str] | None = None, *, follow: bool = True
    ) -> httpx2.Response:
        """Fill in a page's form and send it, as a browser does: with the page's origin."""
        form = _Form()
        form.feed(page.text)
        return await self.client.post(
            urljoin(str(page.url), form.action),
            data={**form.fields, **(fields or {})},
            headers={"origin": self._url},
            follow_redirects=follow,
        )

    def cookie_names(self) -> set[str]:
        """Return the names of the cookies it holds."""
        return {cookie.name for cookie in self.client.cookies.jar}
