"""Whole pages and single files are judged alike, whatever the rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.utils import NormalizedName

from countermark.core.names import IndexName
from shared.reading.policy import Exemption, Policy, about, judge_age, judge_file, judge_name, next_change

_NOW = datetime(2026, 5, 1, tzinfo=UTC)
_NAMES = st.sampled_from(["acme", "acme-x", "thing", "things", "evil-1"]).map(NormalizedName)
_VERSIONS = st.sampled_from(["1.0", "1", "1.0.0", "2.0rc1", "2.0"])
_SPANS = st.integers(-3, 12).map(lambda days: timedelta(days=days))
_PATTERNS = st.sampled_from(["*", "acme*", "thing", "evil-*", "*-x"])


@st.composite
def _policies(draw: st.DrawFn) -> Policy:
    exemption = st.builds(
        Exemption,
        project=_NAMES,
        version=st.none() | _VERSIONS,
        until=_SPANS.map(lambda span: _NOW + span),
        owner=st.just("ann"),
        reason=st.just("a fix"),
    )
    return Policy(
        IndexName("a", draw(st.sampled_from(["top", "mirror"]))),
        min_age=max(timedelta(0), draw(_SPANS)),
        reserved=tuple(draw(st.lists(st.sampled_from(["acme", "acme-", "evil"]), max_size=1))),
        denied=draw(st.dictionaries(_PATTERNS, st.just("why"), max_size=1)),
        allowed=draw(st.none() | st.frozensets(_PATTERNS)),
        quarantined=draw(st.dictionaries(_NAMES, st.just("why"), max_size=1)),
        exemptions=tuple(draw(st.lists(exemption, max_size=3))),
    )


@settings(max_examples=1000, deadline=None)
@given(
    policies=st.lists(_policies(), max_size=2),
    project=_NAMES,
    version=_VERSIONS,
    age=st.none() | _SPANS,
)
def test_a_page_hides_what_a_file_address_refuses(
    policies: list[Policy], project: NormalizedName, version: str, age: timedelta | None
) -> None:
    """By the same rule until the same moment, though a page judges the name once and looks at its own exemptions."""
    uploaded_at = None if age is None else _NOW - age
    alone = judge_file(policies, project, version, uploaded_at, _NOW)
    narrow = about(policies, project)
    assert (judge_name(policies, project) or judge_age(narrow, project, version, uploaded_at, _NOW)) == alone


@settings(max_examples=1000, deadline=None)
@given(
    policies=st.lists(_policies(), max_size=2),
    project=_NAMES,
    version=_VERSIONS,
    age=_SPANS,
    later=st.integers(0, 20 * 86_400),
)
def test_nothing_changes_before_it_is_said_to(
    policies: list[Policy], project: NormalizedName, version: str, age: timedelta, later: int
) -> None:
    """A page in memory is true until the moment that was found for it."""
    narrow, uploaded_at = about(policies, project), _NOW - age
    now = judge_age(narrow, project, version, uploaded_at, _NOW)
    change = next_change([] if now is None else [now], narrow, _NOW)
    moment = _NOW + timedelta(seconds=later)
    if change is None or moment < change:
        then = judge_age(narrow, project, version, uploaded_at, moment)
        assert (then is None) == (now is None)
