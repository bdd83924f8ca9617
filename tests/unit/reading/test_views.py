"""Merged views in memory: the same one for as long as it shows the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import cast

from countermark.core.names import IndexName, parse_index_name
from shared.auth.directory import Directory, IndexRecord
from shared.auth.principal import Grant, Verb
from shared.ids import IndexId, new_uuid
from shared.reading.policy import Policy
from shared.reading.views import View, Views


class Indexes:
    """A directory of indexes that tests change."""

    def __init__(self, *records: IndexRecord) -> None:
        self.generation = 0
        self._records = {record.name: record for record in records}

    def index(self, name: IndexName) -> IndexRecord | None:
        """Return an index by name."""
        return self._records.get(name)

    def change(self, record: IndexRecord) -> None:
        """Put an index in place of the one of its name."""
        self._records[record.name] = record
        self.generation += 1


def record(name: str, *bases: str, kind: str = "stage") -> IndexRecord:
    """Return an index."""
    names = tuple(map(parse_index_name, bases))
    return IndexRecord(
        IndexId(new_uuid()), parse_index_name(name), 1, kind, True, False, "strict", frozenset(), bases=names
    )


def views_of(indexes: Indexes) -> Views:
    """Return the views of a directory."""
    return Views(cast(Directory, indexes))


def viewed(views: Views, index: IndexRecord) -> View:
    """Return a view that there must be."""
    view = views.of(index)
    assert view is not None
    return view


def test_nothing_to_merge() -> None:
    """An index without bases and one whose bases are all gone have no view."""
    plain, lonely = record("a/a"), record("a/b", "a/none")
    views = views_of(Indexes(plain, lonely))
    assert [views.of(index) for index in (plain, lonely)] == [None, None]


def test_a_mirror_is_a_view_of_itself() -> None:
    """So that what it shows is dropped with its policy and its upstream; it has no bases, whatever is written."""
    mirror = record("a/m", "a/a", kind="mirror")
    indexes = Indexes(mirror, record("a/a"))
    views = views_of(indexes)
    first = viewed(views, mirror)
    assert first.order == (mirror,)
    changed = replace(mirror, policy=Policy(mirror.name, min_age=timedelta(days=1)))
    indexes.change(replace(mirror, grants=frozenset([Grant("ann", Verb.READ)])))
    assert viewed(views, mirror) is first
    indexes.change(changed)
    assert viewed(views, changed) is not first


def test_a_view_stays_while_it_is_true() -> None:
    """Rights and other indexes leave it as it is, bases and whitelists make another one."""
    top, low = record("a/top", "a/low"), record("a/low")
    indexes = Indexes(top, low, record("a/new"))
    views = views_of(indexes)
    first = viewed(views, top)
    assert first.order == (top, low)
    assert first.ids == {top.id, low.id}
    assert viewed(views, top) is first
    low = replace(low, grants=frozenset([Grant("ann", Verb.UPLOAD)]))
    indexes.change(low)
    assert viewed(views, top) is first
    indexes.change(replace(low, mirror_whitelist=frozenset(["*"])))
    second = viewed(views, top)
    assert second is not first
    low = replace(low, bases=(parse_index_name("a/new"),))
    indexes.change(low)
    assert len(viewed(views, top).order) == 3


def test_what_nobody_asks_for_is_forgotten() -> None:
    """A view that is not asked for between two changes is made anew."""
    top, low, other = record("a/top", "a/low"), record("a/low"), record("a/other")
    indexes = Indexes(top, low, other)
    views = views_of(indexes)
    first = viewed(views, top)
    side = record("a/side", "a/low")
    for _ in range(2):
        indexes.change(replace(other, grants=frozenset()))
        assert views.of(side) is not None
    assert viewed(views, top) is not first
