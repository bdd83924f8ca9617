"""A mirror whose upstream is known, and a stage to which its files are pushed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import NormalizedName
from shared.catalogue.fetches import Turn
from shared.catalogue.mirror_pages import MirrorId, NewPage, keep
from shared.catalogue.tables import IndexRow
from shared.formats.python.origins import pack_files
from shared.formats.python.simple_pages import JSON_TYPE, read_page
from shared.formats.python.upstream import page_of_mirror, take_over
from shared.outgoing import Outgoing
from shared.outside import LOOPBACK, Outside
from shared.zstd import pack
from tests.support.factories import now
from tests.support.pushing import Site, open_site
from tests.support.reading import served
from tests.support.upstream import Upstream

PROJECT = NormalizedName("widget")


@asynccontextmanager
async def open_mirrored(engine: AsyncEngine, folder: Path, upstream: Upstream) -> AsyncIterator[Site]:
    """Open a deployment with `root/pypi`, a mirror that keeps the upstream's page of `widget`, and `root/stable`."""
    async with open_site(engine, folder) as opened, served(upstream) as url:
        object.__setattr__(opened.resources, "outgoing", Outgoing(Outside(networks=LOOPBACK)))
        await opened.index("root/stable")
        made = await opened.index("root/pypi")
        async with engine.begin() as connection:
            settings = {"mirror_url": f"{url}/simple/"}
            row = update(IndexRow).where(IndexRow.id == made.id)
            await connection.execute(row.values(type="mirror", settings=settings))
            raw = read_page(upstream.page("widget"), JSON_TYPE, f"{url}/simple/widget/")
            page = take_over(raw, PROJECT)
            document, fresh = page_of_mirror(opened.indexes["root/pypi"].name, page), now() + timedelta(hours=1)
            new = NewPage(pack(document), pack_files(page.files), None, f"{url}/simple/", 1, None, now(), fresh)
            await keep(connection, MirrorId(made.id, 1), PROJECT, new, Turn("", mine=False))
        await opened.resources.directory.refresh()
        yield opened
