"""Replacing static documents among other processes that do the same: what lies there, and on what condition it goes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from countermark.core.digest import Sha256
from shared.objects.interface import IfMatch, Key, ObjectNotFound, ObjectStore, Put

TRIES = 20
"""Replacements of one document that may fail because another process was faster; each of those laid one itself."""


@dataclass(frozen=True, slots=True)
class Lying:
    """What lies under a key; of what is too long, the beginning."""

    etag: str
    body: bytes


async def lying_at(store: ObjectStore, key: Key, most: int) -> Lying | None:
    """Return what lies under a key, None when nothing does.

    Args:
        most: bytes after which no more is read.
    """
    try:
        async with store.open(key) as opened:
            chunks, length = [], 0
            async for chunk in opened.chunks:
                chunks.append(chunk)
                length += len(chunk)
                if length > most:
                    break
            return Lying(opened.info.etag, b"".join(chunks))
    except ObjectNotFound:
        return None


@dataclass(frozen=True, slots=True)
class Seen:
    """What lies under a key, by its digest."""

    etag: str
    sha256: Sha256


async def seen_at(store: ObjectStore, key: Key) -> Seen | None:
    """Return what lies under a key, however long, without keeping it; None when nothing does."""
    try:
        async with store.open(key) as opened:
            digest = hashlib.sha256()
            async for chunk in opened.chunks:
                digest.update(chunk)
            return Seen(opened.info.etag, Sha256(digest.hexdigest()))
    except ObjectNotFound:
        return None


def condition_of(lying: Lying | Seen | None) -> Put | IfMatch:
    """Return the condition that nobody has replaced since what was found."""
    return Put.ABSENT if lying is None else IfMatch(lying.etag)
