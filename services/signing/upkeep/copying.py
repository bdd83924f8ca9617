"""Copies an index's published tree to another store, for mirrors: whoever reads the signed metadata of the copy sees a
whole index at any moment.

1. Read the source's timestamp, and the snapshot it names: that is what is copied, whatever is published meanwhile.
2. Bin by bin: the files its pointers name, its targets, then the bin.
3. Documents about attestations and the bundles they list, static pages, the shared metadata, the snapshot, the roots,
   and the timestamp, last of all.
What lies at the destination already is not copied again, and a bin that lies there has all it names: so a copy that was
cut short goes on, and one that is run each hour moves what is new. What is copied is checked: targets and files against
their digests, metadata against length and digest where the signed files give them, and else by being what a client
would be given; the destination's readers verify for themselves.
Superseded files stay at the source for two days (`services.signing.upkeep.retention`): a copy has that long. Static
pages are not signed and are the source's of this moment: one may list a file that the next run brings.

Source: trust contract section 2.6 (mirrors' copy order).
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import Metadata, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from countermark.core.attestations.listed import MalformedList, read_bundle_list
from countermark.core.digest import Sha256, sha256_of
from countermark.core.names import IndexName, TargetPath
from countermark.core.pointer import MalformedPointer, Resource, parse_pointer
from services.signing.publication import tree
from shared.objects.interface import Key, LocalFile, ObjectNotFound, ObjectStore, Put
from shared.objects.keys import (
    BUNDLE_LIST,
    InvalidKey,
    attested_prefix,
    check_key,
    index_prefix,
    metadata_key,
    target_key,
    timestamp_key,
)
from shared.trust.metadata import SHARED_META, read_bin

_AT_ONCE = 8
"""Files copied at the same time."""

_MAX_METADATA = 64 << 20
"""Bytes of a metadata file or target that are taken into memory."""


class CopyFailed(Exception):
    """The source is not whole, or went on too far meanwhile; the destination still shows what it showed."""


@dataclass(slots=True)
class Copied:
    """What was copied: `published` is False when the destination has a newer timestamp already, which was left."""

    version: int = 0
    metadata: int = 0
    targets: int = 0
    files: int = 0
    pages: int = 0
    attested: int = 0
    published: bool = False


async def copy_tree(source: ObjectStore, destination: ObjectStore, index: IndexName, *, pages: bool = True) -> Copied:
    """Copy what the source's timestamp names; see the module.

    Args:
        pages: copy the static pages too, for installers.

    Raises:
        CopyFailed: something is missing at the source, or is not what was signed.
        ObjectStoreError: a store cannot be used. In all cases it can be run again.
    """
    return await _Copy(source, destination, index).run(pages=pages)


class _Copy:
    """One run."""

    def __init__(self, source: ObjectStore, destination: ObjectStore, index: IndexName) -> None:
        self._source = source
        self._destination = destination
        self._index = index
        self._done = Copied()
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def run(self, *, pages: bool) -> Copied:
        """Copy in the order that shows readers nothing half."""
        timestamp = await self._read(timestamp_key(self._index))
        signed = _signed(timestamp, "timestamp.json")
        if not isinstance(signed, Timestamp):
            raise CopyFailed("the source's timestamp.json is no timestamp")
        self._done.version, version = signed.version, signed.snapshot_meta.version
        snapshot = await self._read(metadata_key(self._index, "snapshot", version))
        try:
            signed.snapshot_meta.verify_length_and_hashes(snapshot)
        except LengthOrHashMismatchError as error:
            raise CopyFailed(f"the source's snapshot {version} is not what its timestamp names: {error}") from error
        named = _signed(snapshot, "the snapshot")
        if not isinstance(named, Snapshot):
            raise CopyFailed(f"the source's snapshot {version} is no snapshot")
        versions = {name.removesuffix(".json"): meta.version for name, meta in named.meta.items()}
        for role in sorted(versions.keys() - set(SHARED_META)):
            await self._bin(role, versions[role])
        self._done.attested = await self._documents(attested_prefix(self._index))
        if pages:
            self._done.pages = await self._documents(f"{index_prefix(self._index)}simple/")
        for role in SHARED_META:
            await self._shared(role, versions[role])
        await self._metadata("snapshot", version, snapshot)
        await self._roots()
        self._done.published = await tree.put_timestamp(self._destination, self._index, timestamp)
        return self._done

    async def _bin(self, role: str, version: int) -> None:
        key = metadata_key(self._index, role, version)
        if await self._destination.head(key) is not None:
            return
        content = await self._read(key)
        try:
            entries = read_bin(content)
        except (ValueError, KeyError, DeserializationError) as error:
            raise CopyFailed(f"{key} of the source is no bin: {error}") from error
        await self._all([(TargetPath(path), Sha256(entry["hashes"]["sha256"])) for path, entry in entries.items()])
        await self._metadata(role, version, content)

    async def _shared(self, role: str, version: int) -> None:
        """Copy what people signed, and the targets that it names itself: the policy, say."""
        key = metadata_key(self._index, role, version)
        if await self._destination.head(key) is not None:
            return
        content = await self._read(key)
        signed = _signed(content, key)
        if not isinstance(signed, Targets):
            raise CopyFailed(f"{key} of the source is no targets metadata")
        named = signed.targets.items()
        await self._all([(TargetPath(path), Sha256(target.hashes["sha256"])) for path, target in named])
        await self._metadata(role, version, content)

    async def _all(self, targets: Sequence[tuple[TargetPath, Sha256]]) -> None:
        rest = iter(targets)

        async def work() -> None:
            for path, digest in rest:
                await self._target(path, digest)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(_AT_ONCE, len(targets))):
                    group.create_task(work())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed

    async def _target(self, path: TargetPath, digest: Sha256) -> None:
        """Copy the files that a target names, then the target."""
        key = target_key(self._index, path, digest)
        if await self._destination.head(key) is not None:
            return
        content = await self._read(key)
        if sha256_of(content) != digest:
            raise CopyFailed(f"{key} of the source is not what was signed")
        if path.endswith(".pointer") and not path.endswith("/_latest.pointer"):
            try:
                pointer = parse_pointer(content)
            except MalformedPointer as error:
                raise CopyFailed(f"{key} of the source is no pointer: {error}") from error
            await self._file(pointer.file, beside=(".metadata",))
            if pointer.attestation is not None:
                await self._file(pointer.attestation)
        await self._put(key, content)
        self._done.targets += 1

    async def _file(self, resource: Resource, beside: Sequence[str] = ()) -> None:
        """Copy a file, and what may lie beside it under its name and an ending."""
        try:
            key = check_key(resource.uri.removeprefix("/"))
        except InvalidKey as error:
            raise CopyFailed(f"a pointer of the source names what is no key: {error}") from error
        for ending in beside:
            if await self._source.head(Key(key + ending)) is not None:
                await self._put(Key(key + ending), await self._read(Key(key + ending)))
        if await self._destination.head(key) is not None:
            return
        async with self._turns, self._spooled(key) as (path, digest, length):
            if (digest, length) != (resource.digest, resource.length):
                raise CopyFailed(f"{key} of the source is not what its pointer says")
            await self._put(key, LocalFile(path))
        self._done.files += 1

    @asynccontextmanager
    async def _spooled(self, key: Key) -> AsyncIterator[tuple[Path, str, int]]:
        """Bring an object of any length into a file of this machine; gives it, with its digest and length."""
        digest, length = hashlib.sha256(), 0
        with tempfile.NamedTemporaryFile(prefix="countermark-copy-") as file:
            try:
                async with self._source.open(key) as opened:
                    async for chunk in opened.chunks:
                        await asyncio.to_thread(file.write, chunk)
                        digest.update(chunk)
                        length += len(chunk)
            except ObjectNotFound:
                raise _gone(key) from None
            await asyncio.to_thread(file.flush)
            yield Path(file.name), digest.hexdigest(), length

    async def _metadata(self, role: str, version: int, content: bytes | None = None) -> None:
        key = metadata_key(self._index, role, version)
        if await self._destination.head(key) is None:
            await self._put(key, await self._read(key) if content is None else content)
            self._done.metadata += 1

    async def _roots(self) -> None:
        version = 1
        while await self._source.head(metadata_key(self._index, "root", version)) is not None:
            await self._metadata("root", version)
            version += 1
        if version == 1:
            raise _gone(metadata_key(self._index, "root", 1))

    async def _documents(self, prefix: str) -> int:
        """Copy the static documents that have another length or are younger than those at the destination, each behind
        the bundles that it lists; returns how many."""
        copied = 0
        async for info in self._source.list(prefix):
            there = await self._destination.head(info.key)
            if there is None or there.length != info.length or there.modified <= info.modified:
                content = await self._read(info.key)
                for bundle in _listed(info.key, content):
                    await self._file(bundle)
                await self._put(info.key, content, Put.REPLACE)
                copied += 1
        return copied

    async def _put(self, key: Key, body: bytes | LocalFile, condition: Put = Put.ABSENT) -> None:
        await tree.put_object(self._destination, key, body, condition)

    async def _read(self, key: Key) -> bytes:
        try:
            async with self._source.open(key) as opened:
                if opened.info.length > _MAX_METADATA:
                    raise CopyFailed(f"{key} of the source has {opened.info.length} bytes, which none of its kind has")
                return b"".join([chunk async for chunk in opened.chunks])
        except ObjectNotFound:
            raise _gone(key) from None


def _listed(key: Key, content: bytes) -> list[Resource]:
    """Return the bundles that a document lists, when it is one that does."""
    if not key.endswith(BUNDLE_LIST):
        return []
    try:
        return read_bundle_list(content)
    except MalformedList as error:
        raise CopyFailed(f"{key} of the source lists no bundles: {error}") from error


def _signed(content: bytes, what: str) -> Any:
    try:
        return Metadata[Any].from_bytes(content).signed
    except DeserializationError as error:
        raise CopyFailed(f"{what} of the source cannot be read: {error}") from error


def _gone(key: Key) -> CopyFailed:
    return CopyFailed(f"the source has no {key}: was the index published, and did this copy take less than two days?")
