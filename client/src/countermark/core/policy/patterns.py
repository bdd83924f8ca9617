"""Patterns of source refs: text, `{version}`, and `*` for what may stand within the last segment. Pure.

No regular expressions, so that a pattern means what it looks like and takes linear time.
Source: trust contract section 4 ("Policy file").
"""

from __future__ import annotations

import re

VERSION = "{version}"

_PLAIN = re.compile(r"refs/[A-Za-z0-9._/{}*+@#=,-]{1,250}\Z")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?\Z")


class InvalidPattern(ValueError):
    """A text that is no pattern; the message says what to write."""


def check_ref_pattern(text: str) -> str:
    """Return a pattern of refs.

    Raises:
        InvalidPattern: it does not begin with `refs/`, holds odd characters, or `*` stands before the last `/`.
    """
    if _COMMIT.match(text):
        return text
    if not _PLAIN.match(text) or text.count("/") < 2:
        raise InvalidPattern(f"{text[:100]!r} is no ref: write it in full, as refs/tags/v{VERSION} or refs/heads/main")
    parent, _, last = text.rpartition("/")
    if "*" in parent:
        raise InvalidPattern(f"{text[:100]!r}: '*' may stand only after the last '/'")
    if not last or "//" in text:
        raise InvalidPattern(f"{text[:100]!r} has an empty segment")
    if re.search(r"[{}]", text.replace(VERSION, "")):
        raise InvalidPattern(f"{text[:100]!r}: {VERSION} is all that may stand in braces")
    return text


def ref_fits(ref: str, pattern: str, version: str) -> bool:
    """Return whether a ref fits a pattern; `*` takes any text without `/`, `{version}` exactly the version."""
    # Split first: a version that holds a star is text.
    first, *others = (piece.replace(VERSION, version) for piece in pattern.split("*"))
    if not others:
        return ref == first
    if not ref.startswith(first):
        return False
    rest = ref[len(first) :]
    *middle, last = others
    if "/" in rest.removesuffix(last) or not rest.endswith(last):
        return False
    rest = rest[: len(rest) - len(last)]
    for piece in middle:
        at = rest.find(piece)
        if at < 0:
            return False
        rest = rest[at + len(piece) :]
    return True
