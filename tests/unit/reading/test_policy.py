"""Which rule hides a mirrored file, and until when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from packaging.utils import NormalizedName

from countermark.core.names import IndexName
from shared.reading.mirror_options import policy_from
from shared.reading.policy import Exemption, Policy, Rule, about, judge_file, judge_name, next_change

_NOW = datetime(2026, 5, 1, tzinfo=UTC)
_WEEK = timedelta(days=7)
_MIRROR, _TEAM = IndexName("root", "pypi"), IndexName("team", "prod")
_HELLO = NormalizedName("hello")


def _rule(*policies: Policy, name: str = "hello", age: timedelta | None = timedelta(0)) -> Rule | None:
    uploaded_at = None if age is None else _NOW - age
    found = judge_file(policies, NormalizedName(name), "1.0", uploaded_at, _NOW)
    return None if found is None else found.rule


def test_nothing_is_hidden_without_rules() -> None:
    """Also what has no date."""
    assert _rule(Policy(_MIRROR), Policy(_TEAM)) is None
    assert _rule(Policy(_MIRROR), Policy(_TEAM), age=None) is None


def test_age_counts_from_the_upload_upstream() -> None:
    """To the microsecond; what has no date is hidden."""
    policy = Policy(_MIRROR, min_age=_WEEK)
    assert _rule(policy, age=_WEEK) is None
    assert _rule(policy, age=_WEEK - timedelta(microseconds=1)) is Rule.TOO_NEW
    assert _rule(policy, age=None) is Rule.UNDATED
    found = judge_file([policy], _HELLO, "1.0", _NOW, _NOW)
    assert found is not None
    assert (found.until, found.index, found.reason) == (_NOW + _WEEK, _MIRROR, "files must be 7 days old here")


def test_the_longer_wait_counts() -> None:
    """Mirror and index each have their say."""
    found = judge_file(
        [Policy(_MIRROR, min_age=_WEEK), Policy(_TEAM, min_age=2 * _WEEK)], _HELLO, "1.0", _NOW - _WEEK, _NOW
    )
    assert found is not None
    assert (found.index, found.until) == (_TEAM, _NOW + _WEEK)


@pytest.mark.parametrize(
    ("version", "until", "rule"),
    [
        (None, _NOW + _WEEK, None),
        ("1.0", _NOW + _WEEK, None),
        ("2.0", _NOW + _WEEK, Rule.TOO_NEW),
        ("1", _NOW + _WEEK, None),
        ("1.0.0", _NOW + _WEEK, None),
        (None, _NOW, Rule.TOO_NEW),
    ],
)
def test_an_exemption_lifts_the_age_of_its_own_index(version: str | None, until: datetime, rule: Rule | None) -> None:
    """For its project and version, until it ends, and for undated files as well."""
    exemption = Exemption(_HELLO, version, until, "root", "a fix")
    policy = Policy(_MIRROR, min_age=_WEEK, exemptions=(exemption,))
    assert _rule(policy) is rule
    assert _rule(policy, Policy(_TEAM, min_age=_WEEK)) is Rule.TOO_NEW
    assert _rule(policy, name="world") is Rule.TOO_NEW


@pytest.mark.parametrize(
    ("name", "rule"), [("acme", "reserved"), ("acme-x", "reserved"), ("acmex", None), ("lab-x", "reserved")]
)
def test_reserved_prefixes_end_at_a_hyphen(name: str, rule: str | None) -> None:
    """A prefix with the hyphen does not cover the bare name."""
    assert _rule(Policy(_TEAM, reserved=("acme", "lab-")), name=name) == rule
    assert _rule(Policy(_TEAM, reserved=("acme", "lab-")), name="lab") is None


def test_lists_name_their_reason() -> None:
    """Denied before allowed; no exemption opens what is denied."""
    exemption = Exemption(_HELLO, None, _NOW + _WEEK, "root", "")
    policy = Policy(_TEAM, denied={"hel*": "taken over"}, allowed=frozenset(["hello"]), exemptions=(exemption,))
    found = judge_name([policy], _HELLO)
    assert found is not None
    assert (found.rule, found.reason, found.until) == (Rule.DENIED, "taken over", None)
    assert _rule(policy, name="world") is Rule.NOT_ALLOWED
    assert _rule(Policy(_TEAM, allowed=frozenset(["w*"])), name="world") is None
    assert _rule(Policy(_TEAM, quarantined={"hello": "suspect"}), age=_WEEK) is Rule.QUARANTINED


def test_an_answer_lasts_until_the_next_unlock() -> None:
    """Or until an exemption ends; for ever when nothing does."""
    policy = Policy(_MIRROR, min_age=_WEEK)
    hidden = [judge_file([policy], _HELLO, "1.0", _NOW - age, _NOW) for age in (timedelta(0), timedelta(days=6))]
    assert next_change([one for one in hidden if one], [policy], _NOW) == _NOW + timedelta(days=1)
    exemption = Exemption(_HELLO, None, _NOW + timedelta(hours=1), "root", "")
    assert next_change([], [Policy(_TEAM, exemptions=(exemption,))], _NOW) == _NOW + timedelta(hours=1)
    assert next_change([], [policy], _NOW) is None


def test_what_the_deployment_reserves_counts_in_every_index() -> None:
    """Beside what the index reserves itself, also where no policy was set."""
    for settings in ({}, {"policy": {"reserved": ["acme"]}}):
        policy = policy_from(_TEAM, settings, reserved=["lab-"])
        assert _rule(policy, name="lab-x") is Rule.RESERVED
        assert _rule(policy, name="acme") is (Rule.RESERVED if settings else None)


def test_a_page_is_judged_by_its_own_exemptions_alone() -> None:
    """Those of other projects neither lift anything nor end its documents."""
    mine, other = (Exemption(NormalizedName(name), None, _NOW + _WEEK, "root", "a fix") for name in ("hello", "world"))
    (policy,) = about([Policy(_MIRROR, min_age=_WEEK, exemptions=(mine, other))], _HELLO)
    assert policy == Policy(_MIRROR, min_age=_WEEK, exemptions=(mine,))
