"""Reads advisories in the OSV format, and says which versions of a project each is about. Pure.

Only what concerns PyPI packages is read; the record itself is kept byte for byte, and never written anew.
Source: OSV schema 1.7, sections "affected[].versions", "affected[].ranges" and "Evaluation"; PEP 440.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from countermark.core.names import InvalidName, NormalizedName, parse_project_name
from shared.formats.python.names import release_key
from shared.formats.python.versions import parsed, version_order
from shared.strict_json import is_deeper

ECOSYSTEM = "PyPI"
"""What OSV calls it; other spellings are other ecosystems."""

MAX_RECORD = 8 << 20
"""Bytes of one record."""

MAX_LEVELS = 32
"""Levels of objects and lists of a record; known ones have nine."""

MAX_VERSION = 256
"""Characters of a version."""

_MAX_ID = 128
_ID = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._:-]{{0,{_MAX_ID - 1}}}\Z")
_EVENTS = ("introduced", "fixed", "last_affected", "limit")
_ALL, _ANY_LIMIT = "0", "*"
_KEPT_VERSIONS = 1 << 14
"""Versions that are kept parsed; a big project's advisories name some hundreds, over and over."""

Event = tuple[str, str]
"""Kind and version as written."""


class InvalidAdvisory(Exception):
    """The record is none; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Affected:
    """What an advisory says of one project.

    Attributes:
        versions: named one by one, in the spelling that equal versions have in common.
        ranges: those of the ecosystem; each its events in the order of their versions.
    """

    versions: frozenset[str]
    ranges: tuple[tuple[Event, ...], ...]


@dataclass(frozen=True, slots=True)
class Advisory:
    """What is looked up of a record; `affected` has the projects of PyPI alone."""

    id: str
    modified: datetime
    withdrawn: datetime | None
    affected: Mapping[NormalizedName, Affected]


def is_id(text: str) -> bool:
    """Return whether a text can be an advisory's id."""
    return _ID.match(text) is not None


def parse_advisory(document: bytes) -> Advisory:
    """Read a record.

    Raises:
        InvalidAdvisory: it is no OSV record, or one that would be answered wrongly.
    """
    if len(document) > MAX_RECORD:
        raise InvalidAdvisory(f"it is larger than {MAX_RECORD} bytes")
    try:
        record = orjson.loads(document)
    except ValueError as error:
        raise InvalidAdvisory(f"it is no JSON: {error}") from error
    if not isinstance(record, dict):
        raise InvalidAdvisory("it is no JSON object")
    if is_deeper(record, MAX_LEVELS):
        raise InvalidAdvisory(f"it is nested deeper than {MAX_LEVELS} levels")
    name = record.get("id")
    if not isinstance(name, str) or not is_id(name):
        raise InvalidAdvisory("`id` is absent, or none")
    modified = _moment(record, "modified")
    if modified is None:
        raise InvalidAdvisory("`modified` is absent")
    aliases = record.get("aliases")
    if aliases is not None:
        _texts(aliases, "aliases")
    return Advisory(name, modified, _moment(record, "withdrawn"), _affected(record))


def pack_affected(affected: Affected) -> bytes:
    """Return it as the catalogue keeps it, before compression."""
    return orjson.dumps({"versions": sorted(affected.versions), "ranges": affected.ranges})


def unpack_affected(packed: bytes) -> Affected:
    """Return what `pack_affected` made bytes of."""
    kept = orjson.loads(packed)
    ranges = tuple(tuple((kind, version) for kind, version in events) for events in kept["ranges"])
    return Affected(frozenset(kept["versions"]), ranges)


def affects(affected: Affected, version: str) -> bool:
    """Return whether a version is affected.

    A local version (1.0+cpu) is affected too when its public one is: it is a build of that release.
    """
    asked = parsed(version)
    if asked is not None and asked.local is not None and affects(affected, asked.public):
        return True
    if common_spelling(version) in affected.versions:
        return True
    key = _key(version)
    return any(_within(events, key) for events in affected.ranges)


def fixed_in(affected: Affected) -> list[str]:
    """Return the versions that fix it, oldest first, as the record writes them."""
    found = {version for events in affected.ranges for kind, version in events if kind == "fixed"}
    return sorted(found, key=version_order)


def common_spelling(version: str) -> str:
    """Return what equal versions have in common; of one that is none by PEP 440, itself in lower case."""
    found = parsed(version)
    return version.lower() if found is None else release_key(found)


def vulnerability(document: bytes, affected: Affected) -> dict[str, Any]:
    """Return an advisory as the JSON API lists it.

    Args:
        document: a record that `parse_advisory` took.

    Source: contract python-index section 1.9.4.
    """
    record = orjson.loads(document)
    withdrawn = _moment(record, "withdrawn")
    return {
        "id": record["id"],
        "source": "osv",
        "link": f"https://osv.dev/vulnerability/{record['id']}",
        "aliases": record.get("aliases") or [],
        "details": _text_of(record, "details"),
        "summary": _text_of(record, "summary") or None,
        "fixed_in": fixed_in(affected),
        "withdrawn": None if withdrawn is None else f"{withdrawn:%Y-%m-%dT%H:%M:%SZ}",
    }


def _affected(record: Mapping[str, Any]) -> dict[NormalizedName, Affected]:
    """Read what is about PyPI; entries for one project (one for each branch, as some write them) count together."""
    found: dict[NormalizedName, Affected] = {}
    for entry in _objects(record.get("affected"), "affected"):
        package = entry.get("package")
        # Records about commits alone name no package.
        if not isinstance(package, dict) or package.get("ecosystem") != ECOSYSTEM:
            continue
        try:
            [name] = _texts([package.get("name")], "package.name")
            project = parse_project_name(name)
        except InvalidName as error:
            raise InvalidAdvisory(f"`package.name`: {error}") from error
        versions = _texts(entry.get("versions"), "versions")
        ranges = [_events(one) for one in _objects(entry.get("ranges"), "ranges") if one.get("type") == "ECOSYSTEM"]
        before = found.get(project, Affected(frozenset(), ()))
        found[project] = Affected(
            before.versions | frozenset(map(common_spelling, versions)), (*before.ranges, *map(tuple, ranges))
        )
    return found


def _events(one: Mapping[str, Any]) -> list[Event]:
    """Return the events of a range by version; at one version in the order in which they are written."""
    events = _objects(one.get("events"), "events")
    found = [(kind, _texts([event[kind]], kind)[0]) for event in events for kind in _EVENTS if kind in event]
    if not any(kind == "introduced" for kind, _ in found):
        raise InvalidAdvisory("a range has no `introduced`")
    return sorted(found, key=_key_of)


_Key = tuple[object, ...]


@lru_cache(maxsize=_KEPT_VERSIONS)
def _key(version: str) -> _Key:
    """Return what versions are compared by: those that are none by PEP 440 come before all others."""
    found = parsed(version)
    return version_order(version)[:2] if found is None else (1, found)


def _key_of(event: Event) -> _Key:
    # "0" comes before every version, 0.dev0 included; a limit "*" lies after all of them.
    kind, version = event
    if kind == "introduced" and version == _ALL:
        return (-1,)
    return (2,) if kind == "limit" and version == _ANY_LIMIT else _key(version)


def _within(events: Sequence[Event], asked: _Key) -> bool:
    """Evaluate a range for a version. Source: OSV schema, "Evaluation"."""
    limits = [_key_of(event) for event in events if event[0] == "limit"]
    if limits and not any(asked < limit for limit in limits):
        return False
    affected = False
    for event in events:
        kind, at = event[0], _key_of(event)
        if kind == "introduced" and asked >= at:
            affected = True
        elif (kind == "fixed" and asked >= at) or (kind == "last_affected" and asked > at):
            affected = False
    return affected


def _objects(value: object, what: str) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise InvalidAdvisory(f"`{what}` is no list of objects")
    return value


def _texts(value: object, what: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InvalidAdvisory(f"`{what}` is not made of texts")
    if any(len(one) > MAX_VERSION for one in value):
        raise InvalidAdvisory(f"`{what}` has a text of more than {MAX_VERSION} characters")
    return value


def _moment(record: Mapping[str, Any], key: str) -> datetime | None:
    text = record.get(key)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        pass
    raise InvalidAdvisory(f"`{key}` is no time of RFC 3339")


def _text_of(record: Mapping[str, Any], key: str) -> str:
    text = record.get(key)
    return text if isinstance(text, str) else ""
