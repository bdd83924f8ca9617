"""The release that is pushed, and what tests look at behind it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select, update

from countermark.core.names import FileName
from shared.catalogue.tables import File
from shared.objects.interface import Put
from shared.objects.keys import file_key
from tests.support.factories import make_file
from tests.support.pushing import Site

WHEEL = FileName("widget-1.0-py3-none-any.whl")
SDIST = FileName("widget-1.0.tar.gz")


def address(index: str, sha256: str, name: str) -> str:
    """Return the path of a file as the action log has it."""
    return f"{index}/+f/{sha256[:3]}/{sha256[3:16]}/{name}"


async def count(site: Site, column: Any, *conditions: Any) -> int:
    """Count rows."""
    async with site.resources.engine.connect() as connection:
        return await connection.scalar(select(func.count(column)).where(*conditions)) or 0


async def add_bare(site: Site, index: str, name: str, content: bytes) -> None:
    """Add a file as admission `devpi` takes it: nobody looked inside."""
    made = site.indexes[index]
    file = await make_file(
        site.resources.engine, made, name.removesuffix(".zip") if name.endswith(".zip") else name, content
    )
    if file.file_name != name:
        async with site.resources.engine.begin() as connection:
            await connection.execute(update(File).where(File.id == file.id).values(file_name=name))
    store = site.resources.objects.side(public=made.public)
    await store.put(file_key(file.sha256, FileName(name)), content, Put.REPLACE)
