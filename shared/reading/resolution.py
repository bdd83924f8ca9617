"""Which members of a merged view show a project. Pure: the one place that knows the whitelists.

HTML, JSON, file serving, devpi's documents and exports all ask here, so that they cannot disagree. The order of the
members is that of the client's core, since clients that prove files of bases walk the same way.
Source: contract devpi section 15; architecture sections 5.9 and 11.5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from countermark.core.names import NormalizedName
from countermark.core.resolution import MIRROR, MOST_MEMBERS, Based, resolution_order

EVERYTHING = "*"
"""In a whitelist: every project."""

UNION = "union"
"""Whitelists add up; else only what all of them name counts."""


class Member(Based, Protocol):
    """What counts of an index; see `shared.auth.directory.IndexRecord`."""

    @property
    def mirror_whitelist(self) -> frozenset[str]:
        """Projects that mirrors may add to, or `*`."""

    @property
    def whitelist_inheritance(self) -> str:
        """`intersection` or `union`."""


M = TypeVar("M", bound=Member)


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


__all__ = ["EVERYTHING", "MIRROR", "MOST_MEMBERS", "UNION", "Member", "resolution_order", "showing"]
