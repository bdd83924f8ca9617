"""A place in an object store that is one test's alone."""

from __future__ import annotations

from dataclasses import dataclass

from shared.objects.interface import (
    ByteRange,
    Key,
    ObjectStore,
)


@dataclass(frozen=True)
class Place:
    """A store and a part of it that is this test's alone.

    Attributes:
        atomic: whether of puts on one condition at the same time exactly one writes. The S3 server of these tests looks
            first and writes then, so that several may (decision record 0019); AWS does it in one step.
    """

    store: ObjectStore
    prefix: str
    atomic: bool

    def key(self, name: str) -> Key:
        """Return a key of this test."""
        return Key(f"{self.prefix}{name}")


async def read(store: ObjectStore, key: Key, byte_range: ByteRange | None = None) -> bytes:
    """Return all bytes of an object or of a range of it."""
    async with store.open(key, byte_range) as opened:
        return b"".join([chunk async for chunk in opened.chunks])
