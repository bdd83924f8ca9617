"""Digests of stored objects, remembered for as long as the store says that nothing changed.

An object is read once per process, and again when the store tells of another entity tag, length or time. What changes
bytes without changing any of these, the disk itself or who can write below the store, is not seen here: whole files are
hashed once more while they are sent (ADR 0039).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from services.download.verification.stored import Found, hash_object
from shared.objects.interface import Key, ObjectInfo, ObjectStore

_MOST = 50_000
"""Objects that are remembered: some 25 MB."""


class Hashes:
    """Digests by object."""

    def __init__(self, *, remember: bool) -> None:
        """Args: remember: whether an object that has not changed is not read again."""
        self._known: OrderedDict[tuple[int, Key], Found] | None = OrderedDict() if remember else None

    async def of(self, store: ObjectStore, key: Key, length: int) -> Found | None:
        """Return the digest of an object that is to have `length` bytes, as `hash_object`.

        Raises:
            ObjectStoreError: the store cannot be read now.
        """
        known = self._known
        if known is None:
            return await hash_object(store, key, length)
        place, info = (id(store), key), await store.head(key)
        if info is None:
            known.pop(place, None)
            return None
        found = known.get(place)
        if found is None or marks(found.info) != marks(info):
            found = await hash_object(store, key, length)
            if found is None:
                return None
            known[place] = found
        known.move_to_end(place)
        if len(known) > _MOST:
            known.popitem(last=False)
        return found


def marks(info: ObjectInfo) -> Hashable:
    """Return what a store changes when bytes change."""
    return info.etag, info.length, info.modified
