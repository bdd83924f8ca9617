"""An index that verifies on read, for the tests of what is served and held."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx2
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.auth.directory import CHANNEL
from shared.catalogue import outbox
from shared.catalogue.tables import IndexRow
from shared.ids import IndexId
from shared.jobs.messages import HoldFile, message_from
from shared.objects.interface import ByteRange, Key, ObjectStore
from shared.objects.keys import file_key
from tests.support.factories import MadeFile
from tests.support.reading import Reading
from tests.support.signed_index import SignedIndex

SMALL, BIG = "thing-1.0-py3-none-any.whl", "thing-2.0.tar.gz"
CONTENT = b"wheel of 1.0"


class CountingStore:
    """A store that tells which objects were opened."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.opened: list[Key] = []
        self.head, self.put, self.list = store.head, store.put, store.list
        self.delete, self.ping, self.close = store.delete, store.ping, store.close

    def open(self, key: Key, byte_range: ByteRange | None = None):  # type: ignore[no-untyped-def]
        """Open an object, and note it."""
        self.opened.append(key)
        return self._store.open(key, byte_range)


@dataclass(slots=True)
class Guarded:
    """An index that verifies on read, with a small file and one that is streamed."""

    signed: SignedIndex
    reading: Reading
    client: httpx2.AsyncClient
    store: CountingStore
    files: dict[str, MadeFile] = field(default_factory=dict)

    async def get(self, name: str, index: str = "root/stable", suffix: str = "", **more: object) -> httpx2.Response:
        """Ask for a file."""
        return await self.client.get(f"/{index}/+f/{self.files[name].path}{suffix}", **more)  # type: ignore[arg-type]

    def key(self, name: str) -> Key:
        """Return where a file's bytes are."""
        return file_key(self.files[name].sha256, self.files[name].file_name)

    async def asked_to_hold(self) -> list[HoldFile]:
        """Return what the upload service was asked to hold."""
        async with self.signed.engine.connect() as connection:
            jobs = await outbox.listing(connection, dead=False)
        found = [message_from(job.kind, job.ids) for job in jobs if job.kind == HoldFile.kind]
        return [one for one in found if isinstance(one, HoldFile)]


async def switch(engine: AsyncEngine, index_id: IndexId, *, on: bool) -> None:
    """Set whether an index verifies on read."""
    async with engine.begin() as connection:
        of_id = IndexRow.id == index_id
        await connection.execute(update(IndexRow).where(of_id).values(settings={"verify_on_read": on}))
        await connection.execute(select(func.pg_notify(CHANNEL, "")))
