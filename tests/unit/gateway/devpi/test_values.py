"""Options of indexes and the operations on them, without an index."""

from __future__ import annotations

from typing import Any

import pytest

from countermark.core.names import IndexName
from gateway.devpi.documents import MAX_CUSTOM_DATA, MAX_DEPTH, Unfit, checked_json, checked_text
from gateway.devpi.operations import applied
from gateway.devpi.values import (
    REMOVED,
    InvalidConfig,
    as_boolean,
    as_list,
    changed_config,
    named_bases,
    new_config,
    stage_defaults,
)


def there(_name: IndexName) -> None:
    """Find every base."""


def config(**given: Any) -> dict[str, Any]:
    """Return a new stage of alice's."""
    return new_config(given, "alice", ":AUTHENTICATED:", there)


@pytest.mark.parametrize(
    ("value", "read"),
    [(True, True), (False, False), ("TRUE", True), ("Yes", True), ("false", False), ("no", False)],
)
def test_a_truth_value_has_four_words(value: object, read: bool) -> None:
    """In any case, or as JSON."""
    assert as_boolean(value) is read


@pytest.mark.parametrize("value", [0, 1, "0", "1", "on", "", "maybe", None, [], {}, 1.0])
def test_nothing_else_is_a_truth_value(value: object) -> None:
    """A number is none, as devpi has it."""
    with pytest.raises(InvalidConfig, match="Unknown boolean value"):
        as_boolean(value)


@pytest.mark.parametrize(
    ("value", "read"),
    [("", []), (" a , ,b,", ["a", "b"]), (["a", " b"], ["a", " b"]), ([], []), (("x",), ["x"])],
)
def test_a_list_may_be_a_text_with_commas(value: object, read: list[str]) -> None:
    """Of a text the parts are stripped and empty ones dropped; JSON lists are as they are."""
    assert as_list(value) == read


@pytest.mark.parametrize("value", [None, 1, {}, [1], [["a"]], True])
def test_nothing_else_is_a_list(value: object) -> None:
    """A list of numbers is none either."""
    with pytest.raises(InvalidConfig, match="Unknown list value"):
        as_list(value)


def test_a_configuration_is_checked_as_a_whole() -> None:
    """One bad value, and nothing of the others is taken; defaults stay where nothing is given."""
    before = config(title="T")
    assert before == stage_defaults("alice", ":AUTHENTICATED:") | {"title": "T"}
    with pytest.raises(InvalidConfig):
        changed_config(before, {"title": "U", "volatile": 1}, there)
    assert changed_config(before, {"title": REMOVED}, there) == stage_defaults("alice", ":AUTHENTICATED:")
    assert before["title"] == "T"


def test_faults_of_bases_are_joined_and_bounded() -> None:
    """Malformed and unknown ones in their order; ten are named at the most."""
    with pytest.raises(InvalidConfig, match="invalid base index spec: 'x', none of y/z"):
        new_config({"bases": "x,y/z"}, "a", "b", lambda name: f"none of {name}")
    with pytest.raises(InvalidConfig) as caught:
        config(bases=["x"] * 200)
    assert str(caught.value).count("invalid base") == 10


def test_bases_to_look_up_are_bounded() -> None:
    """Ten thousand names cost no query of ten thousand."""
    assert named_bases({"bases": "a/b,/c/d/,x,no!/y"}) == {IndexName("a", "b"), IndexName("c", "d")}
    assert len(named_bases({"bases": [f"a/i{number}" for number in range(10_000)]})) <= 201
    assert named_bases({"bases": {"a": 1}}) == named_bases({}) == set()


def test_operations_are_done_in_their_order() -> None:
    """Each sees what those before left; what is given stays as it was."""
    before = config(bases=["a/b"])
    after = applied(["bases+=c/d", "bases-=a/b", "title=x=y", "title-=", "description"], before)
    assert (after["bases"], after["title"], after["description"]) == (["c/d"], REMOVED, "")
    assert before["bases"] == ["a/b"]
    assert applied(["bases=x/y", "title="], before) | {"title": ""} == {**before, "bases": "x/y", "title": ""}


@pytest.mark.parametrize("operation", ["=", "+=x", "-=x", "bases=x/y", "title+=x"])
def test_what_cannot_be_done_is_a_sentence(operation: str) -> None:
    """A list that was set as a text is none any more, an option without a name is unknown."""
    with pytest.raises(InvalidConfig):
        changed_config(config(), applied([operation, "bases+=c/d"], config()), there)


def test_custom_data_are_bounded() -> None:
    """In depth, in bytes, and by what a catalogue can keep."""
    nested: Any = "x"
    for _ in range(MAX_DEPTH):
        nested = [nested]
    assert checked_json("custom_data", nested) == nested
    for bad in ([nested], "x" * MAX_CUSTOM_DATA, float("inf"), {"a": ["\0"]}):
        with pytest.raises(Unfit, match="'custom_data' option"):
            checked_json("custom_data", bad)
    for text in ("x" * 10_001, "\0", 5, None):
        with pytest.raises(Unfit, match="'title' option"):
            checked_text("title", text)
