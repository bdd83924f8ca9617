"""A store that lets a test happen in the middle of a write."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from shared.objects.filesystem import FolderStore
from shared.objects.interface import IfMatch, Key, LocalFile, ObjectInfo, Put


class HookedStore(FolderStore):
    """A folder store that does something else before the first put whose key contains a text."""

    def __init__(self, root: Path, part: str, hook: Callable[[], Awaitable[None]]) -> None:
        super().__init__(root)
        self._part = part
        self._hook: Callable[[], Awaitable[None]] | None = hook

    async def put(
        self, key: Key, body: bytes | LocalFile, condition: Put | IfMatch = Put.ABSENT, *, durable: bool = True
    ) -> ObjectInfo:
        """Run the hook once, then put."""
        if self._part in key and self._hook is not None:
            hook, self._hook = self._hook, None
            await hook()
        return await super().put(key, body, condition, durable=durable)
