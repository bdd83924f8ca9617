"""A list of projects names exactly those whose pages are shown, whatever the rules and whoever holds what."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.utils import NormalizedName

from countermark.core.names import IndexName
from shared.ids import IndexId, new_uuid
from shared.reading.facts import Standing
from shared.reading.listing import NameRules, StageNames, united
from shared.reading.merging import members_showing
from shared.reading.policy import Policy, judge_name

_ALPHABET = "ab1-"
_NAMES = st.from_regex(r"[ab1](-?[ab1]){0,5}", fullmatch=True).map(NormalizedName)
_PATTERNS = st.text(_ALPHABET + "*", min_size=1, max_size=5)
_PREFIXES = st.from_regex(r"[ab1](-?[ab1]){0,2}-?", fullmatch=True)

_POLICIES = st.builds(
    Policy,
    st.just(IndexName("a", "top")),
    reserved=st.lists(_PREFIXES, max_size=2).map(tuple),
    denied=st.dictionaries(_PATTERNS, st.just("why"), max_size=3),
    allowed=st.none() | st.frozensets(_PATTERNS, max_size=4),
    quarantined=st.dictionaries(_NAMES, st.just("why"), max_size=2),
)


@dataclass(frozen=True)
class _Member:
    id: IndexId
    name: IndexName
    type: str
    bases: tuple[IndexName, ...]
    mirror_whitelist: frozenset[str]
    whitelist_inheritance: str


@given(st.lists(_POLICIES, max_size=2), st.lists(_NAMES, min_size=1, max_size=20))
@settings(max_examples=300, deadline=None)
def test_rules_taken_apart_judge_alike(policies: list[Policy], names: list[NormalizedName]) -> None:
    """Each name as the one decision does."""
    rules = NameRules(policies)
    assert [rules.let(name) for name in names] == [judge_name(policies, name) is None for name in names]


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_mirrors_show_what_stages_leave_them(data: st.DataObject) -> None:
    """As for pages: by order, whitelists and quarantines."""
    names = ["a", "b", "c"]
    kinds = data.draw(st.lists(st.sampled_from(["stage", "stage", "mirror"]), min_size=1, max_size=5))
    lists = st.frozensets(st.sampled_from([*names, "*"]), max_size=2)
    inherited = st.sampled_from(["union", "intersection"])
    order = [
        _Member(IndexId(new_uuid()), IndexName("a", f"i{n}"), kind, (), data.draw(lists), data.draw(inherited))
        for n, kind in enumerate(kinds)
    ]
    standing: dict[str, dict[IndexId, Standing]] = {name: {} for name in names}
    stages = StageNames(order)
    for member in order:
        if member.type == "stage":
            held = data.draw(st.frozensets(st.sampled_from(names)))
            closed = data.draw(st.frozensets(st.sampled_from(names)))
            stages.add(member.id, held, closed)
            for name in held:
                standing[name][member.id] = Standing(True, 0, "" if name in closed else None)
    for member in order:
        for name in names:
            shown = members_showing(order, NormalizedName(name), standing[name])
            if member.type == "mirror":
                assert stages.leave(member.id, name) == (member in shown)


@given(
    st.dictionaries(_NAMES, st.integers(1, 9), max_size=8),
    st.lists(st.frozensets(_NAMES, max_size=8).map(sorted), max_size=3),
)
def test_each_name_is_listed_once(stages: dict[NormalizedName, int], mirrors: list[list[str]]) -> None:
    """In order, with the stages' serial where they have it."""
    every = sorted({*stages, *(name for names in mirrors for name in names)})
    assert list(united(sorted(stages.items()), mirrors)) == [(name, stages.get(NormalizedName(name))) for name in every]
