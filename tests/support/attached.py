"""What attachments look like in the catalogue, and how clients send them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx2
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.catalogue.tables import Attachment, Grant, IndexRow
from shared.ids import IndexId
from tests.support.uploader import Uploader


async def attached_rows(engine: AsyncEngine) -> list[Mapping[str, Any]]:
    """Return all attachments, the oldest first, as plain mappings."""
    columns = ("kind", "file_name", "path_key", "sha256", "length", "history", "added_by", "removed_at", "removed_by")
    query = select(*(getattr(Attachment, name) for name in columns)).order_by(Attachment.added_at, Attachment.id)
    async with engine.connect() as connection:
        return [dict(row._mapping) for row in await connection.execute(query)]


async def grant(engine: AsyncEngine, index_id: IndexId, subject: str, verb: str) -> None:
    """Give a right on an index."""
    async with engine.begin() as connection:
        await connection.execute(insert(Grant).values(index_id=index_id, subject=subject, verb=verb))


async def set_index(engine: AsyncEngine, index_id: IndexId, **values: object) -> None:
    """Change columns of an index, as the gateway does."""
    async with engine.begin() as connection:
        await connection.execute(update(IndexRow).where(IndexRow.id == index_id).values(**values))


async def send_docs(
    uploader: Uploader,
    content: bytes,
    *,
    name: str | None = "widget",
    version: str | None = "1.0",
    file_name: str = "widget.zip",
    path: str = "/root/stable/",
) -> httpx2.Response:
    """Upload documentation as the devpi client does."""
    fields = {":action": "doc_upload", "name": name, "version": version}
    told = {field: value for field, value in fields.items() if value is not None}
    return await uploader.post(file_name, content, fields=told, path=path)
