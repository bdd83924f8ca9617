"""Publishes without signing: what a signer's commit leaves in catalogue and store, for tests of what reads it.

Pages and pointers are those of the real renderer; TUF metadata is bytes of the right names, which nobody here verifies.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from countermark.core.digest import Length, Sha256, sha256_of
from countermark.core.names import page_target
from shared.catalogue.heads import CHANNEL
from shared.catalogue.tables import (
    File,
    Journal,
    Page,
    Publication,
    PublishedFile,
    Release,
    TrustFile,
    TufFile,
    TufHead,
)
from shared.formats.interface import PageFile, ProjectPage
from shared.formats.registry import FORMATS
from shared.objects.interface import ObjectStores, Put
from shared.objects.keys import core_metadata_key, file_key, metadata_key, target_key
from tests.support.factories import MadeFile, MadeIndex, make_file, now


@dataclass(slots=True)
class Published:
    """An index whose publications tests make; `serial` and `pages` are those of the last one.

    Attributes:
        yanked: reason by file name, "" without one; shown with the next publication.
        status: of every project as the next publication shows it.
    """

    engine: AsyncEngine
    stores: ObjectStores
    index: MadeIndex
    serial: int = 0
    visible: dict[str, MadeFile] = field(default_factory=dict)
    pages: dict[str, bytes] = field(default_factory=dict)
    yanked: dict[str, str] = field(default_factory=dict)
    status: str = "active"

    async def upload(self, name: str, content: bytes = b"bytes of a file", metadata: bytes | None = None) -> MadeFile:
        """Insert a file and store its bytes; nobody sees it before `publish`."""
        file = await make_file(self.engine, self.index, name, content, core_metadata=metadata)
        store = self.stores.side(public=self.index.public)
        await store.put(file_key(file.sha256, file.file_name), content, Put.REPLACE)
        if metadata is not None:
            await store.put(core_metadata_key(file.sha256, file.file_name), metadata, Put.REPLACE)
        return file

    async def publish(self, *shown: MadeFile, hidden: Iterable[MadeFile] = (), again: Iterable[MadeFile] = ()) -> int:
        """Show and hide files in one publication; returns its serial. The commit notifies, as the signer's does.

        Args:
            again: files whose project's page is rendered once more, to show its marks.
        """
        self.serial += 1
        for file in shown:
            self.visible[file.file_name] = file
        for file in hidden:
            del self.visible[file.file_name]
        touched = {file.project: file for file in (*shown, *hidden, *again)}
        async with self.engine.begin() as connection:
            for file in shown:
                row = {"index_id": self.index.id, "file_id": file.id, "from_serial": self.serial}
                await connection.execute(insert(PublishedFile).values(**row, project_id=file.project_id))
            closed = update(PublishedFile).where(PublishedFile.file_id.in_([file.id for file in hidden]))
            await connection.execute(closed.values(to_serial=self.serial))
            for file in touched.values():
                await self._page(connection, file)
            await self._log(connection, [(file, "add") for file in shown] + [(file, "remove") for file in hidden])
            await self._head(connection)
            await connection.execute(select(func.pg_notify(CHANNEL, str(self.index.id))))
        return self.serial

    async def mark(self, file: MadeFile, **marks: object) -> None:
        """Set marks of a file row (`held_at`, `held_reason`, `removed_at`, ...), as the upload service does."""
        async with self.engine.begin() as connection:
            await connection.execute(update(File).where(File.id == file.id).values(**marks))

    async def describe(self, file: MadeFile, **fields: object) -> None:
        """Set the metadata of a file's release, as the upload service does with its first file."""
        release = select(File.release_id).where(File.id == file.id).scalar_subquery()
        async with self.engine.begin() as connection:
            await connection.execute(update(Release).where(Release.id == release).values(core_metadata=fields))

    async def _log(self, connection: AsyncConnection, changes: list[tuple[MadeFile, str]]) -> None:
        batch = {"version": self.serial, "changes": len(changes), "started_at": now(), "committed_at": now()}
        place = {"index_id": self.index.id, "serial": self.serial}
        await connection.execute(insert(Publication).values(**place, **batch))
        for position, (file, action) in enumerate(changes):
            line = {"project": file.project, "version": file.version, "action": f"{action} {file.file_name}"}
            row = insert(Journal).values(**place, **line, position=position, actor="root", at=now())
            await connection.execute(row)

    async def _page(self, connection: AsyncConnection, touched: MadeFile) -> None:
        files = [file for file in self.visible.values() if file.project_id == touched.project_id]
        page = ProjectPage(
            self.index.name, touched.project, self.serial, self.status, None, [*map(self._listed, files)]
        )
        for target, content in FORMATS["python"].render(page, [file.file_name for file in files]).items():
            key = target_key(self.index.name, target, sha256_of(content))
            await self.stores.side(public=self.index.public).put(key, content, Put.REPLACE)
            if target == page_target(touched.project):
                self.pages[touched.project] = content
                values = {"sha256": sha256_of(content), "length": len(content), "files": len(files)}
                place = {"index_id": self.index.id, "project_id": touched.project_id, "serial": self.serial}
                await connection.execute(insert(Page).values(**place, project_name=touched.project, **values))

    def _listed(self, file: MadeFile) -> PageFile:
        return PageFile(
            file_name=file.file_name,
            version=file.version,
            package_type="bdist_wheel" if file.file_name.endswith(".whl") else "sdist",
            sha256=Sha256(file.sha256),
            length=Length(len(file.content)),
            requires_python=">=3.9",
            uploaded_at=now(),
            yanked=self.yanked.get(file.file_name),
            core_metadata_sha256=None if file.core_metadata is None else sha256_of(file.core_metadata),
        )

    async def _head(self, connection: AsyncConnection) -> None:
        until = now() + timedelta(days=1)
        store = self.stores.side(public=self.index.public)
        shared = upsert(TrustFile).values(**_metadata("root", 1), expires_at=until)
        await connection.execute(shared.on_conflict_do_nothing())
        root = _metadata("root", 1)["content"]
        assert isinstance(root, bytes)
        await store.put(metadata_key(self.index.name, "root", 1), root, Put.REPLACE)
        for role in ("snapshot", "b8-3f"):
            values = _metadata(role, self.serial)
            assert isinstance(values["content"], bytes)
            await store.put(metadata_key(self.index.name, role, self.serial), values["content"], Put.REPLACE)
            row = insert(TufFile).values(**values, index_id=self.index.id, expires_at=until, current=False)
            await connection.execute(row)
        head = {
            "fence": 1,
            "serial": self.serial,
            "root_version": 1,
            "snapshot_version": self.serial,
            "snapshot_expires_at": until,
            "timestamp_version": self.serial,
            "timestamp_expires_at": until,
            "timestamp": metadata_bytes("timestamp", self.serial),
            "committed_at": now(),
        }
        row = upsert(TufHead).values(index_id=self.index.id, **head)
        await connection.execute(row.on_conflict_do_update(index_elements=[TufHead.index_id], set_=head))


def metadata_bytes(role: str, version: int) -> bytes:
    """Return what stands for a metadata file; long enough that compressing it pays."""
    filler = ",".join(f'"{number}"' for number in range(200))
    return f'{{"signed":{{"_type":"{role}","version":{version},"filler":[{filler}]}}}}'.encode()


def _metadata(role: str, version: int) -> dict[str, object]:
    content = metadata_bytes(role, version)
    return {
        "role": role,
        "version": version,
        "sha256": sha256_of(content),
        "length": len(content),
        "content": content,
    }
