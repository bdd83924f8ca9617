"""The store of a process that has none."""

from __future__ import annotations

import pytest

from shared.objects.absent import AbsentStore
from shared.objects.interface import Key, ObjectStore, ObjectStoreError


async def test_whoever_uses_it_by_mistake_is_told() -> None:
    """It is a store for whoever passes it on, and refuses everything."""
    store: ObjectStore = AbsentStore()
    key = Key("files/a")
    for call in (store.put(key, b""), store.head(key), store.delete(key), store.ping()):
        with pytest.raises(ObjectStoreError, match="has no object store"):
            await call
    with pytest.raises(ObjectStoreError):
        async with store.open(key):
            pass
    with pytest.raises(ObjectStoreError):
        assert [info async for info in store.list("")] == []
    await store.close()
