"""Asking the reading services as the devpi client does, and what its documents are made of."""

from __future__ import annotations

import base64
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import sha256_of
from shared.catalogue.tables import Attachment, File, IndexBase, Release
from shared.ids import new_uuid
from shared.objects.interface import ObjectStores
from tests.support.factories import MadeFile, make_index, make_project, now
from tests.support.published import Published

HOST = "http://index.test"
DEVPI = {"accept": "application/json", "content-type": "application/json", "user-agent": "devpi-client/7.3.0"}


def url_of(file: MadeFile, index: str = "root/stable") -> str:
    """Return the address of a file in devpi's form."""
    return f"{HOST}/{index}/+f/{file.path}"


async def register(engine: AsyncEngine, published: Published, project: str, version: str, **fields: object) -> None:
    """Insert a release without files, as a form with `submit` does."""
    project_id = await make_project(engine, published.index, project)
    row = {"project_id": project_id, "version": version, "version_key": version, "core_metadata": fields}
    async with engine.begin() as connection:
        await connection.execute(insert(Release).values(id=new_uuid(), created_at=now(), **row))


async def attach(engine: AsyncEngine, file: MadeFile, kind: str, name: str, **values: object) -> None:
    """Insert documentation of a file's release, or a test result of the file."""
    async with engine.begin() as connection:
        release, index = (
            await connection.execute(select(File.release_id, File.index_id).where(File.id == file.id))
        ).one()
        row = {
            "id": new_uuid(),
            "index_id": index,
            "release_id": release,
            "file_id": file.id if kind == "test-result" else None,
            "kind": kind,
            "file_name": name,
            "path_key": file.sha256[:16] if kind == "test-result" else sha256_of(name.encode())[:16],
            "sha256": sha256_of(name.encode()),
            "length": 1,
            "added_at": now(),
            "added_by": "root",
        }
        await connection.execute(insert(Attachment).values(**row | values))


async def base_on(engine: AsyncEngine, published: Published, *bases: str) -> None:
    """Give an index bases."""
    async with engine.begin() as connection:
        for position, base in enumerate(bases):
            owner, name = base.split("/")
            row = {"index_id": published.index.id, "position": position, "base_owner": owner, "base_name": name}
            await connection.execute(insert(IndexBase).values(**row))


async def other_index(
    engine: AsyncEngine, stores: ObjectStores, name: str, *files: str, public: bool = True
) -> Published:
    """Return an index with published files; the content of each is its name and the index's."""
    published = Published(engine, stores, await make_index(engine, name, public=public))
    made = [await published.upload(file, f"{file} of {name}".encode()) for file in files]
    await published.publish(*made)
    return published


def basic(user: str, secret: str) -> str:
    """Return credentials as devpi's header has them."""
    return base64.b64encode(f"{user}:{secret}".encode()).decode()


def signed_in(user: str, secret: str) -> dict[str, Any]:
    """Return the header of the devpi client."""
    return {"x-devpi-auth": basic(user, secret)}
