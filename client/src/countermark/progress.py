"""How far a transfer has come, for whoever wants to draw it; the library itself draws nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

Advance = Callable[[int], None]
"""Is told of bytes that moved since the last call."""


class Meter(Protocol):
    """Follows transfers; called from several threads at once."""

    def task(self, name: str, total: int) -> AbstractContextManager[Advance]:
        """Follow one transfer while the block runs.

        Args:
            name: of the file.
            total: its length in bytes.
        """


def ignore(_count: int) -> None:
    """Draw nothing."""


class Silent:
    """Draws nothing."""

    @contextlib.contextmanager
    def task(self, name: str, total: int) -> Iterator[Advance]:
        """Yield a function that does nothing; see `Meter.task`."""
        yield ignore
