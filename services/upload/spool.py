"""Writes an arriving file to a temporary one while hashing it, in threads; memory is two batches whatever its size.

Measured on two cores: hashing three times and writing costs 3 ms for each MiB; done in the event loop it would hold up
every other request. The disk is told to begin long before the end, so that the last wait for it is short.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import threading
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from countermark.core.digest import Length, Sha256
from shared.errors import ErrorKind, ServiceError

BATCH_BYTES = 1 << 20
"""Bytes handed to the threads at once; as many more are gathered meanwhile."""

SYNC_BYTES = 32 << 20
"""Bytes after which the disk is told to take what was written, while more arrives."""

SUFFIX = ".upload"
"""What the names of arriving files end with."""


_EARLY = ThreadPoolExecutor(1, "upload-sync")
"""One thread for all uploads: a slow disk is not to hold those that everything else needs."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """A file that arrived whole: where it is, its length in bytes, and its digests in lower-case hexadecimal."""

    path: Path
    length: Length
    sha256: Sha256
    blake2b_256: str
    md5: str


class Spool:
    """One arriving file. Feed it, `drain` after each feed, then `finish`; `discard` instead, or after any failure."""

    def __init__(self, folder: Path, sync_bytes: int = SYNC_BYTES) -> None:
        """Prepare for a file below `folder`, under a random name; nothing is created before the first batch."""
        self._path = folder / f"{secrets.token_hex(16)}{SUFFIX}"
        self._descriptor: int | None = None
        self._closed = False
        # Held by whoever uses the descriptor: a cancelled request does not stop its thread.
        self._lock = threading.Lock()
        self._sha256 = hashlib.sha256()
        self._blake2b = hashlib.blake2b(digest_size=32)
        self._md5 = hashlib.md5(usedforsecurity=False)
        # Two buffers that take turns: fresh memory for each batch costs more than the copy into it.
        self._batch, self._spare = bytearray(), bytearray()
        self._filled = 0
        self._working: asyncio.Future[list[None]] | None = None
        self._sync_bytes = sync_bytes
        self._unsynced = 0
        self._syncing: asyncio.Future[None] | None = None
        self.length = 0

    def feed(self, data: memoryview) -> None:
        """Take some bytes, copying them; does not block."""
        end = self._filled + len(data)
        if end > len(self._batch):
            # A new one: a thread may be about to let go of a view of the old one, which cannot grow before.
            grown = bytearray(max(end, 2 * len(self._batch)))
            grown[: self._filled] = memoryview(self._batch)[: self._filled]
            self._batch = grown
        self._batch[self._filled : end] = data
        self._filled = end
        self.length += len(data)

    async def drain(self) -> None:
        """Hand over a full batch; waits while the one before it is being worked on.

        Raises:
            ServiceError: the bytes cannot be written.
        """
        if self._filled >= BATCH_BYTES:
            await self._hand_over()

    async def finish(self) -> Spooled:
        """Write what is left and make the file durable.

        Raises:
            ServiceError: the bytes cannot be written.
        """
        await self._hand_over()
        await self._settle()
        await self._synced()
        await self._guarded(asyncio.to_thread(self._sync))
        return Spooled(
            path=self._path,
            length=Length(self.length),
            sha256=Sha256(self._sha256.hexdigest()),
            blake2b_256=self._blake2b.hexdigest(),
            md5=self._md5.hexdigest(),
        )

    async def discard(self) -> None:
        """Remove the file, also a finished one; may be called at any time, and goes on when its caller is cancelled."""
        for left in (self._working, self._syncing):
            if left is not None:
                left.add_done_callback(_read_outcome)
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, self._remove))

    async def _hand_over(self) -> None:
        await self._settle()
        batch = memoryview(self._batch)[: self._filled]
        self._batch, self._spare, self._filled = self._spare, self._batch, 0
        loop = asyncio.get_running_loop()
        # Three shares of about the same cost; each lets go of the interpreter while it writes or hashes.
        shares = (self._write, self._digest, self._digest_old)
        self._working = asyncio.gather(*(loop.run_in_executor(None, share, batch) for share in shares))
        self._unsynced += len(batch)
        if self._unsynced >= self._sync_bytes and (self._syncing is None or self._syncing.done()):
            # What the one before it found counts: the disk tells a failure once.
            await self._synced()
            self._syncing, self._unsynced = loop.run_in_executor(_EARLY, self._sync_early), 0

    async def _settle(self) -> None:
        """Wait for the batch that is being worked on."""
        if self._working is not None:
            working, self._working = self._working, None
            await self._guarded(working)

    async def _synced(self) -> None:
        """Wait until the disk has what it was told to take."""
        if self._syncing is not None:
            syncing, self._syncing = self._syncing, None
            await self._guarded(syncing)

    async def _guarded(self, work: Awaitable[object]) -> None:
        try:
            await work
        except OSError as error:
            raise ServiceError(
                ErrorKind.UNAVAILABLE, "The server cannot store the file at the moment: try again later."
            ) from error

    def _write(self, batch: memoryview) -> None:
        with self._lock:
            if self._closed:
                return
            if self._descriptor is None:
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            left = batch
            while left:
                left = left[os.write(self._descriptor, left) :]

    def _digest(self, batch: memoryview) -> None:
        self._sha256.update(batch)
        self._blake2b.update(batch)

    def _digest_old(self, batch: memoryview) -> None:
        self._md5.update(batch)

    def _sync_early(self) -> None:
        with self._lock:
            # Of its own, so that writing goes on.
            descriptor = None if self._descriptor is None else os.dup(self._descriptor)
        if descriptor is not None:
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)

    def _sync(self) -> None:
        with self._lock:
            if self._descriptor is not None:
                os.fsync(self._descriptor)
                os.close(self._descriptor)
                self._descriptor = None

    def _remove(self) -> None:
        with self._lock:
            self._closed = True
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None
            self._path.unlink(missing_ok=True)


def _read_outcome(future: asyncio.Future[Any]) -> None:
    """Take note of a failure that nobody waits for, so that the event loop does not report it."""
    if not future.cancelled():
        future.exception()
