"""Attaches documentation and test results as the upload service does."""

from __future__ import annotations

from dataclasses import dataclass, field

from packaging.utils import canonicalize_name
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import Length, Sha256, sha256_of
from countermark.core.names import FileName
from shared.catalogue import attachments
from shared.catalogue.attachments import DOC, TEST_RESULT, NewAttachment
from shared.catalogue.releases import NewRelease, open_project, open_release
from shared.catalogue.tables import File
from shared.formats.python.names import release_key
from shared.ids import AttachmentId, FileId, ReleaseId
from shared.objects.interface import ObjectStores, Put
from shared.objects.keys import file_key
from tests.support.factories import MadeFile, MadeIndex, now


@dataclass
class Library:
    """Attaches to an index as the upload service does."""

    engine: AsyncEngine
    stores: ObjectStores
    index: MadeIndex
    made: list[AttachmentId] = field(default_factory=list)

    async def add(self, version: str, content: bytes, *, project: str = "thing") -> str:
        """Attach documentation to a release; returns what follows `+f/`."""
        name, digest = FileName(f"{project}-{version}.doc.zip"), sha256_of(content)
        async with self.engine.begin() as connection:
            names = ("python", canonicalize_name(project), project, version, release_key(version))
            new = NewRelease(*names, {}, now())
            project_id = await open_project(connection, self.index.id, 1, new)
            release = await open_release(connection, project_id, new, "devpi")
        return await self._attach(release, None, (DOC, name, digest[:16]), content)

    async def add_result(self, file: MadeFile, content: bytes, number: int = 0) -> str:
        """Attach a test result to a file; returns what follows `+f/`."""
        name = FileName(f"{file.file_name}.toxresult-20261125120000-{number}")
        async with self.engine.connect() as connection:
            release = (await connection.execute(select(File.release_id).where(File.id == file.id))).scalar_one()
        return await self._attach(ReleaseId(release), file.id, (TEST_RESULT, name, file.sha256[:16]), content)

    async def _attach(
        self, release: ReleaseId, file: FileId | None, place: tuple[str, FileName, str], content: bytes
    ) -> str:
        kind, name, path_key = place
        digest = sha256_of(content)
        await self.stores.side(public=self.index.public).put(file_key(digest, name), content, Put.REPLACE)
        about = (self.index.id, release, file, kind, name, path_key)
        new = NewAttachment(*about, Sha256(digest), Length(len(content)), now(), "root")
        side = "public" if self.index.public else "private"
        async with self.engine.begin() as connection:
            self.made.append(await attachments.insert_attachment(connection, side, 1, new))
        return f"{path_key[:3]}/{path_key[3:]}/{name}"

    async def remove(self, attachment: AttachmentId) -> None:
        """Mark an attachment as removed."""
        async with self.engine.begin() as connection:
            await attachments.remove(connection, [attachment], at=now(), by="root")


PAGE = b"<!doctype html><h1>Thing</h1>"
SITE = {
    "index.html": PAGE,
    "install/index.html": b"<h1>Install</h1>",
    "_static/theme.css": b"body {}",
    "_static/font.woff2": b"wOF2",
    "searchindex.js": b"Search.setIndex({})" * 50_000,
    "picture.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "objects.inv": b"# Sphinx inventory version 2",
}
