"""The dashboard of a real gateway, before services that answer as the API does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import IndexName
from gateway.accounts import NewIndex
from tests.integration.dashboard.demo import STABLE, WHEEL
from tests.support.browser import Browser
from tests.support.dashboard import PASSWORD, signed_in
from tests.support.gateway import Servers, TestGateway, open_gateway
from tests.support.registry_api import RegistryApi, file_line, project_line


@pytest.fixture
def api() -> RegistryApi:
    """An index with three projects, and a release with two files."""
    description = "# Title\n\n<script>alert(1)</script>\n\n**bold** [w](https://example.org) [no](javascript:alert(1))"
    metadata = {"summary": "A demo.", "description": description, "description_content_type": "text/markdown"}
    links = {"home_page": "javascript:alert(1)", "project_urls": {"Docs": "https://example.org/docs"}}
    files = [file_line(WHEEL), file_line("demo-1.0.tar.gz", state="failed", serial=None, error="It is too odd.")]
    projects = [project_line("demo"), project_line("other"), project_line("old", status="archived", releases=0)]
    projects[2]["latest_version"] = None
    return RegistryApi(projects, {"metadata": {**metadata, **links}, "files": files})


@pytest.fixture
async def gateway(
    engine: AsyncEngine, valkey_url: str, database: str, api: RegistryApi, tmp_path: Path
) -> AsyncIterator[TestGateway]:
    """A gateway before that API, with the owner `root` and `guest`, who owns nothing."""
    servers = Servers(engine, valkey_url, database, tmp_path)
    async with open_gateway(servers, upstreams=api.upstreams()) as gateway:
        await gateway.accounts.init_deployment(STABLE)
        await gateway.accounts.create_index(NewIndex(IndexName("root", "vault"), "private"))
        await gateway.accounts.set_password("root", PASSWORD)
        await gateway.accounts.create_account("guest", password=PASSWORD)
        await gateway.resources.directory.refresh()
        yield gateway


@pytest.fixture
async def root(gateway: TestGateway) -> Browser:
    """The owner's browser, signed in."""
    return await signed_in(gateway, "root")
