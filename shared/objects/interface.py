"""The object store: five methods that a folder and any S3 can both keep.

Every adapter passes the one suite in `tests/contract/object_store`.
Source: architecture section 6.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import NewType, Protocol, runtime_checkable

Key = NewType("Key", str)
"""The name of stored bytes: segments joined by `/`, no leading slash, no `.` or `..` segment; made only by
`shared.objects.keys`."""


class ObjectStoreError(Exception):
    """The store could not do it: unreachable, refused, full. The message names the store and what to check."""


class ObjectExists(ObjectStoreError):
    """A put on condition `Put.ABSENT` found the key taken. Nothing was written."""


class ObjectNotFound(ObjectStoreError):
    """There is nothing under the key."""


class PreconditionFailed(ObjectStoreError):
    """A put on condition of an ETag found other bytes. Nothing was written."""


class RangeNotSatisfiable(ObjectStoreError):
    """The range begins at or after the end of the object."""


class Put(Enum):
    """When a put may write."""

    ABSENT = "absent"
    """Only when nothing is there."""
    REPLACE = "replace"
    """Always."""


@dataclass(frozen=True, slots=True)
class IfMatch:
    """Write only over the object that has this ETag."""

    etag: str


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `start` to `stop`, `stop` not included; `stop` may lie beyond the end or be None for "to the end"."""

    start: int
    stop: int | None = None

    def __post_init__(self) -> None:
        if self.start < 0 or (self.stop is not None and self.stop <= self.start):
            raise ValueError(f"a range begins at 0 or later and ends after its beginning: {self.start} to {self.stop}")


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A body that lies in a file of this machine; the store may link it instead of copying. It is never changed or
    removed by the store."""

    path: Path


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is known of stored bytes: `length` in bytes, `etag` opaque and without quotes, `modified` aware UTC."""

    key: Key
    length: int
    etag: str
    modified: datetime


@dataclass(frozen=True, slots=True)
class OpenObject:
    """An object being read: `info` of the whole, `chunks` of the asked range, at most 256 KiB each."""

    info: ObjectInfo
    chunks: AsyncIterator[bytes]


class ObjectStore(Protocol):
    """Stored bytes by key. All methods raise `ObjectStoreError` when the store cannot be used."""

    async def put(
        self, key: Key, body: bytes | LocalFile, condition: Put | IfMatch = Put.ABSENT, *, durable: bool = True
    ) -> ObjectInfo:
        """Store `body` under `key`: whole, durable and visible when this returns, or not at all.

        Args:
            durable: whether it must outlive a power cut. If not, one that comes in the next seconds may take it back
                or leave it empty: for copies of what is stored elsewhere. A store that knows no such thing ignores it.

        Raises:
            ObjectExists: on `Put.ABSENT` and the key is taken.
            PreconditionFailed: on `IfMatch` and the key is free or has another ETag.
        """

    def open(self, key: Key, byte_range: ByteRange | None = None) -> AbstractAsyncContextManager[OpenObject]:
        """Read an object or a range of it; leaving the context frees the connection, also half-way.

        Raises:
            ObjectNotFound: there is nothing.
            RangeNotSatisfiable: `byte_range.start` is at or beyond the end.
        """

    async def head(self, key: Key) -> ObjectInfo | None:
        """Return what is known of the object, or None when there is nothing."""

    def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        """Yield every object whose key begins with `prefix`, in key order."""

    async def delete(self, key: Key) -> None:
        """Remove the object; nothing happens when it is not there."""

    async def ping(self) -> None:
        """Return when the store answers and can be written to as configured."""

    async def close(self) -> None:
        """Free connections."""


@runtime_checkable
class Presigner(Protocol):
    """A store that can hand out URLs of its own."""

    async def presign(self, key: Key, lifetime: timedelta) -> str:
        """Return a URL that reads `key` without credentials for `lifetime`."""


@dataclass(frozen=True, slots=True)
class ObjectStores:
    """The two sides of the store: trees and files of public indexes, and those of private ones."""

    public: ObjectStore
    private: ObjectStore

    def side(self, *, public: bool) -> ObjectStore:
        """Return the store in which an index of that visibility keeps its tree and files."""
        return self.public if public else self.private
