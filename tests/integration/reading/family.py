"""Indexes with bases for the tests of merged views, and what happens to them."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx2
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import parse_index_name
from shared.catalogue.tables import IndexRow, Project
from shared.objects.interface import ObjectStores
from tests.integration.reading.constants import JSON
from tests.support.factories import MadeFile, make_index, set_bases
from tests.support.published import Published
from tests.support.reading import Reading


@dataclass(slots=True)
class Family:
    """Indexes by name, in one catalogue and one process."""

    engine: AsyncEngine
    reading: Reading
    stores: ObjectStores
    indexes: dict[str, Published] = field(default_factory=dict)

    async def make(self, name: str, *bases: str, **options: object) -> Published:
        """Make an index, or give one other bases."""
        if name not in self.indexes:
            public = bool(options.pop("public", True))
            kind = str(options.pop("kind", "stage"))
            made = await make_index(self.engine, name, public=public, kind=kind)
            self.indexes[name] = Published(self.engine, self.stores, made)
        await set_bases(self.engine, self.indexes[name].index, *bases, **options)
        return self.indexes[name]

    async def set(self, name: str, **settings: object) -> None:
        """Change settings of an index."""
        index = parse_index_name(name)
        row = (IndexRow.owner == index.owner, IndexRow.name == index.name)
        async with self.engine.begin() as connection:
            old = (await connection.scalars(select(IndexRow.settings).where(*row))).one()
            await connection.execute(update(IndexRow).where(*row).values(settings=old | settings))
        await self.reading.news()

    async def publish(self, name: str, file_name: str, content: bytes, metadata: bytes | None = None) -> MadeFile:
        """Publish a file in an index, and tell the process of it."""
        published = self.indexes[name]
        file = await published.upload(file_name, content, metadata)
        await published.publish(file)
        await self.reading.news()
        return file

    async def hide(self, name: str, file: MadeFile, **marks: object) -> None:
        """Mark a file and publish what that changes."""
        await self.indexes[name].mark(file, **marks)
        await self.indexes[name].publish(hidden=[file])
        await self.reading.news()

    async def quarantine(self, name: str, reason: str) -> None:
        """Put the project of an index into quarantine."""
        published = self.indexes[name]
        await self._status(published, "quarantined", reason)
        published.status = "quarantined"
        await published.publish(hidden=list(published.visible.values()))
        await self.reading.news()

    async def release(self, name: str, *files: MadeFile) -> None:
        """End a quarantine, after which these files show again."""
        published = self.indexes[name]
        await self._status(published, "active", None)
        published.status = "active"
        await published.publish(*files)
        await self.reading.news()

    async def _status(self, published: Published, status: str, reason: str | None) -> None:
        async with self.engine.begin() as connection:
            marked = update(Project).where(Project.index_id == published.index.id)
            await connection.execute(marked.values(status=status, status_reason=reason))


PAGE = "/a/top/+simple/thing/"
SDIST = "thing-0.9.tar.gz"


async def listed(client: httpx2.AsyncClient, path: str = PAGE) -> list[str]:
    """Return the file names of a page, in its order; an absent page has none."""
    answer = await client.get(path, headers={"accept": JSON})
    return [file["filename"] for file in answer.json()["files"]] if answer.status_code == 200 else []
