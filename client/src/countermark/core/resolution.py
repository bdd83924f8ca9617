"""In which order the indexes of a merged view are asked. Pure: the one place that knows it, for server and clients.

Source: contract devpi section 15; architecture section 11.5.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeVar

from countermark.core.names import IndexName

MOST_MEMBERS = 200
"""Indexes of one merged view; what bases of bases name beyond that is not looked at."""

STAGE, MIRROR = "stage", "mirror"
"""Types of an index: what is uploaded to it and signed, and what comes from elsewhere and is never signed."""


class Based(Protocol):
    """What the order depends on."""

    @property
    def name(self) -> IndexName:
        """Its name."""

    @property
    def type(self) -> str:
        """`stage` or `mirror`."""

    @property
    def bases(self) -> tuple[IndexName, ...]:
        """What it is based on, in order."""


M = TypeVar("M", bound=Based)


def resolution_order(index: M, find: Callable[[IndexName], M | None]) -> tuple[M, ...]:
    """Return the index and all its bases, in the order in which they are asked: stages breadth first, mirrors last.

    Each index is there once, however many ways lead to it; circles end; bases that are gone are skipped.

    Args:
        find: returns a living index by its name.
    """
    stages: list[M] = []
    mirrors: list[M] = []
    seen, waiting = {index.name}, deque([index])
    while waiting:
        member = waiting.popleft()
        (mirrors if member.type == MIRROR else stages).append(member)
        for name in member.bases:
            if name in seen or len(seen) >= MOST_MEMBERS:
                continue
            seen.add(name)
            base = find(name)
            if base is not None:
                waiting.append(base)
    return (*stages, *mirrors)
