"""The object store in a folder: one file per object, laid so that any static web server can serve the folder as it is.

A put writes the whole body under a temporary name in the same file system, makes it durable, gives it its name in one
step (link or rename) and makes the name durable; so a reader sees all of an object or none, also after a power cut.
Source: architecture section 6.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import itertools
import os
import secrets
import shutil
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Final, NoReturn

from shared.objects.durable_names import DurableNames, sync_folder
from shared.objects.folder_errors import in_words
from shared.objects.interface import (
    ByteRange,
    IfMatch,
    Key,
    LocalFile,
    ObjectExists,
    ObjectInfo,
    ObjectNotFound,
    ObjectStoreError,
    OpenObject,
    PreconditionFailed,
    Put,
    RangeNotSatisfiable,
)
from shared.objects.keys import check_key, check_prefix

CHUNK: Final = 256 * 1024
"""Bytes read at a time."""

LIST_BATCH: Final = 512
"""Objects listed per turn in a thread."""

INCOMING: Final = ".incoming"
"""Folder of bodies being written; no key reaches it, since no segment of a key begins with a dot."""

ABANDONED_AFTER: Final = 24 * 3600
"""Seconds after which a body that was never given its name is removed: its writer is long dead."""

_PLACE_TRIES: Final = 10
"""A folder that became empty may be removed by a delete just before a put links into it; the put makes it again."""

_PASSING_AT_ONCE: Final = 2
"""Bodies that are written at the same time where none waits for the disk: more of them only wait for each other, in the
kernel, for their turn at the same folders."""

_CANNOT_LINK: Final = frozenset([errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP])
"""Reasons for which a hard link is refused where a copy would do."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """An object opened for reading, with the first chunk of what was asked for."""

    file: FileIO
    info: ObjectInfo
    first: bytes
    start: int
    stop: int


class FolderStore:
    """Keeps objects in a folder of this machine; several processes may share it.

    A body given as `LocalFile` becomes a second name of the same bytes where the file system allows it: the caller
    hands the file over and must never write into it again (removing or renaming it is fine). Its mode becomes the
    store's.
    An ETag is made of inode, modification time and length: it stays while the object stays, whatever process asks, and
    every replacement has a new one.
    """

    def __init__(self, root: Path, *, private: bool = False) -> None:
        """Open the folder and make it if it is not there.

        Args:
            root: where objects lie; their keys are the paths below it.
            private: files and folders are for this account only (0600, 0700), else a web server may read them too
                (0644, 0755).

        Raises:
            ObjectStoreError: the folder cannot be made.
        """
        self._root = root.absolute()
        self._incoming = self._root / INCOMING
        self._file_mode, self._folder_mode = (0o600, 0o700) if private else (0o644, 0o755)
        self._names = DurableNames(self._root)
        self._passing = asyncio.Semaphore(_PASSING_AT_ONCE)
        with self._telling("make it"):
            if not self._root.is_dir():
                self._root.mkdir(parents=True)
                self._root.chmod(self._folder_mode)
            self._incoming.mkdir(0o700, exist_ok=True)

    @property
    def root(self) -> Path:
        """The folder."""
        return self._root

    async def put(
        self, key: Key, body: bytes | LocalFile, condition: Put | IfMatch = Put.ABSENT, *, durable: bool = True
    ) -> ObjectInfo:
        """Store `body` under `key`; see `ObjectStore.put`."""
        check_key(key)
        if durable:
            return await asyncio.to_thread(self._put, key, body, condition, durable)
        async with self._passing:
            return await asyncio.to_thread(self._put, key, body, condition, durable)

    @asynccontextmanager
    async def open(self, key: Key, byte_range: ByteRange | None = None) -> AsyncIterator[OpenObject]:
        """Read an object or a range of it; see `ObjectStore.open`."""
        check_key(key)
        reading = await asyncio.to_thread(self._begin, key, byte_range or ByteRange(0), ranged=byte_range is not None)
        chunks = self._chunks(reading)
        try:
            yield OpenObject(reading.info, chunks)
        finally:
            await chunks.aclose()
            reading.file.close()

    async def head(self, key: Key) -> ObjectInfo | None:
        """Return what is known of the object, or None when there is nothing."""
        check_key(key)
        return await asyncio.to_thread(self._head, key)

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        """Yield every object whose key begins with `prefix`, in key order; one folder's names are held at a time."""
        check_prefix(prefix)
        walk = self._walk(prefix[: prefix.rfind("/") + 1], prefix)
        while batch := await asyncio.to_thread(lambda: list(itertools.islice(walk, LIST_BATCH))):
            for info in batch:
                yield info

    async def delete(self, key: Key) -> None:
        """Remove the object and the folders that are empty without it; nothing happens when it is not there."""
        check_key(key)
        await asyncio.to_thread(self._delete, key)

    async def ping(self) -> None:
        """Write and remove a probe; also removes bodies that a killed process left unfinished long ago."""
        await asyncio.to_thread(self._ping)

    async def close(self) -> None:
        """Free nothing: no connection is held."""

    # --- writing, in a thread ---

    def _put(self, key: Key, body: bytes | LocalFile, condition: Put | IfMatch, durable: bool) -> ObjectInfo:
        path = self._root / key
        temporary = self._incoming / secrets.token_hex(16)
        with self._telling(f"store {key}"):
            if condition is Put.ABSENT and path.exists():
                self._refuse_taken(key, path)
            try:
                if isinstance(body, LocalFile):
                    status = self._link(temporary, body, durable=durable)
                else:
                    status = self._write(temporary, body, durable=durable)
                self._place(temporary, path, key, condition)
            finally:
                # Also after a rename: renaming one name of a file over another name of it leaves both (POSIX rename).
                temporary.unlink(missing_ok=True)
            if durable:
                self._names.settle(path.parent)
        return _info(key, status)

    def _write(self, temporary: Path, body: bytes | FileIO, *, durable: bool = True) -> os.stat_result:
        """Put bytes, or a copy of a file, under a temporary name."""
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb", buffering=0) as file:
            if isinstance(body, bytes):
                rest = memoryview(body)
                while rest:
                    rest = rest[file.write(rest) :]
            else:
                shutil.copyfileobj(body, file, CHUNK * 4)
            # Two files written within one tick of the file system's clock, the second in the inode of the first, would
            # have one ETag: so the part of the time below a millisecond is drawn.
            status = os.fstat(descriptor)
            moment = status.st_mtime_ns // 1_000_000 * 1_000_000 + secrets.randbelow(1_000_000)
            os.utime(descriptor, ns=(moment, moment))
            os.fchmod(descriptor, self._file_mode)
            if durable:
                os.fsync(descriptor)
            return os.fstat(descriptor)

    def _link(self, temporary: Path, body: LocalFile, *, durable: bool) -> os.stat_result:
        """Give the caller's file a temporary name in the store, or copy it where that is refused."""
        descriptor = os.open(body.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(descriptor, "rb", buffering=0) as source:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ObjectStoreError(f"{body.path} is not a regular file")
            try:
                os.fchmod(descriptor, self._file_mode)
                os.link(body.path, temporary, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _CANNOT_LINK:
                    raise
                return self._write(temporary, source, durable=durable)
            if not os.path.samestat(status, os.lstat(temporary)):
                raise ObjectStoreError(f"{body.path} was replaced while it was being stored")
            if durable:
                os.fsync(descriptor)
            return os.fstat(descriptor)

    def _place(self, temporary: Path, path: Path, key: Key, condition: Put | IfMatch) -> None:
        """Give a durable body its name, under the condition."""
        for _ in range(_PLACE_TRIES):
            try:
                if condition is Put.ABSENT:
                    os.link(temporary, path)
                else:
                    self._replace(temporary, path, key, condition)
            except FileExistsError:
                self._refuse_taken(key, path)
            except FileNotFoundError:
                self._make_folder(path.parent)
            else:
                return
        raise ObjectStoreError(f"{self}: the folder of {key} is removed again and again")

    def _replace(self, temporary: Path, path: Path, key: Key, condition: Put | IfMatch) -> None:
        with self._exclusive():
            if isinstance(condition, IfMatch):
                current = self._head(key)
                if current is None or current.etag != condition.etag:
                    found = "nothing is there" if current is None else "it has changed"
                    raise PreconditionFailed(f"{key} was to be replaced, but {found}")
            os.replace(temporary, path)

    def _refuse_taken(self, key: Key, path: Path) -> NoReturn:
        """Raise for a key that is taken; only once its name is durable, since the caller may count on the object."""
        if path.is_dir():
            raise ObjectStoreError(f"{self}: {key} is a folder of other objects")
        self._names.settle(path.parent)
        raise ObjectExists(f"{key} is already there")

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Hold off other replacements and removals in this folder, by whatever process."""
        lock = os.open(self._incoming / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _make_folder(self, folder: Path) -> None:
        """Make a folder below the root, and those above it that are not there."""
        try:
            folder.mkdir(self._folder_mode)
        except FileExistsError:
            return
        except FileNotFoundError:
            if folder.parent == self._root:
                raise
            self._make_folder(folder.parent)
            # Whoever removes empty folders may be faster: then all of this is done again.
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                folder.mkdir(self._folder_mode)
        with contextlib.suppress(FileNotFoundError):
            folder.chmod(self._folder_mode)

    def _delete(self, key: Key) -> None:
        path = self._root / key
        with self._telling(f"remove {key}"):
            with self._exclusive():
                try:
                    path.unlink()
                except (FileNotFoundError, NotADirectoryError):
                    return
            with contextlib.suppress(FileNotFoundError):
                sync_folder(path.parent)
            # A folder that is not empty, or was just filled again, refuses to go.
            with contextlib.suppress(OSError):
                while (path := path.parent) != self._root:
                    self._names.forget(path)
                    path.rmdir()

    def _ping(self) -> None:
        probe = self._incoming / secrets.token_hex(16)
        with self._telling("write into it"):
            try:
                now = self._write(probe, b"ping").st_mtime
            finally:
                probe.unlink(missing_ok=True)
            self._sweep(now)

    def _sweep(self, now: float) -> None:
        """Remove bodies that are too old to be still written at `now`, in seconds of the file system's clock."""
        with os.scandir(self._incoming) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    # The time of the last change of the name, not of the bytes: a linked file may be old.
                    if entry.name != "lock" and now - entry.stat().st_ctime > ABANDONED_AFTER:
                        os.unlink(entry.path)

    # --- reading, in a thread ---

    def _head(self, key: Key) -> ObjectInfo | None:
        with self._telling(f"look for {key}"):
            try:
                status = os.lstat(self._root / key)
            except (FileNotFoundError, NotADirectoryError):
                return None
        return _info(key, status) if stat.S_ISREG(status.st_mode) else None

    def _begin(self, key: Key, wanted: ByteRange, *, ranged: bool) -> _Reading:
        with self._telling(f"open {key}"), contextlib.ExitStack() as on_error:
            try:
                descriptor = os.open(self._root / key, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError):
                raise ObjectNotFound(f"there is no object {key}") from None
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                os.close(descriptor)
                raise ObjectNotFound(f"there is no object {key}")
            file = on_error.enter_context(FileIO(descriptor, "rb"))
            info = _info(key, status)
            if ranged and wanted.start >= info.length:
                raise RangeNotSatisfiable(f"{key} has {info.length} bytes, none from {wanted.start} on")
            stop = info.length if wanted.stop is None else min(wanted.stop, info.length)
            first = os.pread(descriptor, min(CHUNK, stop - wanted.start), wanted.start)
            on_error.pop_all()
            return _Reading(file, info, first, wanted.start, stop)

    async def _chunks(self, reading: _Reading) -> AsyncGenerator[bytes, None]:
        chunk, offset = reading.first, reading.start
        while offset < reading.stop:
            if not chunk:
                raise ObjectStoreError(f"{self}: {reading.info.key} was cut short while it was read")
            yield chunk
            offset += len(chunk)
            if offset < reading.stop:
                with self._telling(f"read {reading.info.key}"):
                    # With an offset of its own, a read that outlives its cancelled task disturbs nobody.
                    chunk = await asyncio.to_thread(
                        os.pread, reading.file.fileno(), min(CHUNK, reading.stop - offset), offset
                    )

    def _walk(self, folder: str, prefix: str) -> Iterator[ObjectInfo]:
        """Yield objects below `folder` (empty, or ending in a slash) whose keys begin with `prefix`, in key order."""
        with self._telling(f"list {folder or 'it'}"):
            try:
                with os.scandir(self._root / folder) as entries:
                    # A folder sorts as its name with the slash, which is how the keys of its objects go on.
                    names = sorted(
                        f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name
                        for entry in entries
                        if not entry.name.startswith(".")
                    )
            except (FileNotFoundError, NotADirectoryError):
                return
        for name in names:
            below = folder + name
            if name.endswith("/"):
                if below.startswith(prefix) or prefix.startswith(below):
                    yield from self._walk(below, prefix)
            elif below.startswith(prefix) and (info := self._head(Key(below))) is not None:
                yield info

    @contextmanager
    def _telling(self, doing: str) -> Iterator[None]:
        """Turn the operating system's errors into words."""
        try:
            yield
        except OSError as error:
            raise ObjectStoreError(f"{self}: cannot {doing}: {in_words(error)}") from error

    def __str__(self) -> str:
        return f"object store in folder {self._root}"


def _info(key: Key, status: os.stat_result) -> ObjectInfo:
    etag = f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
    return ObjectInfo(key, status.st_size, etag, datetime.fromtimestamp(status.st_mtime, UTC))
