"""Options of an index as devpi writes them, checked and brought into one form. Pure.

A configuration is a mapping of option -> value as devpi's document shows it: `type`, `volatile` and, of a stage, its
lists are always there, the rest only when it was set.
Source: contract devpi sections 4.3 and 6.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Final

from countermark.core.names import IndexName, InvalidName, parse_index_name, parse_project_name
from gateway.devpi.documents import Unfit, checked_json, checked_text
from shared.auth.principal import ANONYMOUS, AUTHENTICATED
from shared.reading.resolution import EVERYTHING, MOST_MEMBERS, UNION

STAGE, MIRROR = "stage", "mirror"

Config = dict[str, Any]
"""Option -> value; see the module."""

INTERSECTION = "intersection"

MOST_SUBJECTS = 500
"""Entries of one list of rights."""

MOST_WHITELISTED = 5_000
"""Projects of one whitelist."""

MAX_URL = 2_000
"""Characters of a mirror's address."""

MOST_TOLD = 10
"""Faults of one kind that a refusal names."""

LONGEST_EXPIRY = 366 * 86_400
"""Seconds for which a mirror may keep its pages."""


class Removed(Enum):
    """Stands where an option's value would: the option is to be taken away."""

    REMOVED = "removed"


REMOVED: Final = Removed.REMOVED


class InvalidConfig(ValueError):
    """An index cannot be configured so; the message is devpi's sentence, where it has one."""


def stage_defaults(owner: str, results: str) -> Config:
    """Return what a new stage begins with.

    Args:
        results: who may upload test results.
    """
    return {
        "type": STAGE,
        "volatile": True,
        "bases": [],
        "acl_upload": [owner],
        "acl_toxresult_upload": [results],
        "mirror_whitelist": [],
        "mirror_whitelist_inheritance": INTERSECTION,
    }


def mirror_defaults() -> Config:
    """Return what a new mirror begins with."""
    return {"type": MIRROR, "volatile": True}


def new_config(given: Mapping[str, Any], owner: str, results: str, find: FindBase) -> Config:
    """Return the configuration of an index to be made.

    Raises:
        InvalidConfig: a value is none that an index may have.
    """
    kind = given.get("type", STAGE)
    if kind not in (STAGE, MIRROR):
        raise InvalidConfig(f"unknown index type {kind!r:.60}")
    config = stage_defaults(owner, results) if kind == STAGE else mirror_defaults()
    return _merged(config, given, find)


def changed_config(current: Config, given: Mapping[str, Any], find: FindBase) -> Config:
    """Return a configuration with some options changed; a value may be `REMOVED`.

    Raises:
        InvalidConfig: a value is none that an index may have.
    """
    if given.get("type", current["type"]) != current["type"]:
        raise InvalidConfig("the 'type' of an index can't be changed")
    return _merged(current, given, find)


def named_bases(given: Mapping[str, Any]) -> set[IndexName]:
    """Return the bases that a change names and that could be indexes: what the caller of the others looks up."""
    try:
        texts = as_list(given.get("bases", ()))
    except InvalidConfig:
        return set()
    named = (_base_name(text) for text in texts[: MOST_MEMBERS + 1])
    return {name for name in named if name is not None}


FindBase = Callable[[IndexName], str | None]
"""Returns None when an index may be a base of the one to be configured, else why it may not, in one sentence."""


def as_boolean(value: object) -> bool:
    """Read a truth value.

    Raises:
        InvalidConfig: it is none.
    """
    if isinstance(value, bool):
        return value
    word = value.lower() if isinstance(value, str) else None
    if word in ("true", "yes"):
        return True
    if word in ("false", "no"):
        return False
    raise InvalidConfig(f"Unknown boolean value '{value!s:.60}'.")


def as_list(value: object) -> list[str]:
    """Read a list: of JSON as it is, of a text what stands between its commas.

    Raises:
        InvalidConfig: it is none, or holds something else than texts.
    """
    if isinstance(value, str):
        return [part for item in value.split(",") if (part := item.strip())]
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise InvalidConfig(f"Unknown list value {value!r:.60}.")
    return list(value)


def as_rights(value: object) -> list[str]:
    """Read who may do something: accounts, `:groups`, and the two words for everybody.

    Raises:
        InvalidConfig: it is no list, too long, or names what can be none of these.
    """
    subjects = _bounded(as_list(value), MOST_SUBJECTS, "a list of rights")
    found = [subject.upper() if subject.upper() in _EVERYBODY else subject for subject in subjects]
    strange = [subject for subject in found if subject not in _EVERYBODY and not _SUBJECT.match(subject)]
    if strange:
        raise InvalidConfig(_told("{!r:.60} names no user and no :group", strange))
    return found


def _whitelist(value: object) -> list[str]:
    names = []
    for text in _bounded(as_list(value), MOST_WHITELISTED, "mirror_whitelist"):
        try:
            names.append(text if text == EVERYTHING else parse_project_name(text))
        except InvalidName as error:
            raise InvalidConfig(f"mirror_whitelist: {text!r:.60} is no project's name") from error
    return names


def _inheritance(value: object) -> str:
    word = value.lower() if isinstance(value, str) else value
    if word not in (INTERSECTION, UNION):
        raise InvalidConfig(
            f"Unknown value '{value!s:.60}' for mirror_whitelist_inheritance, must be 'intersection' or 'union'."
        )
    return str(word)


def _mirror_url(value: object) -> str:
    if not isinstance(value, str) or not value.startswith(("http://", "https://")) or not value.isprintable():
        raise InvalidConfig("'mirror_url' option must be a URL.")
    if len(value) > MAX_URL:
        raise InvalidConfig(f"'mirror_url' option has more than {MAX_URL} characters.")
    if "@" in value.split("://", 1)[1].partition("/")[0]:
        # Everybody who may read the index reads its options.
        raise InvalidConfig("'mirror_url' option must not hold a user or password.")
    return value


def _expiry(value: object) -> int:
    fault = InvalidConfig("'mirror_cache_expiry' option must be an integer")
    if isinstance(value, bool) or not isinstance(value, str | int | float) or len(str(value)) > 20:
        raise fault
    try:
        seconds = int(value)
    except (ValueError, OverflowError) as error:
        raise fault from error
    if not 0 <= seconds <= LONGEST_EXPIRY:
        raise InvalidConfig(f"'mirror_cache_expiry' option must be between 0 and {LONGEST_EXPIRY} seconds")
    return seconds


def _text(option: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        try:
            return checked_text(option, value)
        except Unfit as error:
            raise InvalidConfig(str(error)) from error

    return read


def _any(value: object) -> object:
    try:
        return checked_json("custom_data", value)
    except Unfit as error:
        raise InvalidConfig(str(error)) from error


def _bases(value: object, find: FindBase) -> list[str]:
    """Read bases: each must exist, a circle is no fault."""
    texts = as_list(value)
    if len(texts) > MOST_MEMBERS:
        raise InvalidConfig(f"an index has at most {MOST_MEMBERS} bases, and {len(texts)} are given")
    names, faults = [], []
    for text in texts:
        name = _base_name(text)
        fault = f"invalid base index spec: {text!r:.140}" if name is None else find(name)
        if fault is None:
            names.append(str(name))
        else:
            faults.append(fault)
    if faults:
        raise InvalidConfig(", ".join(faults[:MOST_TOLD]))
    return names


def _base_name(text: str) -> IndexName | None:
    try:
        return parse_index_name(text.strip("/"))
    except InvalidName:
        return None


_EVERYBODY = (ANONYMOUS, AUTHENTICATED)
_SUBJECT = re.compile(r":?[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")

_COMMON: Mapping[str, Callable[[object], object]] = {
    "volatile": as_boolean,
    "title": _text("title"),
    "description": _text("description"),
    "custom_data": _any,
}

_OPTIONS: Mapping[str, Mapping[str, Callable[[object], object]]] = {
    STAGE: {
        **_COMMON,
        "acl_upload": as_rights,
        "acl_toxresult_upload": as_rights,
        "mirror_whitelist": _whitelist,
        "mirror_whitelist_inheritance": _inheritance,
    },
    MIRROR: {
        **_COMMON,
        "mirror_url": _mirror_url,
        "mirror_cache_expiry": _expiry,
        "mirror_web_url_fmt": _text("mirror_web_url_fmt"),
        "mirror_use_external_urls": as_boolean,
        "mirror_no_project_list": as_boolean,
        "mirror_ignore_serial_header": as_boolean,
        "mirror_provides_core_metadata": as_boolean,
    },
}
"""Type of an index -> option -> how its value is read; `bases` is read apart, since it is about other indexes."""

_DEFAULTS: Mapping[str, frozenset[str]] = {
    STAGE: frozenset(stage_defaults("", "")),
    MIRROR: frozenset(mirror_defaults()),
}
"""Type of an index -> options that it always has."""

_DROPPED = frozenset(["bases", "acl_upload", "mirror_whitelist", "pypi_whitelist"])
"""Options that are taken and forgotten where an index has no such: old exports have them everywhere."""

SETTINGS = frozenset(option for options in _OPTIONS.values() for option in options) - {"volatile"}
"""Options that are kept in an index's settings; the rest have columns or tables."""


def _merged(config: Config, given: Mapping[str, Any], find: FindBase) -> Config:
    """Return a configuration with the options that are given, each checked."""
    kind = config["type"]
    options = _OPTIONS[kind]
    merged = dict(config)
    unknown = []
    for option, value in given.items():
        if option in ("type", "projects"):
            continue
        known = option in options or (option == "bases" and kind == STAGE)
        if value is REMOVED:
            if option in _DEFAULTS[kind]:
                raise InvalidConfig("Default values can't be removed.")
            merged.pop(option, None)
        elif not known:
            unknown += [] if option in _DROPPED else [(option, value)]
        else:
            merged[option] = _bases(value, find) if option == "bases" else options[option](value)
    if unknown:
        told = ", ".join(f"{option:.60}={value!s:.60}" for option, value in unknown[:MOST_TOLD])
        raise InvalidConfig(f"indexconfig got unexpected keyword arguments: {told}")
    return merged


def _bounded(items: list[str], most: int, what: str) -> list[str]:
    if len(items) > most:
        raise InvalidConfig(f"{what} has at most {most} entries, and {len(items)} are given")
    return items


def _told(template: str, items: Iterable[str]) -> str:
    return ", ".join(template.format(item) for item in list(items)[:MOST_TOLD])
