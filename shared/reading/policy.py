"""Whether a mirrored file is shown, and if not, which rule hides it, why and until when. Pure: the one decision.

Pages, lists of versions, the JSON API, `.metadata`, file addresses, devpi's documents and `explain` all ask here with
the same facts, so that none shows what another does not.

A file passes the policies of the mirror it comes from and of the index that was asked, each for itself. Hosted files
are not judged here: whoever may upload to an index decides what it hosts.
Source: contract python-index sections 5.3 and 6 ("Cooldown on the server"); architecture sections 5.9 and 11.5.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase

from packaging.utils import NormalizedName, canonicalize_version

from countermark.core.names import IndexName

_MAX_PREFIX = 64
"""Characters of a reserved prefix."""

_PREFIX = re.compile(rf"(?=.{{1,{_MAX_PREFIX}}}\Z)[a-z0-9]+(-[a-z0-9]+)*-?\Z")


class Rule(StrEnum):
    """What hides a file."""

    RESERVED = "reserved"
    """The name begins with a prefix that belongs to this deployment: it is never asked for upstream."""
    DENIED = "denied"
    NOT_ALLOWED = "not-allowed"
    QUARANTINED = "quarantined"
    TOO_NEW = "too-new"
    UNDATED = "undated"
    """The upstream does not say when it got the file, so that nobody can tell whether it is old enough."""


@dataclass(frozen=True, slots=True)
class Exemption:
    """Leave for a project, or one version of it, to be shown before it is old enough.

    Attributes:
        version: normalised; None for all.
        until: when it ends.
    """

    project: NormalizedName
    version: str | None
    until: datetime
    owner: str
    reason: str

    def covers(self, project: NormalizedName, version: str, now: datetime) -> bool:
        """Whether it holds for a release now."""
        return self.project == project and now < self.until and (self.version is None or _same(self.version, version))


@dataclass(frozen=True, slots=True)
class Policy:
    """What an index shows of mirrored files.

    Attributes:
        index: whose it is.
        min_age: how long ago the upstream must have got a file; zero lets all through.
        reserved: prefixes of normalised names; one that ends with `-` covers what begins with it, others also the name
            itself and what follows a hyphen (PEP 752).
        denied: pattern of normalised names -> reason. A pattern may hold `*`.
        allowed: patterns, None when every name is allowed.
        quarantined: projects in quarantine -> reason.
    """

    index: IndexName
    min_age: timedelta = timedelta(0)
    reserved: tuple[str, ...] = ()
    denied: Mapping[str, str] = field(default_factory=dict)
    allowed: frozenset[str] | None = None
    quarantined: Mapping[str, str] = field(default_factory=dict)
    exemptions: tuple[Exemption, ...] = ()


@dataclass(frozen=True, slots=True)
class Hidden:
    """Why a file is not shown; `until` is when the rule ends by itself, None when it does not."""

    rule: Rule
    index: IndexName
    reason: str
    until: datetime | None = None


def about(policies: Iterable[Policy], project: NormalizedName) -> list[Policy]:
    """Return policies with the exemptions of one project alone, so that its files are judged without all others."""
    return [
        replace(policy, exemptions=tuple(one for one in policy.exemptions if one.project == project))
        for policy in policies
    ]


def judge_name(policies: Iterable[Policy], project: NormalizedName) -> Hidden | None:
    """Return what hides a whole project, None when nothing does. A reserved one is not to be asked for upstream."""
    for policy in policies:
        prefix = next((prefix for prefix in policy.reserved if _begins(project, prefix)), None)
        if prefix is not None:
            return Hidden(Rule.RESERVED, policy.index, f"names that begin with {prefix} belong to this registry")
        if (reason := policy.quarantined.get(project)) is not None:
            return Hidden(Rule.QUARANTINED, policy.index, reason)
        for pattern, reason in policy.denied.items():
            if fnmatchcase(project, pattern):
                return Hidden(Rule.DENIED, policy.index, reason)
        if policy.allowed is not None and not any(fnmatchcase(project, pattern) for pattern in policy.allowed):
            return Hidden(Rule.NOT_ALLOWED, policy.index, "it is not on the list of allowed projects")
    return None


def judge_file(
    policies: Sequence[Policy], project: NormalizedName, version: str, uploaded_at: datetime | None, now: datetime
) -> Hidden | None:
    """Return what hides a file, None when it is shown.

    Args:
        policies: of the mirror and of the index that was asked.
        version: normalised.
        uploaded_at: when the upstream got it, None when unknown.

    Returns:
        Of several rules the one that ends last; one that does not end by itself before all others.
    """
    return judge_name(policies, project) or judge_age(policies, project, version, uploaded_at, now)


def judge_age(
    policies: Sequence[Policy], project: NormalizedName, version: str, uploaded_at: datetime | None, now: datetime
) -> Hidden | None:
    """Return what hides a file of a project whose name nothing hides; see `judge_file`.

    For whole pages: the name is judged once, and the policies are `about` the project.
    """
    latest: Hidden | None = None
    for policy in policies:
        if not policy.min_age or any(one.covers(project, version, now) for one in policy.exemptions):
            continue
        if uploaded_at is None:
            reason = "its upstream does not say since when it has it, and files must have an age here"
            return Hidden(Rule.UNDATED, policy.index, reason)
        until = _after(uploaded_at, policy.min_age)
        if now < until and (latest is None or latest.until is None or until > latest.until):
            latest = Hidden(Rule.TOO_NEW, policy.index, f"files must be {_spoken(policy.min_age)} old here", until)
    return latest


def next_change(hidden: Iterable[Hidden], policies: Iterable[Policy], now: datetime) -> datetime | None:
    """Return when an answer made now stops to be true by the clock alone: an unlock or the end of an exemption."""
    moments = [one.until for one in hidden if one.until is not None]
    moments += [one.until for policy in policies for one in policy.exemptions if one.until > now]
    return min(moments, default=None)


def checked_prefix(prefix: str) -> str:
    """Return a prefix that names may begin with.

    Raises:
        ValueError: no normalised name begins so; the message is a sentence without its end.
    """
    if not _PREFIX.match(prefix):
        raise ValueError(
            f"{prefix[:80]!r} is no beginning of a normalised name: use a-z, 0-9 and single hyphens, "
            f"at most {_MAX_PREFIX} characters, for example acme or acme-"
        )
    return prefix


def _same(one: str, other: str) -> bool:
    """Return whether two versions are one release: 1.0 and 1.0.0 are."""
    return one == other or canonicalize_version(one) == canonicalize_version(other)


def _begins(project: str, prefix: str) -> bool:
    return project.startswith(prefix) if prefix.endswith("-") else (project + "-").startswith(prefix + "-")


def _after(moment: datetime, age: timedelta) -> datetime:
    """Return a later time; one that is beyond the calendar is its end."""
    try:
        return moment + age
    except OverflowError:
        return datetime.max.replace(tzinfo=moment.tzinfo)


def _spoken(age: timedelta) -> str:
    """Return a time span in the largest unit that divides it."""
    seconds = int(age.total_seconds())
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds % length == 0:
            count = seconds // length
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds} seconds"
