"""An object store that is counted and timed, whatever adapter it is."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from shared.metrics import Metrics
from shared.objects.interface import (
    ByteRange,
    IfMatch,
    Key,
    LocalFile,
    ObjectExists,
    ObjectInfo,
    ObjectNotFound,
    ObjectStore,
    ObjectStoreError,
    OpenObject,
    PreconditionFailed,
    Presigner,
    Put,
    RangeNotSatisfiable,
)
from shared.objects.sweeping import PartsSweeper

_ANSWERS = (ObjectExists, ObjectNotFound, PreconditionFailed, RangeNotSatisfiable)
"""What the interface promises: no fault of the store."""


class MeteredStore:
    """Passes everything on to another store."""

    def __init__(self, store: ObjectStore, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    async def put(
        self, key: Key, body: bytes | LocalFile, condition: Put | IfMatch = Put.ABSENT, *, durable: bool = True
    ) -> ObjectInfo:
        """See `ObjectStore.put`."""
        with self._measured("put"):
            return await self._store.put(key, body, condition, durable=durable)

    @asynccontextmanager
    async def open(self, key: Key, byte_range: ByteRange | None = None) -> AsyncIterator[OpenObject]:
        """See `ObjectStore.open`; timed until the first bytes are there."""
        async with AsyncExitStack() as stack:
            with self._measured("open"):
                opened = await stack.enter_async_context(self._store.open(key, byte_range))
            chunks = await stack.enter_async_context(aclosing(self._counted(opened.chunks)))
            yield OpenObject(opened.info, chunks)

    async def head(self, key: Key) -> ObjectInfo | None:
        """See `ObjectStore.head`."""
        with self._measured("head"):
            return await self._store.head(key)

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        """See `ObjectStore.list`; failures are counted, and no time, which depends on who reads."""
        try:
            async for info in self._store.list(prefix):
                yield info
        except ObjectStoreError:
            self._metrics.store_errors.labels("list").inc()
            raise

    async def delete(self, key: Key) -> None:
        """See `ObjectStore.delete`."""
        with self._measured("delete"):
            await self._store.delete(key)

    async def ping(self) -> None:
        """See `ObjectStore.ping`."""
        with self._measured("ping"):
            await self._store.ping()

    async def close(self) -> None:
        """See `ObjectStore.close`."""
        await self._store.close()

    async def _counted(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in chunks:
                yield chunk
        except ObjectStoreError:
            self._metrics.store_errors.labels("read").inc()
            raise

    @contextmanager
    def _measured(self, operation: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        except _ANSWERS:
            raise
        except ObjectStoreError:
            self._metrics.store_errors.labels(operation).inc()
            raise
        finally:
            self._metrics.store_seconds.labels(operation).observe(time.perf_counter() - began)


@runtime_checkable
class BucketStore(ObjectStore, Presigner, PartsSweeper, Protocol):
    """A store that can do more than the five methods: that of S3."""


class MeteredBucket(MeteredStore):
    """The same for a store that hands out URLs and gives up parts that nobody will finish."""

    def __init__(self, bucket: BucketStore, metrics: Metrics) -> None:
        super().__init__(bucket, metrics)
        self._bucket = bucket

    async def presign(self, key: Key, lifetime: timedelta) -> str:
        """See `Presigner.presign`."""
        with self._measured("presign"):
            return await self._bucket.presign(key, lifetime)

    async def sweep_parts(self, prefix: str, before: datetime) -> int:
        """See `PartsSweeper.sweep_parts`."""
        with self._measured("sweep"):
            return await self._bucket.sweep_parts(prefix, before)


def metered(store: ObjectStore, metrics: Metrics) -> ObjectStore:
    """Return the store, counted; it can do what the store can do."""
    return MeteredBucket(store, metrics) if isinstance(store, BucketStore) else MeteredStore(store, metrics)
