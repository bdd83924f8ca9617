"""Which version a client takes, and what each member of a view does."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from packaging.utils import NormalizedName

from countermark.core.names import FileName, IndexName
from services.index.explained import FileLine, Scene, State, members, newest, of_release
from shared.auth.directory import IndexRecord
from shared.ids import IndexId, new_uuid
from shared.reading.facts import Standing
from shared.reading.mirror_options import MirrorOptions
from tests.support.factories import now

_HOLDS, _EMPTY = Standing(True, 2, None), Standing(True, 0, None)
_CLOSED = Standing(True, 0, "looked at")


def _line(version: str | None, *, yanked: bool = False) -> FileLine:
    return FileLine(FileName(f"thing-{version}.tar.gz"), version, "a/b", False, True, yanked, None)


@pytest.mark.parametrize(
    ("versions", "final", "pre"),
    [
        ([], None, None),
        (["1.0", "1.10", "1.9"], "1.10", "1.10"),
        (["1.0", "2.0rc1"], "1.0", "2.0rc1"),
        (["2.0rc1", "2.0a1"], "2.0rc1", "2.0rc1"),
    ],
)
def test_the_newest_release(versions: list[str], final: str | None, pre: str | None) -> None:
    """A pre-release only where there is nothing else, or where it is allowed; what is yanked or undated never."""
    lines = [_line(version) for version in versions] + [_line("9.0", yanked=True), _line(None)]
    assert newest(lines) == final
    assert newest(lines, pre=True) == pre


def test_a_release_with_one_file_that_is_not_yanked_counts() -> None:
    """Installers take that file."""
    assert newest([_line("1.0", yanked=True), _line("1.0")]) == "1.0"


def test_a_release_is_found_however_it_is_written() -> None:
    """1.0 and 1.0.0 are one; a file without version is of none."""
    lines = [_line("1.0"), _line("2.0"), _line(None)]
    assert of_release(lines, "1.0.0") == [lines[0]]
    assert of_release(lines, "3") == []


def _index(name: str, kind: str = "stage", whitelist: frozenset[str] = frozenset()) -> IndexRecord:
    owner, _, index = name.partition("/")
    return IndexRecord(
        id=IndexId(new_uuid()),
        name=IndexName(owner, index),
        life=1,
        type=kind,
        public=True,
        volatile=False,
        admission="strict",
        grants=frozenset(),
        mirror_whitelist=whitelist,
        mirror=MirrorOptions("https://upstream.test/simple/") if kind == "mirror" else None,
    )


_TOP, _BASE, _MIRROR = _index("a/top"), _index("a/base"), _index("root/pypi", "mirror")
_OPEN = _index("a/open", whitelist=frozenset({"*"}))


@pytest.mark.parametrize(
    ("order", "standings", "states"),
    [
        ([_TOP, _BASE, _MIRROR], {}, ["nothing", "nothing", "shows"]),
        ([_TOP, _BASE, _MIRROR], {_BASE.id: _HOLDS}, ["nothing", "shows", "shut-out"]),
        ([_TOP, _BASE, _MIRROR], {_TOP.id: _EMPTY}, ["empty", "nothing", "shut-out"]),
        (
            [_TOP, _BASE, _MIRROR],
            {_TOP.id: _CLOSED, _BASE.id: _HOLDS},
            ["quarantined", "behind-quarantine", "shut-out"],
        ),
        ([_OPEN, _MIRROR], {_OPEN.id: _HOLDS}, ["shows", "shows"]),
        ([_OPEN, _MIRROR], {_OPEN.id: _CLOSED}, ["quarantined", "behind-quarantine"]),
        ([_MIRROR], {}, ["shows"]),
    ],
)
def test_each_member_has_a_state(
    order: list[IndexRecord], standings: Mapping[IndexId, Standing], states: list[str]
) -> None:
    """As the merged page takes it, or leaves it out."""
    scene = Scene(tuple(order), NormalizedName("thing"), standings, lambda _: True, now())
    told = members(scene, {_MIRROR.name: State.SHOWS})
    assert [member.state.value for member in told] == states
    shut = [member.by for member in told if member.state in {State.SHUT_OUT, State.BEHIND}]
    assert None not in shut


def test_what_is_not_for_the_caller_has_no_name() -> None:
    """Nor does who shuts others out, nor the words of a quarantine."""
    scene = Scene((_TOP, _BASE, _MIRROR), NormalizedName("thing"), {_BASE.id: _CLOSED}, lambda one: one == _TOP, now())
    told = members(scene, {})
    assert [(member.index, member.by, member.reason) for member in told] == [
        ("a/top", None, None),
        (None, None, None),
        (None, None, None),
    ]
