"""JSON of attestations, read so that it means one thing to every reader. Pure.

Source: RFC 8259 sections 4, 6, 8.2 and 9; trust contract sections 4 ("duplicate-key rejection") and 6 (21).
"""

from __future__ import annotations

import json
from typing import Any

MAX_LEVELS = 32
"""Lists and objects within each other."""


def read_json(body: bytes) -> Any:
    """Read JSON; refused beside what is none: a key twice, more than `MAX_LEVELS` levels, numbers that are not finite,
    whole numbers of more than 64 bits, lone halves of surrogate pairs, null characters, a byte order mark.

    Args:
        body: bounded by the caller.

    Raises:
        ValueError: with the reason.
    """
    text = body.decode("utf-8")
    if text.startswith("\ufeff"):
        raise ValueError("it begins with a byte order mark")
    try:
        document = json.loads(text, object_pairs_hook=_object, parse_int=_integer, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError(f"it has more than {MAX_LEVELS} levels") from error
    _check(document)
    return document


def _check(document: Any) -> None:
    """Look at each value, level by level and without recursion."""
    values, levels = [document], 0
    while values:
        levels += 1
        if levels > MAX_LEVELS + 1:
            raise ValueError(f"it has more than {MAX_LEVELS} levels")
        for value in values:
            if isinstance(value, str):
                _check_text(value)
            elif isinstance(value, float) and value in {float("inf"), float("-inf")}:
                raise ValueError("it holds a number that is not finite")
        values = [item for value in values for item in _items(value)]


def _check_text(text: str) -> None:
    if "\0" in text:
        raise ValueError("it holds a null character")
    if not text.isascii():
        text.encode("utf-8")  # Half of a surrogate pair, written as an escape, is no character; a ValueError too.


def _items(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else []


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        # Once over the keys: a megabyte of them comes from whoever likes to send it.
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:60]!r} is there twice")
    return found


def _integer(text: str) -> int:
    number = int(text)
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError("it holds a number of more than 64 bits")
    return number


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no number")
