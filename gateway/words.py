"""Values as people read them: sizes, moments, kinds of files. Pure; the templates' filters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_PACKAGE_TYPES = {"bdist_wheel": "wheel", "sdist": "source", "bdist_egg": "egg"}


def size(length: int) -> str:
    """Return a length in bytes with a unit: 999 B, 1.0 kB, 12.3 MB."""
    if length < 1000:
        return f"{length} B"
    amount, unit = length / 1000, "kB"
    for larger in ("MB", "GB", "TB"):
        if amount < 999.95:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.1f} {unit}"


def number(count: int) -> str:
    """Return a count with its thousands apart, for example 12,345."""
    return f"{count:,}"


def day(moment: datetime) -> str:
    """Return the day of a moment in UTC, for example 3 Nov 2026; the names of months do not follow the locale."""
    there = moment.astimezone(UTC)
    return f"{there.day} {_MONTHS[there.month - 1]} {there.year}"


def utc(moment: datetime) -> str:
    """Return a moment in UTC to the minute, for example 3 Nov 2026, 12:05 UTC."""
    return f"{day(moment)}, {moment.astimezone(UTC):%H:%M} UTC"


def iso(moment: datetime) -> str:
    """Return a moment for machines, to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def package_type(name: str) -> str:
    """Return the kind of a file as people say it."""
    return _PACKAGE_TYPES.get(name, name)


def bounded(value: object, limit: int = 300) -> str:
    """Return what others wrote so that it can be shown: bounded, and nothing of it looks like something else.

    What is no printable ASCII stands as its escape: a letter of another alphabet, a mark that turns the direction of
    writing, a control character. What is cut off ends in `...`.
    """
    text = str(value)
    cut = text[:limit].encode("unicode_escape").decode("ascii")
    return cut if len(text) <= limit else f"{cut}..."


FILTERS: Mapping[str, Callable[..., str]] = {
    "size": size,
    "number": number,
    "day": day,
    "utc": utc,
    "iso": iso,
    "package_type": package_type,
    "bounded": bounded,
}
"""Name in the templates -> function."""
