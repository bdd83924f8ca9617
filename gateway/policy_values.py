"""What people write of a policy, checked and brought into one form. Pure.

Every fault is told at once. Lists are bounded: each process keeps every policy in memory.
Source: contract python-index sections 5.3 and 6; `shared.reading.policy`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TypedDict

from packaging.utils import NormalizedName
from packaging.version import InvalidVersion, Version

from countermark.core.names import InvalidName, parse_project_name
from shared.errors import ErrorKind, ServiceError
from shared.reading.policy import Policy, checked_prefix

LONGEST_AGE = timedelta(days=366)
"""How old files must be at the most."""

LONGEST_EXEMPTION = timedelta(days=90)
"""How long an exemption holds at the most."""

MOST_EXEMPTIONS = 1_000
"""Exemptions of one index that hold at the same time."""

MOST_PREFIXES = 200
MOST_DENIED = 1_000
MOST_ALLOWED = 5_000
MOST_QUARANTINED = 1_000
MAX_REASON = 300
"""Characters of a reason."""

_MOST_TOLD = 10
"""Faults that a refusal names."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_WRITTEN_AGE = re.compile(r"([0-9]{1,9})\s*([smhdw]?)\Z")
_PATTERN = re.compile(r"(?=.{1,128}\Z)[a-z0-9*]([a-z0-9*-]*[a-z0-9*])?\Z")
_MOST_STARS = 3


class Given(TypedDict, total=False):
    """What of a policy is to change; what is left out stays.

    `min_age` in seconds or in words such as `7d`; `denied`: pattern -> reason; `quarantined`: project -> reason.
    """

    min_age: int | str
    reserved: list[str]
    denied: dict[str, str]
    allowed: list[str] | None
    quarantined: dict[str, str]


def changed_policy(policy: Policy, given: Given) -> Policy:
    """Return a policy with what is given in place of what it had.

    Raises:
        ServiceError: INVALID, with every fault.
    """
    faults: list[str] = []
    min_age, reserved, allowed = policy.min_age, policy.reserved, policy.allowed
    denied, quarantined = policy.denied, policy.quarantined
    if "min_age" in given:
        try:
            min_age = parse_age(given["min_age"])
        except ServiceError as error:
            faults.append(error.detail)
    if "reserved" in given:
        reserved = tuple(dict.fromkeys(given["reserved"]))
        faults += _too_many(reserved, MOST_PREFIXES, "reserved prefixes") or _faults_of(reserved)
    if "denied" in given:
        denied = given["denied"]
        faults += _too_many(denied, MOST_DENIED, "denied patterns") or _strange(denied) + _unexplained(denied)
    if "allowed" in given:
        written = given["allowed"]
        allowed = None if written is None else frozenset(written)
        faults += _too_many(allowed or (), MOST_ALLOWED, "allowed patterns") or _strange(sorted(allowed or ()))
    if "quarantined" in given:
        quarantined, unnamed = _by_project(given["quarantined"])
        faults += _too_many(given["quarantined"], MOST_QUARANTINED, "projects in quarantine")
        faults += unnamed + _unexplained(quarantined)
    if faults:
        raise ServiceError(ErrorKind.INVALID, "\n".join(faults[:_MOST_TOLD]))
    return Policy(policy.index, min_age, reserved, denied, allowed, quarantined, policy.exemptions)


def parse_age(written: int | str) -> timedelta:
    """Read a time span: seconds, or a number with one of s, m, h, d, w behind it.

    Raises:
        ServiceError: INVALID.
    """
    found = _WRITTEN_AGE.match(str(written).strip().lower())
    seconds = int(found[1]) * _UNITS[found[2] or "s"] if found is not None else -1
    if not 0 <= seconds <= LONGEST_AGE.total_seconds():
        raise ServiceError(
            ErrorKind.INVALID,
            f"A minimum age is a number of seconds, or a number with s, m, h, d or w behind it such as 7d; "
            f"at most {LONGEST_AGE.days} days, and 0 for none.",
        )
    return timedelta(seconds=seconds)


def written_age(age: timedelta) -> str:
    """Return a time span as `parse_age` reads it, in the largest unit that divides it; `0` for none."""
    seconds = int(age.total_seconds())
    for unit in ("d", "h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds // _UNITS[unit]}{unit}"
    return f"{seconds}s" if seconds else "0"


def checked_reason(reason: str) -> str:
    """Return a reason, which must say something.

    Raises:
        ServiceError: INVALID.
    """
    if not _explains(reason):
        raise ServiceError(
            ErrorKind.INVALID, f"A reason is needed: 1 to {MAX_REASON} printable characters, on one line."
        )
    return reason.strip()


def checked_project(name: str) -> NormalizedName:
    """Return the normalised name of a project.

    Raises:
        ServiceError: INVALID.
    """
    try:
        return parse_project_name(name)
    except InvalidName as error:
        raise ServiceError(ErrorKind.INVALID, f"{error}.") from error


def checked_version(version: str) -> str:
    """Return a normalised version.

    Raises:
        ServiceError: INVALID.
    """
    try:
        return str(Version(version if len(version) <= 128 else ""))
    except InvalidVersion as error:
        raise ServiceError(ErrorKind.INVALID, f"{version[:80]!r} is no version (PEP 440).") from error


def checked_span(span: timedelta) -> timedelta:
    """Return how long an exemption is to hold.

    Raises:
        ServiceError: INVALID.
    """
    if not timedelta(0) < span <= LONGEST_EXEMPTION:
        raise ServiceError(
            ErrorKind.INVALID, f"An exemption ends in the future, and within {LONGEST_EXEMPTION.days} days."
        )
    return span


def _faults_of(prefixes: Iterable[str]) -> list[str]:
    faults = []
    for prefix in prefixes:
        try:
            checked_prefix(prefix)
        except ValueError as error:
            faults.append(f"{error}.")
    return faults


def _strange(patterns: Iterable[str]) -> list[str]:
    strange = [text for text in patterns if not _PATTERN.match(text) or text.count("*") > _MOST_STARS]
    return [
        f"{text[:80]!r} is no pattern of normalised names: use a-z, 0-9, hyphens and at most {_MOST_STARS} '*'."
        for text in strange
    ]


def _unexplained(reasons: Mapping[str, str]) -> list[str]:
    return [
        f"Say why {name[:80]!r} is held back: 1 to {MAX_REASON} printable characters, on one line."
        for name, reason in reasons.items()
        if not _explains(reason)
    ]


def _explains(reason: str) -> bool:
    return bool(reason.strip()) and len(reason) <= MAX_REASON and reason.isprintable()


def _by_project(written: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return reasons by normalised name, and what is wrong with the others."""
    named: dict[str, str] = {}
    faults = []
    for text, reason in written.items():
        try:
            named[parse_project_name(text)] = reason
        except InvalidName as error:
            faults.append(f"{error}.")
    return named, faults


def _too_many(given: Iterable[str], most: int, what: str) -> list[str]:
    count = len(list(given))
    return [f"An index has at most {most} {what}, and {count} are given."] if count > most else []
