"""What people may write of a policy."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import pytest

from countermark.core.names import IndexName
from gateway.policy_values import (
    LONGEST_AGE,
    MOST_ALLOWED,
    MOST_DENIED,
    MOST_PREFIXES,
    Given,
    changed_policy,
    checked_span,
    checked_version,
    parse_age,
    written_age,
)
from shared.errors import ErrorKind, ServiceError
from shared.reading.policy import Policy

_INDEX = IndexName("team", "prod")
_OLD = Policy(_INDEX, min_age=timedelta(hours=1), denied={"evil": "it is"}, quarantined={"odd": "looked at"})


def _changed(**given: Any) -> Policy:
    return changed_policy(_OLD, cast(Given, given))


@pytest.mark.parametrize(
    ("written", "seconds"),
    [(0, 0), (3600, 3600), ("90", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800), (" 2 W ", 1_209_600)],
)
def test_an_age_is_written_in_words(written: int | str, seconds: int) -> None:
    """Seconds, or a number with a unit."""
    assert parse_age(written).total_seconds() == seconds


@pytest.mark.parametrize("written", [-1, "", "d", "7 days", "1.5d", "7d 1h", "367d", "999999999w", "٣d", "1" * 30])
def test_what_is_no_age_is_refused(written: int | str) -> None:
    """Nor is one that is longer than a year."""
    with pytest.raises(ServiceError, match="such as 7d"):
        parse_age(written)


@pytest.mark.parametrize("age", [0, 1, 90, 60, 5400, 3600, 86_400, 14 * 86_400, LONGEST_AGE.total_seconds()])
def test_a_written_age_is_read_again(age: float) -> None:
    """In the largest unit that says it whole."""
    assert parse_age(written_age(timedelta(seconds=age))) == timedelta(seconds=age)


def test_what_is_left_out_stays() -> None:
    """And what is given takes the place of the old."""
    changed = _changed(min_age="7d", allowed=["a*", "b"], quarantined={"Some.Thing": "why"})
    assert changed == Policy(
        _INDEX, timedelta(days=7), (), {"evil": "it is"}, frozenset({"a*", "b"}), {"some-thing": "why"}
    )
    assert _changed(denied={}, allowed=None) == Policy(_INDEX, timedelta(hours=1), quarantined={"odd": "looked at"})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"reserved": ["Acme"]}, "'Acme' is no beginning"),
        ({"reserved": ["-"]}, "is no beginning"),
        ({"reserved": ["a" * 65]}, "is no beginning"),
        ({"reserved": [f"p{number}" for number in range(MOST_PREFIXES + 1)]}, "at most 200 reserved prefixes"),
        ({"denied": {"e[vi]l": "x"}}, "no pattern"),
        ({"denied": {"****": "x"}}, "no pattern"),
        ({"denied": {"evil": " "}}, "Say why 'evil'"),
        ({"denied": {"evil": "two\nlines"}}, "Say why 'evil'"),
        ({"denied": {f"p{number}": "x" for number in range(MOST_DENIED + 1)}}, "at most 1000 denied"),
        ({"allowed": ["Up"]}, "no pattern"),
        ({"allowed": [f"p{number}" for number in range(MOST_ALLOWED + 1)]}, "at most 5000 allowed"),
        ({"quarantined": {"no name!": "x"}}, "no name!"),
    ],
)
def test_what_a_policy_cannot_have_is_refused(given: dict[str, object], words: str) -> None:
    """With words that name it."""
    with pytest.raises(ServiceError) as caught:
        _changed(**given)
    assert caught.value.kind is ErrorKind.INVALID
    assert words in caught.value.detail


def test_all_faults_are_told_at_once() -> None:
    """Each on a line."""
    with pytest.raises(ServiceError) as caught:
        _changed(min_age="soon", reserved=["A"], denied={"*": ""})
    assert caught.value.detail.count("\n") == 2


def test_versions_and_spans_are_checked() -> None:
    """A version is normalised; an exemption ends within ninety days."""
    assert checked_version("v1.0-RC1") == "1.0rc1"
    for version in ("one", "1" * 200):
        with pytest.raises(ServiceError, match="no version"):
            checked_version(version)
    assert checked_span(timedelta(days=90)) == timedelta(days=90)
    for span in (timedelta(0), timedelta(days=90, seconds=1)):
        with pytest.raises(ServiceError, match="within 90 days"):
            checked_span(span)
