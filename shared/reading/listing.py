"""Which names of a mirror's list of projects an index lists. Pure.

A project is listed exactly when its page is shown: by the rules of `shared.reading.policy`, which are taken apart here
first, since they judge 700,000 names at once, and by `shared.reading.merging`.
Source: architecture sections 5.9 and 11.5; contract devpi section 15.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from fnmatch import translate
from heapq import merge
from itertools import groupby

from countermark.core.names import NormalizedName
from shared.formats.python.packed_lists import Row
from shared.ids import IndexId
from shared.reading.facts import Standing
from shared.reading.merging import Identified, members_showing
from shared.reading.policy import Policy, judge_name

_WILD = frozenset("*?[")


class _Names:
    """Patterns of names, sorted by what it takes to match them."""

    def __init__(self, patterns: Iterable[str]) -> None:
        exact, begins, others = set(), set(), []
        for pattern in patterns:
            stem = pattern[:-1]
            if not _WILD.intersection(pattern):
                exact.add(pattern)
            elif pattern.endswith("*") and not _WILD.intersection(stem):
                begins.add(stem)
            else:
                others.append(translate(pattern))
        self._exact = exact
        self._begins = _begins(begins)
        self._others = re.compile("|".join(others)) if others else None

    def match(self, name: str) -> bool:
        """Return whether one of them matches."""
        if name in self._exact or any(name[:length] in begins for length, begins in self._begins):
            return True
        return self._others is not None and self._others.match(name) is not None


class NameRules:
    """What `judge_name` says of many names by the same policies."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policies = policies
        self._lets_all = all(_lets_all(policy) for policy in policies)
        self._denied = _Names(pattern for policy in policies for pattern in policy.denied)
        self._quarantined = frozenset(name for policy in policies for name in policy.quarantined)
        self._allowed = [_Names(policy.allowed) for policy in policies if policy.allowed is not None]
        self._reserved = _begins({_bare(prefix) for policy in policies for prefix in policy.reserved})

    def let(self, name: str) -> bool:
        """Return whether they let a name be shown."""
        if self._lets_all:
            return True
        if name in self._quarantined or self._denied.match(name):
            return False
        if not all(allowed.match(name) for allowed in self._allowed):
            return False
        if any(name[:length] in begins for length, begins in self._reserved):
            # Whether it goes on after a hyphen is for the rule itself.
            return judge_name(self._policies, NormalizedName(name)) is None
        return True


class StageNames:
    """The names that the stages of a merged view hold: what mirrors have under them may not show."""

    def __init__(self, order: Sequence[Identified]) -> None:
        """Args: order: as `resolution_order` returns it."""
        self._order = order
        self._places = {member.id: place for place, member in enumerate(order)}
        self._marks: dict[str, int] = {}

    def add(self, stage: IndexId, held: Iterable[str], closed: Collection[str]) -> None:
        """Add what a stage holds.

        Args:
            held: names that are registered or published there.
            closed: those of them whose quarantine shows.
        """
        place = self._places[stage]
        for name in held:
            # Two bits for each member, not an object: a stage may hold a hundred thousand names.
            self._marks[name] = self._marks.get(name, 0) | (3 if name in closed else 1) << 2 * place

    def leave(self, mirror: IndexId, name: str) -> bool:
        """Return whether they leave it to a mirror to show a name."""
        mark = self._marks.get(name)
        if mark is None:
            return True
        standings = {
            member.id: Standing(registered=True, files=0, quarantined="" if bits & 2 else None)
            for place, member in enumerate(self._order)
            if (bits := mark >> 2 * place & 3)
        }
        return any(member.id == mirror for member in members_showing(self._order, NormalizedName(name), standings))


def united(stages: Iterable[Row], mirrors: Sequence[Iterable[str]]) -> Iterator[Row]:
    """Yield the rows of a merged list, each name once: those of stages have serials.

    Args:
        stages: sorted.
        mirrors: the names that each mirror shows, sorted.
    """
    names: Iterable[str] = merge(*mirrors) if len(mirrors) != 1 else mirrors[0]
    rows = iter(stages)
    row = next(rows, None)
    for name, _ in groupby(names):
        while row is not None and row[0] < name:
            yield row
            row = next(rows, None)
        if row is None or row[0] != name:
            yield name, None
    while row is not None:
        yield row
        row = next(rows, None)


def _lets_all(policy: Policy) -> bool:
    return not (policy.reserved or policy.denied or policy.quarantined) and policy.allowed is None


def _bare(prefix: str) -> str:
    return prefix.removesuffix("-")


def _begins(prefixes: Iterable[str]) -> list[tuple[int, frozenset[str]]]:
    """Return prefixes by their length."""
    by_length: dict[int, set[str]] = {}
    for prefix in prefixes:
        by_length.setdefault(len(prefix), set()).add(prefix)
    return [(length, frozenset(found)) for length, found in sorted(by_length.items())]
