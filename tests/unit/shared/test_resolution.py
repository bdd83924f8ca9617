"""The order of a merged view, and who shows what in it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from packaging.utils import canonicalize_name

from countermark.core.names import IndexName, parse_index_name
from shared.reading.resolution import MOST_MEMBERS, resolution_order, showing


@dataclass(frozen=True)
class Index:
    """What counts of an index."""

    name: IndexName
    bases: tuple[IndexName, ...] = ()
    type: str = "stage"
    mirror_whitelist: frozenset[str] = frozenset()
    whitelist_inheritance: str = "intersection"


def index(name: str, *bases: str, kind: str = "stage", white: str = "", inheritance: str = "intersection") -> Index:
    """Return an index by its parts as people write them."""
    names = tuple(map(parse_index_name, bases))
    return Index(parse_index_name(name), names, kind, frozenset(white.split()), inheritance)


def order(*indexes: Index) -> list[str]:
    """Return the order of the first index among all."""
    found = {one.name: one for one in indexes}
    return [str(one.name) for one in resolution_order(indexes[0], found.get)]


def shown(project: str, holders: str, *indexes: Index) -> list[str]:
    """Return which members show a project that the stages `holders` have."""
    found = {one.name: one for one in indexes}
    members = resolution_order(indexes[0], found.get)
    names = holders.split()
    return [
        str(one.name) for one in showing(members, canonicalize_name(project), lambda member: str(member.name) in names)
    ]


def test_bases_come_breadth_first_and_mirrors_last() -> None:
    """A base of the first base comes after the second base, and a mirror after every stage wherever it stands."""
    mirror = index("root/pypi", kind="mirror")
    indexes = [index("a/a", "root/pypi", "a/b", "a/c"), index("a/b", "a/d"), index("a/c"), index("a/d"), mirror]
    assert order(*indexes) == ["a/a", "a/b", "a/c", "a/d", "root/pypi"]


def test_diamonds_circles_and_gaps() -> None:
    """An index is asked once however many ways lead to it, a circle ends, and a base that is gone is skipped."""
    indexes = [index("a/a", "a/b", "a/c", "a/none"), index("a/b", "a/d"), index("a/c", "a/d", "a/a"), index("a/d")]
    assert order(*indexes) == ["a/a", "a/b", "a/c", "a/d"]


def test_a_view_has_an_end() -> None:
    """Of ten thousand bases the first are looked at, and no more."""
    many = [index(f"a/b{number}") for number in range(10_000)]
    assert len(order(index("a/a", *(str(one.name) for one in many)), *many)) == MOST_MEMBERS


@pytest.mark.parametrize(
    ("white", "above", "inheritance", "mirrored"),
    [
        ("", "", "intersection", False),
        ("demo", "", "intersection", False),
        ("", "demo", "intersection", True),
        ("demo", "demo", "intersection", True),
        ("*", "*", "intersection", True),
        ("demo", "", "union", True),
        ("other", "", "union", False),
    ],
)
def test_a_private_name_hides_mirrors_unless_a_whitelist_opens_it(
    white: str, above: str, inheritance: str, mirrored: bool
) -> None:
    """A stage that holds the project hides it in mirrors; whitelists combine as the index that was asked says."""
    top = index("a/top", "a/low", white=above, inheritance=inheritance)
    low = index("a/low", "root/pypi", white=white, inheritance="union" if inheritance != "union" else "intersection")
    found = shown("demo", "a/low", top, low, index("root/pypi", kind="mirror"))
    assert found == (["a/low", "root/pypi"] if mirrored else ["a/low"])


def test_what_no_stage_holds_passes() -> None:
    """Whitelists never close a project that is in mirrors only."""
    assert shown("demo", "", index("a/a", "root/pypi", white="other"), index("root/pypi", kind="mirror")) == [
        "root/pypi"
    ]
