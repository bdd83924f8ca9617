"""The dashboard's page of what waits for approvals: counts for readers, nothing for strangers, nothing to press."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from countermark.core.names import IndexName
from gateway.accounts import NewIndex
from gateway.upstream import Mounted, Upstream
from shared.service import Service
from tests.support.dashboard import PASSWORD, signed_in
from tests.support.gateway import Servers, TestGateway, open_gateway
from tests.support.registry_api import AT, RegistryApi, file_line, project_line

PAGE = "/indexes/root/stable/approvals"
LINE = {
    "id": "019a0000-0000-7000-8000-000000000001", "project": "thing", "version": "2.0", "filename": "thing-2.0.tar.gz",
    "state": "waiting", "words": "waiting for 1 of 2 approvals of alice, bob", "needed": 2, "given": 1,
    "given_by": ["alice"], "people": ["alice", "bob"], "asked_by": "uploader", "asked_at": AT, "expires_at": AT,
}  # fmt: skip


class Approvals:
    """What the signing service tells."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.demands: list[dict[str, Any]] = []

    def upstream(self) -> Upstream:
        """Return the service."""
        base = "/api/v1/indexes/{owner}/{index}"
        routes = [Route(f"{base}/approvals", self._items), Route(f"{base}/approval-demands", self._demands)]
        return Mounted(Service("signing", Starlette(routes=routes)))

    async def _items(self, _request: Request) -> Response:
        return JSONResponse({"items": self.items, "next": None})

    async def _demands(self, _request: Request) -> Response:
        return JSONResponse({"items": self.demands})


@pytest.fixture
def approvals() -> Approvals:
    """Nothing is demanded, nothing waits."""
    return Approvals()


@pytest.fixture
def api() -> RegistryApi:
    """What the other services tell."""
    return RegistryApi(projects=[project_line("demo")])


@pytest.fixture
async def gateway(
    engine: AsyncEngine, valkey_url: str, database: str, tmp_path: Path, approvals: Approvals, api: RegistryApi
) -> AsyncIterator[TestGateway]:
    """`guest` may read the public index of `root`; `hidden` is private."""
    upstreams = {**api.upstreams(), "signing": approvals.upstream()}
    async with open_gateway(Servers(engine, valkey_url, database, tmp_path), upstreams=upstreams) as gateway:
        await gateway.accounts.init_deployment(IndexName("root", "stable"))
        await gateway.accounts.create_account("guest", password=PASSWORD)
        await gateway.accounts.create_index(NewIndex(IndexName("root", "hidden"), "private"))
        await gateway.resources.directory.refresh()
        yield gateway


async def test_readers_see_counts_and_words(gateway: TestGateway, approvals: Approvals) -> None:
    """What waits, how many of how many have approved, who, and until when; what is demanded of what."""
    approvals.items = [LINE, {**LINE, "state": "expired", "filename": "old-1.0.tar.gz", "given": 0, "given_by": []}]
    approvals.demands = [
        {"project": None, "needed": 2, "people": ["alice", "bob"], "own": False},
        {"project": "thing", "needed": 1, "people": None, "own": True},
    ]
    page = (await (await signed_in(gateway, "guest")).get(PAGE)).text
    for words in (
        "1 of 2",
        "by alice",
        "thing-2.0.tar.gz",
        "Everything here: 2 approvals of alice, bob",
        "whoever may approve",
    ):
        assert words in page, words
    assert page.count('class="badge bad"') == 1
    assert "<form" not in page.partition("<main")[2]


async def test_an_index_without_demands_says_so(gateway: TestGateway) -> None:
    """An empty page says what it would show."""
    page = (await (await signed_in(gateway, "guest")).get(PAGE)).text
    assert "without approvals" in page
    assert "Nothing waits for approvals" in page


async def test_strangers_and_those_who_may_not_read_see_nothing(gateway: TestGateway) -> None:
    """The page is behind the login, and of a private index for its readers alone."""
    page = await gateway.browser().get(PAGE, follow=False)
    assert (page.status_code, page.headers["location"]) == (303, "/login")
    hidden = await (await signed_in(gateway, "guest")).get("/indexes/root/hidden/approvals")
    assert hidden.status_code in {403, 404}


async def test_a_release_shows_which_of_its_files_wait(gateway: TestGateway, api: RegistryApi) -> None:
    """A file that waits for approvals is not said to wait for its signature."""
    files = [file_line("demo-1.0.tar.gz", state="waiting"), file_line("demo-1.0.zip", state="withdrawn")]
    api.release = {"metadata": {}, "files": files}
    page = (await (await signed_in(gateway, "guest")).get("/indexes/root/stable/projects/demo")).text
    assert "needs approvals" in page
    assert "withdrawn" in page
    assert "removed" not in page
