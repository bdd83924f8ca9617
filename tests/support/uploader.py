"""The upload service with a client of it, for tests of what it takes and refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from services.upload.app import create_service
from shared.auth.principal import Scope, Verb
from shared.catalogue.tables import File
from shared.objects.interface import ObjectStore
from shared.resources import Resources
from tests.support.factories import MadeIndex, make_default, make_index, make_token
from tests.support.resources import Scan, service_resources, with_public_store
from tests.support.uploading import basic, form_body


@dataclass
class Uploader:
    """A client of the upload service, and what it needs to be let in."""

    resources: Resources
    index: MadeIndex
    http: httpx2.AsyncClient
    token: str

    async def post(
        self,
        file_name: str,
        content: bytes,
        *,
        fields: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        path: str = "/root/stable/",
    ) -> httpx2.Response:
        """Upload as twine does."""
        body, form = form_body(file_name, content, fields)
        return await self.http.post(
            path, content=body, headers={**(basic(self.token) if headers is None else headers), **form}
        )

    async def files(self) -> int:
        """Count the files in the catalogue."""
        async with self.resources.engine.connect() as connection:
            return await connection.scalar(select(func.count()).select_from(File)) or 0

    def left_behind(self) -> list[Path]:
        """Return what lies in the staging folder and, of files, in the store."""
        data = self.resources.settings.data
        return [path for path in [*data.glob("staging/*"), *data.glob("public/files/**/*")] if path.is_file()]


@asynccontextmanager
async def open_uploader(
    engine: AsyncEngine, folder: Path, store: ObjectStore | None = None, *, scan: Scan = "warn"
) -> AsyncIterator[Uploader]:
    """Wire the service with everything in `folder`, a default index, and the owner's token for it.

    Args:
        store: keeps the files of public indexes instead of a folder.
    """
    async with service_resources(engine, folder, scan=scan) as opened:
        resources = opened if store is None else with_public_store(opened, store)
        index = await make_index(engine)
        await make_default(engine, index)
        token = await make_token(engine, "root", [Scope(index.name, None, frozenset({Verb.UPLOAD, Verb.READ}))])
        await resources.directory.refresh()
        transport = httpx2.ASGITransport(create_service(resources).app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://registry") as http:
            yield Uploader(resources, index, http, token)
