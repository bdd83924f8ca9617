"""How deep JSON documents go: what is too deep could not even be printed in an answer. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast


def is_shallow(value: object, levels: int) -> bool:
    """Return whether a JSON value has at most so many levels of objects and lists; itself it never goes deep."""
    row: list[object] = [value] if isinstance(value, dict | list) else []
    while row and levels > 0:
        inside = (item for one in row for item in _members(one))
        row = [item for item in inside if isinstance(item, dict | list)]
        levels -= 1
    return not row


def _members(one: object) -> Iterable[object]:
    return one.values() if isinstance(one, dict) else cast("list[object]", one)
