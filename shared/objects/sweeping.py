"""What a store can be asked for beside the five methods to stay tidy: giving up uploads that nobody will finish."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol, runtime_checkable


@runtime_checkable
class PartsSweeper(Protocol):
    """A store in which a process that is killed leaves parts of its upload behind: never listed as an object, but kept
    and paid for."""

    async def sweep_parts(self, prefix: str, before: datetime) -> int:
        """Give up uploads to keys below `prefix` that began before a moment (aware); returns how many.

        Raises:
            ObjectStoreError: they cannot be listed.
        """
