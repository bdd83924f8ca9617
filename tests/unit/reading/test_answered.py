"""Pages that were answered a moment ago: known at once, and no longer than they are what their mirror says."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from countermark.core.digest import Sha256
from countermark.core.names import FileName, NormalizedName
from shared.catalogue.fetches import CHANGED, what_page
from shared.catalogue.listener import Listener
from shared.catalogue.mirror_faults import KeptOrigins
from shared.catalogue.mirror_pages import MirrorId
from shared.formats.python.upstream import Listed, Origin
from shared.ids import IndexId, new_uuid
from shared.reading import answered
from shared.reading.answered import AnsweredPages

_AT = datetime(2026, 1, 2, tzinfo=UTC)
_THING, _OTHER = NormalizedName("thing"), NormalizedName("other")


_LARGE = Listed(b"x" * (answered.MOST_FILES << 10), Origin(Sha256("0" * 64), "https://files.example/x"), "1.0")


def _mirror(life: int = 1) -> MirrorId:
    return MirrorId(IndexId(new_uuid()), life)


def _page(files: int = 1) -> KeptOrigins:
    listed = Listed(b"{}", Origin(Sha256("0" * 64), "https://files.example/x"), "1.0")
    origins = {FileName(f"thing-{number}.tar.gz"): listed for number in range(files)}
    return KeptOrigins(origins, _AT, _AT + timedelta(hours=1), {})


@pytest.fixture
def pages() -> AnsweredPages:
    """What nothing tells."""
    return AnsweredPages(Listener("postgresql+asyncpg://nobody@localhost:1/none", tick=timedelta(seconds=1)))


def test_a_page_is_known_from_its_answer_on(pages: AnsweredPages) -> None:
    """Before it is kept and after, in this life of its mirror only; one that could not be kept is forgotten."""
    mirror, page = _mirror(), _page()
    assert pages.of([mirror], _THING) == {}
    pages.begin(mirror, _THING, page)
    assert (pages.of([mirror, _mirror()], _THING), pages.unkept) == ({mirror.id: page}, 1)
    assert pages.of([mirror], _OTHER) == {}
    assert pages.of([MirrorId(mirror.id, 2)], _THING) == {}
    pages.end(mirror, _THING, kept=True)
    assert (pages.of([mirror], _THING), pages.unkept) == ({mirror.id: page}, 0)
    pages.begin(mirror, _OTHER, page)
    pages.end(mirror, _OTHER, kept=False)
    assert pages.of([mirror], _OTHER) == {}


def test_it_is_remembered_for_a_moment(pages: AnsweredPages, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as installers resolve."""
    mirror = _mirror()
    pages.begin(mirror, _THING, _page())
    pages.end(mirror, _THING, kept=True)
    later = time.monotonic() + answered.SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert pages.of([mirror], _THING) == {}


@pytest.mark.parametrize(
    ("said", "known"),
    [
        (_AT.isoformat(), True),
        ((_AT - timedelta(seconds=1)).isoformat(), True),
        ((_AT + timedelta(seconds=1)).isoformat(), False),
        ("", False),
    ],
)
async def test_one_that_became_another_is_forgotten(pages: AnsweredPages, said: str, known: bool) -> None:
    """Not for its own notification, nor for an older one; for others of its mirror neither."""
    mirror, page = _mirror(), _page()
    pages.begin(mirror, _THING, page)
    pages.end(mirror, _THING, kept=True)
    await pages._told(f"{CHANGED}{what_page(mirror.id, _OTHER)}")
    await pages._told(what_page(mirror.id, _THING))
    assert pages.of([mirror], _THING) == {mirror.id: page}
    await pages._told(f"{CHANGED}{what_page(mirror.id, _THING)} {said}".strip())
    assert bool(pages.of([mirror], _THING)) is known


async def test_one_that_changes_before_it_is_kept_is_not_remembered(pages: AnsweredPages) -> None:
    """As when core metadata of it turns out not to be there; until it is kept nobody else knows it."""
    mirror, page = _mirror(), _page()
    pages.begin(mirror, _THING, page)
    await pages._told(f"{CHANGED}{what_page(mirror.id, _THING)}")
    assert pages.of([mirror], _THING) == {mirror.id: page}
    pages.end(mirror, _THING, kept=True)
    assert pages.of([mirror], _THING) == {}


async def test_who_made_something_of_a_void_page_is_told(pages: AnsweredPages) -> None:
    """Of one that could not be kept, and of one that changed meanwhile; of no other."""
    mirror, told = _mirror(), list[NormalizedName]()
    pages.when_void(lambda index_id, project: told.append(project) if index_id == mirror.id else None)
    for project in (_THING, _OTHER, NormalizedName("kept")):
        pages.begin(mirror, project, _page())
    await pages._told(f"{CHANGED}{what_page(mirror.id, _OTHER)}")
    pages.end(mirror, _THING, kept=False)
    pages.end(mirror, _OTHER, kept=True)
    pages.end(mirror, NormalizedName("kept"), kept=True)
    pages.end(mirror, NormalizedName("never begun"), kept=False)
    assert told == [_THING, _OTHER]


async def test_a_tick_forgets_all_that_is_kept(pages: AnsweredPages) -> None:
    """Something may have been missed; what is not kept yet nobody else could change."""
    mirror, page = _mirror(), _page()
    for project in (_THING, _OTHER):
        pages.begin(mirror, project, page)
    pages.end(mirror, _THING, kept=True)
    await pages._told("")
    assert pages.of([mirror], _THING) == {}
    assert pages.of([mirror], _OTHER) == {mirror.id: page}


def test_their_files_are_bounded(pages: AnsweredPages) -> None:
    """The oldest go first; one that is larger than all is not remembered, and known until it is kept."""
    mirror, half = _mirror(), _page(answered.MOST_FILES // 2)
    large = KeptOrigins({FileName("thing-1.tar.gz"): _LARGE}, _AT, _AT, {})
    names = [NormalizedName(f"thing-{number}") for number in range(3)]
    for name in names:
        pages.begin(mirror, name, half)
        pages.end(mirror, name, kept=True)
    assert [bool(pages.of([mirror], name)) for name in names] == [False, False, True]
    for page in (_page(answered.MOST_FILES + 1), large):
        pages.begin(mirror, _THING, page)
        assert pages.of([mirror], _THING)
        pages.end(mirror, _THING, kept=True)
        assert pages.of([mirror], _THING) == {}
    assert pages.of([mirror], names[-1]), "it takes nothing away from others"
