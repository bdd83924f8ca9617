"""Which indexes a merged view is made of, and which of them show a project. Pure: the one place that knows the order.

HTML, JSON, file serving, devpi's documents and exports all ask here, so that they cannot disagree.
Source: contract devpi section 15; architecture sections 5.9 and 11.5.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from countermark.core.names import IndexName, NormalizedName

MOST_MEMBERS = 200
"""Indexes of one merged view; what bases of bases name beyond that is not looked at."""

MIRROR = "mirror"
"""Type of an index whose files come from elsewhere."""

EVERYTHING = "*"
"""In a whitelist: every project."""

UNION = "union"
"""Whitelists add up; else only what all of them name counts."""


class Member(Protocol):
    """What counts of an index; see `shared.auth.directory.IndexRecord`."""

    @property
    def name(self) -> IndexName:
        """Its name."""

    @property
    def type(self) -> str:
        """`stage` or `mirror`."""

    @property
    def bases(self) -> tuple[IndexName, ...]:
        """What it is based on, in order."""

    @property
    def mirror_whitelist(self) -> frozenset[str]:
        """Projects that mirrors may add to, or `*`."""

    @property
    def whitelist_inheritance(self) -> str:
        """`intersection` or `union`."""


M = TypeVar("M", bound=Member)


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


def showing(order: Sequence[M], project: NormalizedName, holds: Callable[[M], bool]) -> tuple[M, ...]:
    """Return the members of a merged view that show a project, nearest first.

    Where a stage holds the project, mirrors show nothing of it, unless a whitelist opens it: nobody can slip a file
    under a private name by publishing it elsewhere.

    Args:
        order: as `resolution_order` returns it; the first is the index that was asked.
        holds: whether a stage has the project, with or without files. Mirrors are not asked: whoever reads finds out.
    """
    shown: list[M] = []
    white = private = False
    whitelist: frozenset[str] | None = None
    for member in order:
        if member.type == MIRROR:
            if white or not private:
                shown.append(member)
            continue
        own = member.mirror_whitelist
        if whitelist is None:
            whitelist = own
        else:
            whitelist = whitelist | own if order[0].whitelist_inheritance == UNION else whitelist & own
        held = holds(member)
        if EVERYTHING in whitelist or project in whitelist:
            white = True
        elif held:
            private = True
        if held:
            shown.append(member)
    return tuple(shown)
