"""Reads stored bytes that are to be checked, no further than they may be long."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from countermark.core.digest import Length, Sha256, sha256_of
from shared.objects.interface import Key, ObjectInfo, ObjectNotFound, ObjectStore, ObjectStoreError


@dataclass(frozen=True, slots=True)
class Found:
    """Stored bytes, as read: `length` may be one more than was read for, which says that there are more."""

    info: ObjectInfo
    sha256: Sha256
    length: Length
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the store said of an object when it was read; `info` is None where there was nothing."""

    key: Key
    info: ObjectInfo | None


async def read_object(store: ObjectStore, key: Key, most: int) -> Found | None:
    """Return an object of up to `most` bytes with its digest, None when there is nothing.

    Raises:
        ObjectStoreError: the store cannot be read now.
    """
    parts, length = list[bytes](), 0
    try:
        async with store.open(key) as opened:
            info = opened.info
            async for chunk in opened.chunks:
                parts.append(chunk[: most + 1 - length])
                length += len(parts[-1])
                if length > most:
                    break
    except ObjectNotFound:
        return None
    _whole(key, info, length, most)
    body = b"".join(parts)
    return Found(info, sha256_of(body), Length(length), body)


async def hash_object(store: ObjectStore, key: Key, length: int) -> Found | None:
    """Return the digest of an object that is to have `length` bytes, None when there is nothing.

    Of a longer one one byte more is read.

    Raises:
        ObjectStoreError: the store cannot be read now.
    """
    digest, read = hashlib.sha256(), 0
    try:
        async with store.open(key) as opened:
            info = opened.info
            async for chunk in opened.chunks:
                # A chunk is at most 256 KiB: 0.2 ms, less than handing it to a thread and back is worth.
                part = chunk[: length + 1 - read]
                digest.update(part)
                read += len(part)
                if read > length:
                    break
    except ObjectNotFound:
        return None
    _whole(key, info, read, length)
    return Found(info, Sha256(digest.hexdigest()), Length(read))


def _whole(key: Key, info: ObjectInfo, read: int, most: int) -> None:
    """Refuse what was cut short on its way: a connection that ended says nothing of the object, which has more.

    Raises:
        ObjectStoreError: fewer bytes came than the store has.
    """
    if read < min(info.length, most + 1):
        raise ObjectStoreError(f"{key} was cut short: {read} of {info.length} bytes came")
