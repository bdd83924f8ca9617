"""The upload service with a signer at work over several indexes, for tests of what is pushed from one to another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import orjson
from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import Sha256, sha256_of
from countermark.core.names import FileName
from services.signing.ceremonies.trust_root import ensure_trust
from services.signing.publication.usecases import Publisher
from services.upload.app import create_service
from shared.catalogue.tables import Attachment, File, Grant, IndexRow
from shared.ids import FileId, new_uuid
from shared.objects.interface import Put
from shared.objects.keys import file_key
from shared.resources import Resources
from tests.support.factories import MadeIndex, make_index, make_token, now
from tests.support.resources import service_resources
from tests.support.tuf_reader import TreeReader
from tests.support.uploading import basic, form_body


@dataclass
class Site:
    """A deployment with one account, which owns every index; `stop_signing` leaves what follows unpublished."""

    resources: Resources
    folder: Path
    http: httpx2.AsyncClient
    owner: dict[str, str]
    indexes: dict[str, MadeIndex] = field(default_factory=dict)
    signer: asyncio.Task[None] | None = None

    async def index(
        self, name: str, *, public: bool = True, volatile: bool = False, admission: str = "strict"
    ) -> MadeIndex:
        """Make an index that is published from now on."""
        made = await make_index(self.resources.engine, name, public=public)
        async with self.resources.engine.begin() as connection:
            chosen = update(IndexRow).where(IndexRow.id == made.id).values(volatile=volatile, admission=admission)
            await connection.execute(chosen)
        await self.resources.directory.refresh()
        self.indexes[name] = made
        return made

    async def grant(self, index: str, subject: str, verb: str) -> None:
        """Give a right."""
        async with self.resources.engine.begin() as connection:
            row = insert(Grant).values(index_id=self.indexes[index].id, subject=subject, verb=verb)
            await connection.execute(row)
        await self.resources.directory.refresh()

    async def upload(self, index: str, file_name: str, content: bytes) -> None:
        """Upload as the owner."""
        body, form = form_body(file_name, content)
        answer = await self.http.post(f"/{index}/", content=body, headers=self.owner | form)
        assert answer.status_code == 200, answer.text

    async def push(
        self, source: str, spec: str, target: str | None, *, as_whom: Mapping[str, str] | None = None, **more: Any
    ) -> httpx2.Response:
        """Push `name==version` as the devpi client does, which sends PUSH; the protocol makes it POST."""
        name, _, version = spec.partition("==")
        document = {"name": name, "version": version, **more}
        if target is not None:
            document["targetindex"] = target
        headers = {"accept": "application/json", "content-type": "application/json"}
        given = self.owner if as_whom is None else dict(as_whom)
        return await self.http.post(f"/{source}", content=orjson.dumps(document), headers=headers | given)

    async def token_of(self, account: str) -> dict[str, str]:
        """Return the header of a token of an account, made where there is none."""
        token = await make_token(self.resources.engine, account)
        await self.resources.directory.refresh()
        return basic(token, account)

    def page(self, index: str, project: str = "widget") -> dict[str, Any]:
        """Return the signed page document of a project as a TUF client gets it; empty when there is none."""
        if self.resources.heads.get(self.indexes[index].id) is None:
            return {}
        tree = self.folder / ("public" if self.indexes[index].public else "private") / "indexes" / index
        reader = TreeReader(tree, self.folder / f"cache-{index.replace('/', '-')}")
        found: dict[str, Any] = orjson.loads(reader.target(f"pointers/{project}/_simple.json") or b"{}")
        return found

    def listed(self, index: str, project: str = "widget") -> dict[str, str]:
        """Return what the signed page of a project lists: file name -> sha256."""
        return {file["filename"]: file["hashes"]["sha256"] for file in self.page(index, project).get("files", [])}

    async def rows(self, index: str, **wanted: Any) -> list[Any]:
        """Return the file rows of an index, by name."""
        async with self.resources.engine.connect() as connection:
            query = File.__table__.select().where(File.index_id == self.indexes[index].id).order_by(File.file_name)
            return list(await connection.execute(query.filter_by(**wanted) if wanted else query))

    async def attach(self, index: str, kind: str, name: str, content: bytes, about: FileName | None = None) -> None:
        """Attach documentation to the release, or a test result to the file, that an index has."""
        (file,) = [row for row in await self.rows(index) if about in (None, row.file_name)][:1]
        sha256, made = sha256_of(content), self.indexes[index]
        store = self.resources.objects.side(public=made.public)
        await store.put(file_key(sha256, FileName(name)), content, Put.REPLACE)
        async with self.resources.engine.begin() as connection:
            await connection.execute(
                insert(Attachment).values(
                    id=new_uuid(),
                    index_id=made.id,
                    release_id=file.release_id,
                    file_id=None if about is None else FileId(file.id),
                    kind=kind,
                    file_name=name,
                    path_key=sha256[:16] if about is None else file.path_key,
                    sha256=sha256,
                    length=len(content),
                    added_at=now(),
                    added_by="root",
                )
            )

    async def attachments(self, index: str) -> list[Any]:
        """Return the rows of an index, by name."""
        async with self.resources.engine.connect() as connection:
            table = Attachment.__table__
            query = table.select().where(Attachment.index_id == self.indexes[index].id).order_by(Attachment.file_name)
            return list(await connection.execute(query))

    def stored(self, sha256: Sha256, file_name: str, *, public: bool) -> Path:
        """Return where a side of the store keeps bytes."""
        side = "public" if public else "private"
        return self.folder / side / file_key(sha256, FileName(file_name))

    async def sign(self) -> None:
        """Publish whatever waits, for ever."""
        publisher = Publisher(self.resources)
        while True:
            for index in list(self.indexes.values()):
                await publisher.publish(index.id)
                await self.resources.heads.wake(str(index.id))
            await asyncio.sleep(0.02)

    async def stop_signing(self) -> None:
        """Let nothing be published from now on."""
        if self.signer is not None:
            self.signer.cancel()
            with suppress(asyncio.CancelledError):
                await self.signer
            self.signer = None


@asynccontextmanager
async def open_site(engine: AsyncEngine, folder: Path, *, push_to: str = "") -> AsyncIterator[Site]:
    """Open a deployment without indexes, everything of it in `folder`."""
    async with service_resources(engine, folder, publish_wait=10, push_to=push_to) as resources:
        await ensure_trust(resources)
        owner = basic(await make_token(engine), "root")
        transport = httpx2.ASGITransport(create_service(resources).app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://registry") as http:
            site = Site(resources, folder, http, owner)
            site.signer = asyncio.create_task(site.sign())
            try:
                yield site
            finally:
                await site.stop_signing()
