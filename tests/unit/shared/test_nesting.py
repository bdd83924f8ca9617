"""How deep a JSON document is."""

from __future__ import annotations

import pytest

from shared.nesting import is_shallow


@pytest.mark.parametrize(
    ("value", "levels", "shallow"),
    [
        (1, 0, True),
        ([], 1, True),
        ([1, {"a": "b"}], 2, True),
        ([1, {"a": ["b"]}], 2, False),
        ({"a": {"b": {}}}, 2, False),
        ({"a": {"b": {}}}, 3, True),
    ],
)
def test_levels_are_counted(value: object, levels: int, shallow: bool) -> None:
    """Objects and lists count, what stands in them does not."""
    assert is_shallow(value, levels) is shallow


def test_depth_costs_no_stack() -> None:
    """A document a hundred thousand levels deep is judged like any other."""
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert not is_shallow(deep, 50)
