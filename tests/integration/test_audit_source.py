"""From which address the audit says a person asked, when the upload service is a process of its own."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.catalogue.tables import Audit
from shared.settings import Listen
from tests.support.alone import alone, alone_settings
from tests.support.archives import make_wheel
from tests.support.factories import make_default, make_index, make_token
from tests.support.uploading import basic, form_body

WHEEL = "widget-1.0-py3-none-any.whl"


@pytest.mark.parametrize(
    ("trusted", "source"), [("127.0.0.0/8", "192.0.2.9"), ("", "127.0.0.1")], ids=["trusted", "not trusted"]
)
async def test_a_trusted_gateway_is_believed_about_whom_it_serves(
    engine: AsyncEngine, database: str, valkey_url: str, tmp_path: Path, trusted: str, source: str
) -> None:
    """The row has the address that the trusted proxy saw, and of anybody else the one the connection is from."""
    listen = Listen(service_port=0, api_port=0, ui_port=0, trusted_proxies=trusted)
    settings = alone_settings(database, valkey_url, tmp_path, listen=listen)
    await make_default(engine, await make_index(engine))
    body, form = form_body(WHEEL, make_wheel("widget", "1.0"))
    headers = basic(await make_token(engine)) | form | {"x-forwarded-for": "198.51.100.1, 192.0.2.9"}
    async with alone("upload", settings) as upload, httpx2.AsyncClient() as client:
        assert (await client.post(f"{upload.url}/root/stable/", content=body, headers=headers)).status_code == 200
    async with engine.connect() as connection:
        found = await connection.scalars(select(Audit.source).where(Audit.action == "file.upload"))
    assert found.all() == [source]
