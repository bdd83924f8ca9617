"""What signing writes to and reads from the object store: metadata, targets, and the bytes of new files.

Everything but the timestamp and the plain copies is put once under a name that never changes.
Source: architecture section 6; trust contract section 2.6 (write order).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext

from tuf.api.metadata import Metadata, Timestamp
from tuf.api.serialization import DeserializationError

from countermark.core.attestations.bundle import MAX_BUNDLE_BYTES
from countermark.core.digest import Sha256, sha256_of
from countermark.core.names import FileName, IndexName, TargetPath
from services.signing.publication.signatures import SignedFile
from shared.catalogue.publication_rows import FileState
from shared.ids import FileId
from shared.objects.interface import (
    IfMatch,
    Key,
    LocalFile,
    ObjectExists,
    ObjectNotFound,
    ObjectStore,
    ObjectStoreError,
    PreconditionFailed,
    Put,
)
from shared.objects.keys import (
    bundle_key,
    core_metadata_key,
    file_key,
    metadata_key,
    plain_target_key,
    target_key,
    timestamp_key,
)

_TRIES = 20
"""Replacements of a timestamp that may fail because another process was faster."""

_AT_ONCE = 16
"""Puts, or files that are read, at the same time."""

_LARGE = 32 << 20
"""Bytes above which a file counts as large: sixteen of them at a time could share the line for longer than a job
lasts."""

_LARGE_AT_ONCE = 2
"""Large files that are read at the same time."""

_HASH_STEP = 1 << 18
"""Bytes hashed on the event loop at the most; longer chunks go to a thread (256 KiB take about 0.2 ms with SHA
extensions)."""


async def put_targets(
    store: ObjectStore,
    index: IndexName,
    targets: Mapping[TargetPath, bytes],
    condition: Put = Put.ABSENT,
    *,
    digests: Mapping[TargetPath, Sha256] | None = None,
) -> None:
    """Put targets under their digest-prefixed names; a rebuild replaces what may be damaged.

    Args:
        digests: of all targets, where they are known already: a page document may be megabytes.
    """
    known = digests if digests is not None else {path: sha256_of(content) for path, content in targets.items()}
    keyed = ((target_key(index, path, known[path]), content) for path, content in targets.items())
    await _all(put_object(store, key, content, condition) for key, content in keyed)


async def put_metadata(
    store: ObjectStore, index: IndexName, files: Sequence[SignedFile], condition: Put = Put.ABSENT
) -> None:
    """Put versions of roles' metadata under their numbered names; a rebuild replaces what may be damaged."""
    keyed = ((metadata_key(index, file.role, file.version), file.content) for file in files)
    await _all(put_object(store, key, content, condition) for key, content in keyed)


async def put_timestamp(store: ObjectStore, index: IndexName, content: bytes) -> bool:
    """Replace the timestamp, the very last write of a publication; returns False when a newer one lies there.

    One that nobody can read is replaced too.

    Raises:
        ObjectStoreError: also when others replace it again and again.
    """
    key, version = timestamp_key(index), _timestamp_version(content)
    for _ in range(_TRIES):
        there = await _read(store, key)
        if there is not None and _timestamp_version(there[1]) > version:
            return False
        try:
            await store.put(key, content, Put.ABSENT if there is None else IfMatch(there[0]))
        except (ObjectExists, PreconditionFailed):
            continue
        return True
    raise ObjectStoreError(f"{key} is replaced again and again by other processes")


async def read_target(store: ObjectStore, index: IndexName, path: TargetPath, digest: Sha256) -> bytes | None:
    """Return a target's bytes as they are stored under its digest, None when they are not there."""
    found = await _read(store, target_key(index, path, digest))
    return None if found is None else found[1]


async def read_bundle(store: ObjectStore, file: FileState, sha256: Sha256, length: int) -> bytes | str:
    """Return the bytes of an attestation of a file, hashed; or what is wrong with them, as one sentence."""
    key = bundle_key(sha256, file.file_name)
    try:
        async with store.open(key) as opened:
            if opened.info.length != length or length > MAX_BUNDLE_BYTES:
                return f"the object store holds other bytes of its attestation {sha256[:16]}"
            content = b"".join([chunk async for chunk in opened.chunks])
    except ObjectNotFound:
        return f"its attestation {sha256[:16]} is not in the object store"
    if sha256_of(content) != sha256:
        return f"the object store holds other bytes of its attestation {sha256[:16]}"
    return content


async def put_plain(
    store: ObjectStore, index: IndexName, targets: Mapping[TargetPath, bytes], unset: Iterable[TargetPath]
) -> None:
    """Bring the plain copies of the targets up to date, for people and scripts that do not speak TUF.

    They are not waited for to be durable: the same bytes lie, durably, among the targets.
    """
    keyed = ((plain_target_key(index, path), content) for path, content in targets.items())
    puts = (store.put(key, content, Put.REPLACE, durable=False) for key, content in keyed)
    await _all(puts)
    await _all(store.delete(plain_target_key(index, path)) for path in unset)


async def put_objects(store: ObjectStore, objects: Mapping[Key, bytes], condition: Put = Put.ABSENT) -> None:
    """Put objects by their keys."""
    await _all(put_object(store, key, content, condition) for key, content in objects.items())


async def lengths(store: ObjectStore, keys: Iterable[Key]) -> dict[Key, int]:
    """Return the lengths in bytes of those objects that are there."""
    found: dict[Key, int] = {}

    async def look(key: Key) -> None:
        info = await store.head(key)
        if info is not None:
            found[key] = info.length

    await _all(look(key) for key in keys)
    return found


async def remove(store: ObjectStore, keys: Iterable[Key]) -> None:
    """Delete objects; those that are not there are no matter."""
    await _all(store.delete(key) for key in keys)


async def faults_in_bytes(
    store: ObjectStore, files: Iterable[FileState], right: Callable[[FileState], None]
) -> dict[FileId, str]:
    """Read files' bytes, and those of their core metadata, as the store holds them; say what is wrong with which.

    Args:
        right: told of each file that is as its row says, as soon as that is known: the whole may be cut short.
    """
    faults: dict[FileId, str] = {}
    large = asyncio.Semaphore(_LARGE_AT_ONCE)

    async def check(file: FileState) -> None:
        async with large if file.length > _LARGE else nullcontext():
            fault = await _fault_in_bytes(store, file)
        if fault is None:
            right(file)
        else:
            faults[file.id] = fault

    # Small ones first, and few large ones at a time: when this is cut short, as many as possible are finished.
    await _all(check(file) for file in sorted(files, key=lambda file: file.length))
    return faults


async def _fault_in_bytes(store: ObjectStore, file: FileState) -> str | None:
    found = await _measure(store, file_key(file.sha256, file.file_name))
    if found is None:
        return "its bytes are not in the object store"
    if found != (file.sha256, file.length):
        return f"the object store holds other bytes: sha256 {found[0]}, {found[1]} bytes"
    if file.core_metadata_sha256 is not None:
        metadata = await _measure(store, core_metadata_key(file.sha256, FileName(file.file_name)))
        if metadata is None or metadata[0] != file.core_metadata_sha256:
            return "its core metadata in the object store are missing or other bytes"
    return None


async def _read(store: ObjectStore, key: Key) -> tuple[str, bytes] | None:
    """Return ETag and bytes of a small object, None when there is none."""
    try:
        async with store.open(key) as opened:
            return opened.info.etag, b"".join([chunk async for chunk in opened.chunks])
    except ObjectNotFound:
        return None


def _timestamp_version(content: bytes) -> int:
    """Return the version a timestamp says it is, -1 when it does not say."""
    try:
        return Metadata[Timestamp].from_bytes(content).signed.version
    except DeserializationError:
        return -1


async def _measure(store: ObjectStore, key: Key) -> tuple[Sha256, int] | None:
    digest, length = hashlib.sha256(), 0
    try:
        async with store.open(key) as opened:
            async for chunk in opened.chunks:
                length += len(chunk)
                if len(chunk) > _HASH_STEP:
                    await asyncio.to_thread(digest.update, chunk)
                else:
                    digest.update(chunk)
    except ObjectNotFound:
        return None
    return Sha256(digest.hexdigest()), length


async def put_object(store: ObjectStore, key: Key, body: bytes | LocalFile, condition: Put) -> None:
    """Put an object whose name says its content; nothing happens when it is there."""
    try:
        await store.put(key, body, condition)
    except ObjectExists:
        # The same publication tried before. The name holds the digest or a number that is given out once, so it is the
        # same content; anything else would be caught by every client.
        return


async def _all(actions: Iterable[Awaitable[object]]) -> None:
    """Await what an iterator makes, some at a time; nothing more is made once one failed."""
    rest = iter(actions)

    async def work() -> None:
        for action in rest:
            await action

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(work())
