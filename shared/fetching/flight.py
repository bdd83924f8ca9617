"""Bytes on their way from an upstream: one task takes them, any number of readers follow it.

What is small stays in memory; the rest is written to a file. A slow reader holds nobody up, one that goes away ends
nothing, and nobody gets the end before it is known that the whole is what it should be.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from shared.catalogue.mirror_files import Kept
from shared.errors import ErrorKind, ServiceError
from shared.leisure import Hurry
from shared.objects.interface import LocalFile

SUFFIX = ".fetch"
"""What the names of arriving files end with."""

CHUNK = 256 * 1024
"""Bytes that a reader gets at once."""

_RECENT = 1 << 20
"""Bytes, at the least, that arrived last and are in memory: readers who keep up share them, and read no file."""

SMALL = 512 << 10
"""Bytes up to which a file is read whole and checked, whoever reads it; until there are more, they are in memory."""

HELD = 64 * 1024
"""Bytes that are held back until the digest is known to be right: nobody takes a wrong file for a whole one."""


class Flight:
    """Something on its way. It ends in the store (`kept`), or with an `error`; readers may go on after that."""

    def __init__(self, folder: Path) -> None:
        """Args: folder: of files that arrive."""
        self._folder = folder
        self.received = 0
        self.released = 0
        """Bytes that readers may have."""
        self.kept: Kept | None = None
        self.error: ServiceError | None = None
        self.right = False
        """Whether it arrived whole and is what it should be: then it is read to its end, stored or not."""
        self.done = False
        self.hurry = Hurry()
        """Says that somebody waits until it is stored."""
        self._small: bytearray | None = bytearray()
        """All that arrived, while that is little; None once it lies in the file."""
        self._descriptor: int | None = None
        self._readers = 0
        self._recent: dict[int, bytes] = {}
        """What arrived last, by where it begins."""
        self._recent_bytes = 0
        self._unreleased: deque[int] = deque()
        """Where the pieces end that readers do not have yet."""
        self._digest = hashlib.sha256()
        self._news = asyncio.Event()

    @cached_property
    def path(self) -> Path:
        """The file that it arrives in, if there is too much for memory."""
        return self._folder / f"{secrets.token_hex(16)}{SUFFIX}"

    @property
    def body(self) -> bytes | LocalFile:
        """What arrived, to be stored."""
        return LocalFile(self.path) if self._small is None else bytes(self._small)

    def open(self) -> None:
        """Make the file, since there is too much for memory. Blocking.

        Raises:
            OSError: it cannot be made.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if self._small:
            self._put(self._small, 0)
        self._small = None

    async def write(self, chunk: bytes) -> None:
        """Take bytes, and let readers have all but the last ones.

        Raises:
            OSError: they cannot be written.
        """
        if self._small is not None and len(self._small) + len(chunk) <= SMALL:
            self._digest.update(chunk)
            self._small += chunk
        else:
            await asyncio.to_thread(self._write, chunk)
        for start in range(0, len(chunk), HELD):
            piece = chunk[start : start + HELD]
            self._remember(piece)
            self.received += len(piece)
            self._unreleased.append(self.received)
        before = self.released
        # Whole pieces: then who keeps up finds the next one in memory.
        while self._unreleased and self._unreleased[0] <= self.received - HELD:
            self.released = self._unreleased.popleft()
        if self.released > before:
            self._tell()

    def sha256(self) -> str:
        """Return the digest of what arrived."""
        return self._digest.hexdigest()

    def release(self) -> None:
        """Let readers have all: it is what it should be."""
        self.released, self.right = self.received, True
        self._tell()

    def end(self, error: ServiceError | None = None) -> None:
        """Say that nothing more comes; the file goes with its last reader."""
        self.done, self.error = True, error
        self._recent.clear()
        self._tell()
        self._tidy()

    async def begun(self) -> None:
        """Wait until there is something to read, or nothing will come."""
        while not self.released and not self.done:
            await self._news.wait()

    async def checked(self) -> None:
        """Wait until it arrived whole and is what it should be, or for the end."""
        while not self.right and not self.done:
            await self._news.wait()

    async def over(self) -> None:
        """Wait for the end."""
        self.hurry.now()
        while not self.done:
            await self._news.wait()

    def outcome(self, name: str) -> Kept:
        """Return what it left in the store, once it is over.

        Args:
            name: of the file, for people.

        Raises:
            ServiceError: NOT_FOUND, UPSTREAM or UNAVAILABLE.
        """
        if self.error is not None:
            raise self.error.again()
        if self.kept is None:
            raise ServiceError(ErrorKind.UNAVAILABLE, f"{name} arrived and could not be stored.")
        return self.kept

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Keep the file while it is read."""
        self._readers += 1
        try:
            yield
        finally:
            self._readers -= 1
            self._tidy()

    async def chunks(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """Yield bytes `start` to `stop`, as they arrive; to be used within `reading`.

        Raises:
            ServiceError: they will not come, or are not what they should be.
        """
        at = start
        while at < stop:
            while self.released <= at and not self.done:
                await self._news.wait()
            if self.error is not None and not self.right:
                raise self.error.again()
            chunk = self._recent.get(at)
            if chunk is None:
                chunk = await self._read(at, min(self.released, stop, at + CHUNK))
            elif at + len(chunk) > stop:
                chunk = chunk[: stop - at]
            assert chunk, "the length was checked before the end was released"
            at += len(chunk)
            yield chunk

    async def _read(self, at: int, stop: int) -> bytes:
        if self._small is not None:
            return bytes(self._small[at:stop])
        assert self._descriptor is not None, "what was released lies in the file"
        return await asyncio.to_thread(os.pread, self._descriptor, stop - at, at)

    def _remember(self, chunk: bytes) -> None:
        self._recent[self.received] = chunk
        self._recent_bytes += len(chunk)
        while self._recent_bytes > _RECENT + len(chunk):
            first = next(iter(self._recent))
            self._recent_bytes -= len(self._recent.pop(first))

    def _write(self, chunk: bytes) -> None:
        if self._descriptor is None:
            self.open()
        self._digest.update(chunk)
        self._put(chunk, self.received)

    def _put(self, some: bytes | bytearray, at: int) -> None:
        assert self._descriptor is not None
        left = memoryview(some)
        while left:
            written = os.pwrite(self._descriptor, left, at)
            left, at = left[written:], at + written

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _tidy(self) -> None:
        if self.done and self._descriptor is not None:
            self.path.unlink(missing_ok=True)
            if self._readers == 0:
                os.close(self._descriptor)
                self._descriptor = None
