"""The object store of a process that has none: the gateway touches no objects (architecture section 4)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

from shared.objects.interface import ByteRange, IfMatch, Key, LocalFile, ObjectInfo, ObjectStoreError, OpenObject, Put


class AbsentStore:
    """Refuses everything; so a process is spared the memory of a store's library."""

    async def put(
        self, key: Key, body: bytes | LocalFile, condition: Put | IfMatch = Put.ABSENT, *, durable: bool = True
    ) -> ObjectInfo:
        """Refuse; see `ObjectStore.put`."""
        _refuse()

    @asynccontextmanager
    async def open(self, key: Key, byte_range: ByteRange | None = None) -> AsyncIterator[OpenObject]:
        """Refuse; see `ObjectStore.open`."""
        _refuse()
        yield

    async def head(self, key: Key) -> ObjectInfo | None:
        """Refuse; see `ObjectStore.head`."""
        _refuse()

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        """Refuse; see `ObjectStore.list`."""
        _refuse()
        yield

    async def delete(self, key: Key) -> None:
        """Refuse; see `ObjectStore.delete`."""
        _refuse()

    async def ping(self) -> None:
        """Refuse; see `ObjectStore.ping`."""
        _refuse()

    async def close(self) -> None:
        """Free nothing."""


def _refuse() -> NoReturn:
    raise ObjectStoreError("this process has no object store")
