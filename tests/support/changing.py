"""One change of a JSON document, anywhere in it: what property tests try on evidence that verifies."""

from __future__ import annotations

import base64
import copy
from collections.abc import Iterable, Iterator
from typing import Any

from hypothesis import strategies as st

Path = tuple[str | int, ...]
"""Keys and places from the document down."""

ODD: tuple[Any, ...] = (
    None,
    "",
    0,
    -1,
    1.0,
    True,
    1e300,
    [],
    {},
    [None],
    {"a": 1},
    "A" * 1000,
    "9" * 20,
    "-1",
    "\u2028",
    "AAAA",
)
"""What a value is replaced by."""


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield where something can be changed in a document."""
    if path:
        yield path
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from paths(part, (*path, key))


def flipped(text: str, bit: int) -> str:
    """Return a text with one bit changed, of what it means where it is base64."""
    try:
        raw = bytearray(base64.b64decode(text, validate=True))
        raw[bit // 8 % len(raw)] ^= 1 << bit % 8
        return base64.b64encode(raw).decode()
    except (ValueError, ZeroDivisionError):
        at = bit % len(text)
        return f"{text[:at]}{chr(ord(text[at]) ^ 1)}{text[at + 1 :]}"


def changed(data: st.DataObject, good: Any, places: Iterable[Path]) -> Any:
    """Return a copy of a document with one bit or value changed, or one key less, at one of some places."""
    document = copy.deepcopy(good)
    *way, last = data.draw(st.sampled_from(list(places)))
    holder = document
    for key in way:
        holder = holder[key]
    if isinstance(holder[last], str) and holder[last] and data.draw(st.booleans()):
        holder[last] = flipped(holder[last], data.draw(st.integers(0, 40_000)))
    elif data.draw(st.booleans()):
        del holder[last]
    else:
        holder[last] = data.draw(st.sampled_from(ODD))
    return document
