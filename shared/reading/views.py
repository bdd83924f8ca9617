"""The merged views of indexes with bases, from the directory: computed when first asked for, kept while they are true.

A view is compared by identity: what is derived from one (pages, files in memory) is kept under it, and a view that
changed is another one. So a change of bases or whitelists takes all of that away at once, and nothing else does: a new
token or right leaves the views as they are.
Source: architecture sections 9 and 11.5.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.auth.directory import Directory, IndexRecord
from shared.ids import IndexId
from shared.reading.resolution import MIRROR, resolution_order


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """An index together with its bases: `order` as `resolution_order` returns it; a mirror alone is one as well."""

    order: tuple[IndexRecord, ...]
    ids: frozenset[IndexId] = field(init=False)

    def __post_init__(self) -> None:
        """Collect the members' ids."""
        object.__setattr__(self, "ids", frozenset(member.id for member in self.order))


class Views:
    """The views of a directory's indexes."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._generation = directory.generation
        self._views: dict[IndexId, View] = {}
        self._older: dict[IndexId, View] = {}

    def of(self, record: IndexRecord) -> View | None:
        """Return the view of an index; None for a stage that is merged with nothing."""
        if not record.bases and record.type != MIRROR:
            return None
        if self._generation != self._directory.generation:
            # What nobody asks for until the next change is forgotten.
            self._older, self._views = self._views, {}
            self._generation = self._directory.generation
        view = self._views.get(record.id)
        if view is None:
            order = (record,) if record.type == MIRROR else resolution_order(record, self._directory.index)
            if len(order) == 1 and record.type != MIRROR:
                return None
            older = self._older.get(record.id)
            view = older if older is not None and _alike(older.order, order) else View(order)
            self._views[record.id] = view
        return view


def _alike(one: tuple[IndexRecord, ...], other: tuple[IndexRecord, ...]) -> bool:
    """Return whether two orders show the same: who may do what to the members makes no difference."""
    return [_showing(member) for member in one] == [_showing(member) for member in other]


def _showing(member: IndexRecord) -> tuple[object, ...]:
    return (
        member.id,
        member.name,
        member.life,
        member.type,
        member.public,
        member.mirror_whitelist,
        member.whitelist_inheritance,
        member.mirror,
        member.policy,
    )
