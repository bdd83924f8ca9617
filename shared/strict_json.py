"""JSON that a client sends, read so that it means one thing to every reader and trips none behind it. Pure.

Source: RFC 8259 sections 4, 6, 8.2 and 9; contract devpi section 6 (the words).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import orjson

MAX_LEVELS = 32
"""Lists and objects within each other: enough for every document of devpi's, and few for whatever walks them."""

_WORDS = "Bad request: could not decode json"


class BadJson(ValueError):
    """A body is no JSON, or none that is taken; the message is for the client, in devpi's words."""


def read_json(body: bytes) -> Any:
    """Read JSON of a client.

    Refused beside what is none: more than `MAX_LEVELS` levels, a key twice in one object, whole numbers of more than 64
    bits, numbers that are not finite, null characters and halves of surrogate pairs, which no text in the catalogue
    can hold.

    Args:
        body: bounded by the caller.

    Raises:
        BadJson: with the reason.
    """
    try:
        # Strict in grammar, encoding, surrogates and infinities; nested too deeply for it is an error, too.
        _check_levels(orjson.loads(body))
        # It alone tells of keys that are there twice. A number has at most the 309 digits that a double takes.
        return json.loads(body, object_pairs_hook=_object, parse_int=_integer)
    except orjson.JSONDecodeError as error:
        raise BadJson(_WORDS) from error


def is_deeper(document: Any, levels: int) -> bool:
    """Return whether a document has more levels of lists and objects within each other than some."""
    return any(depth > levels for depth, _ in enumerate(_by_level(document)))


def _check_levels(document: Any) -> None:
    """Refuse depth and null characters."""
    for depth, values in enumerate(_by_level(document)):
        if depth > MAX_LEVELS:
            raise BadJson(f"{_WORDS}: it has more than {MAX_LEVELS} levels")
        if any(isinstance(value, str) and "\0" in value for value in values):
            raise BadJson(f"{_WORDS}: it holds a null character")


def _by_level(document: Any) -> Iterator[list[Any]]:
    """Yield the values of each level, the document by itself first, and without recursion."""
    values = [document]
    while True:
        yield values
        holders = [value for value in values if isinstance(value, list | dict)]
        if not holders:
            return
        values = [item for holder in holders for item in _items(holder)]


def _items(holder: list[Any] | dict[str, Any]) -> Iterator[Any]:
    if isinstance(holder, dict):
        yield from holder
        yield from holder.values()
    else:
        yield from holder


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise BadJson(f"{_WORDS}: the key {twice[:60]!r} is there twice")
    return found


def _integer(text: str) -> int:
    number = int(text)
    if not -(1 << 63) <= number < 1 << 63:
        raise BadJson(f"{_WORDS}: it holds a number of more than 64 bits")
    return number
