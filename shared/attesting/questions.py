"""How a question to a verifying process is written: as JSON in pieces, its bytes in base64, never in one stroke.

There may be 20 MB of it. A thread that writes it would still hold the interpreter for as long as one call of the JSON
library takes; so what is bytes is left out there, and put in between piece by piece.
Source: architecture section 9.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from countermark.core.digest import Sha256

_AT_ONCE = 48 << 10
"""Bytes that become base64 at once: a multiple of three, so that no piece ends with padding."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question as it goes through a pipe: together the pieces are JSON. `length` in bytes."""

    pieces: tuple[bytes, ...]
    length: int
    sha256: Sha256


def weight_of(part: Any) -> int:
    """Return roughly how many bytes of JSON something is; bytes in it count as base64."""
    match part:
        case bytes():
            return len(part) * 4 // 3
        case str():
            return len(part)
        case Mapping():
            return sum(weight_of(key) + weight_of(value) for key, value in part.items())
        case list() | tuple():
            return sum(map(weight_of, part))
    return 8


def encoded(question: Mapping[str, Any]) -> Question:
    """Return a question as it is sent. Blocking: up to 0.1 s for the longest.

    Raises:
        TypeError: something in it is neither JSON nor bytes.
    """
    pieces = tuple(_pieces(question))
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return Question(pieces, sum(map(len, pieces)), Sha256(digest.hexdigest()))


def _pieces(question: Mapping[str, Any]) -> Iterator[bytes]:
    # Nobody who has a text put into a question can know it.
    mark, left_out = secrets.token_hex(16), list[bytes]()

    def leave_out(part: Any) -> str:
        if not isinstance(part, bytes):
            raise TypeError
        left_out.append(part)
        return mark

    first, *others = orjson.dumps(question, default=leave_out).split(mark.encode())
    yield first
    for content, following in zip(left_out, others, strict=True):
        for start in range(0, len(content), _AT_ONCE):
            yield base64.b64encode(content[start : start + _AT_ONCE])
        yield following
