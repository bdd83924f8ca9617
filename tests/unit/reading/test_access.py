"""Which index a path means is remembered while it is true; who may read it is asked where not everyone may."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from countermark.core.names import IndexName
from shared.auth.directory import Directory, IndexRecord
from shared.auth.principal import ANONYMOUS, NOBODY, Grant, Principal, Verb
from shared.auth.verifier import Verifier
from shared.errors import ErrorKind, ServiceError
from shared.faces import Face, FaceKind
from shared.ids import IndexId, new_uuid
from shared.reading.access import Access

NAME = IndexName("root", "stable")
PAGE, FILE = (Face(NAME, kind, "", "/root/stable/") for kind in (FaceKind.SIMPLE, FaceKind.FILE))
OPEN = frozenset([Grant(ANONYMOUS, Verb.READ)])


class Indexes:
    """A directory of at most one index, which is the default one."""

    def __init__(self, record: IndexRecord | None) -> None:
        self.generation = 0
        self.default_index = NAME
        self._record = record

    def index(self, name: IndexName) -> IndexRecord | None:
        """Return an index by name."""
        return self._record if name == NAME else None

    def was_public(self, name: IndexName) -> bool:
        """Say of an index that is gone that it was public."""
        return self._record is None and name == NAME

    async def look_again(self) -> None:
        """Find nothing new."""

    def change(self, record: IndexRecord | None) -> None:
        """Have another index, or none."""
        self._record = record
        self.generation += 1


class Nobody:
    """A verifier that knows nobody."""

    async def verify(self, _header: str | None) -> Principal:
        """Return who asks."""
        return NOBODY


def record(grants: frozenset[Grant] = OPEN) -> IndexRecord:
    """Return an index."""
    return IndexRecord(IndexId(new_uuid()), NAME, 1, "stage", True, False, "strict", grants)


def access_to(indexes: Indexes) -> Access:
    """Return what is asked for the indexes of a directory."""
    return Access(cast(Directory, indexes), cast(Verifier, Nobody()))


def test_a_place_is_remembered_until_something_changes() -> None:
    """Not longer: not an index that became another, nor a right that was taken away."""
    indexes = Indexes(record())
    access = access_to(indexes)
    place = access.place(PAGE)
    assert (place.open, access.place(FILE)) == (True, place)
    assert access.place(PAGE) is place
    indexes.change(replace(place.record, grants=frozenset()))
    assert not access.place(PAGE).open


def test_what_is_not_there_is_not_remembered() -> None:
    """Neither before it is made nor after it was deleted; then its files are gone, and its pages not found."""
    indexes = Indexes(None)
    access = access_to(indexes)
    for _ in range(2):
        for face, kind in ((PAGE, ErrorKind.NOT_FOUND), (FILE, ErrorKind.GONE)):
            with pytest.raises(ServiceError) as refused:
                access.place(face)
            assert refused.value.kind is kind
        indexes.change(record())
        assert access.place(FILE).record.name == NAME
        indexes.change(None)


def test_the_paths_without_an_index_need_an_open_one() -> None:
    """That the default index was read by its own name does not open them."""
    indexes = Indexes(record(frozenset()))
    access, face = access_to(indexes), replace(PAGE, index=None, base="/")
    assert not access.place(PAGE).open
    with pytest.raises(ServiceError) as refused:
        access.place(face)
    assert refused.value.kind is ErrorKind.NOT_FOUND
    indexes.change(record())
    assert access.place(face).open


async def test_who_may_read_is_asked_each_time_where_not_everyone_may() -> None:
    """A place that is remembered lets nobody in."""
    indexes = Indexes(record(frozenset()))
    access = access_to(indexes)
    for _ in range(2):
        with pytest.raises(ServiceError) as refused:
            await access.enter(PAGE, None)
        assert refused.value.kind is ErrorKind.UNAUTHENTICATED
    indexes.change(record())
    assert await access.enter(PAGE, b"Basic nonsense") is await access.enter(PAGE, None)
