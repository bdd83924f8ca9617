"""The order of versions, also of those that are none by PEP 440: devpi takes any. Pure."""

from __future__ import annotations

import re

from packaging.version import Version

_PARTS = re.compile(r"[0-9]+|[a-z]+", re.IGNORECASE)


def parsed(text: str) -> Version | None:
    """Return a version of PEP 440, None for any other text."""
    try:
        return Version(text)
    except ValueError:  # `InvalidVersion`, or a number of more digits than Python converts.
        return None


def version_order(text: str) -> tuple[object, ...]:
    """Return what versions are sorted by: those of PEP 440 by its rules, above all others, which go by their parts.

    Source: contract devpi section 22 (version keys may be non-PEP 440).
    """
    version = parsed(text)
    if version is not None:
        return (1, version, text)
    # Words before numbers, numbers by their value: without leading zeros, the longer one is the greater.
    parts = [
        (1, len(part.lstrip("0")), part.lstrip("0")) if part.isdecimal() else (0, 0, part.lower())
        for part in _PARTS.findall(text)
    ]
    return (0, tuple(parts), text)


def is_stable(text: str) -> bool:
    """Return whether a version is one of PEP 440 and neither a pre-release nor one of development."""
    version = parsed(text)
    return version is not None and not version.is_prerelease
