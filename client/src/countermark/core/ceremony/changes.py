"""Changes of shared roles: what is asked for, and the payload that says exactly that. Pure.

Source: trust contract sections 2.3 and 2.5.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from securesystemslib.signer import Key
from tuf.api.metadata import DelegatedRole, Delegations, Root, SuccinctRoles, TargetFile, Targets

from countermark.core.ceremony.faults import CeremonyFault
from countermark.core.ceremony.key_lists import key_lists, listed_keys
from countermark.core.ceremony.keys import key_document, parse_key
from countermark.core.ceremony.payload import SPEC_VERSION
from countermark.core.ceremony.tree import (
    DELEGATED_PATHS,
    KEYED_BY,
    MAX_BIN_BITS,
    bin_prefix,
    check_role,
    is_trust_target,
)

MAX_CHANGES = 64
"""Entries of each kind in one change."""

MAX_TARGET_BYTES = 512_000
"""Bytes of all targets in one change."""

_FIELDS = frozenset(["add", "remove", "thresholds", "bins", "targets", "untargets"])


@dataclass(frozen=True, slots=True)
class Change:
    """What a new version of a shared role says differently; an empty one renews it.

    Attributes:
        add: roles that gain a key.
        remove: roles that lose a key, by its id.
        thresholds: role -> how many signatures it needs.
        bins: hash bins as a power of two.
        targets: path -> content, put in place of what was there.
        untargets: paths that are no targets any more.
    """

    add: tuple[tuple[str, Key], ...] = ()
    remove: tuple[tuple[str, str], ...] = ()
    thresholds: Mapping[str, int] = field(default_factory=dict)
    bins: int | None = None
    targets: Mapping[str, bytes] = field(default_factory=dict)
    untargets: tuple[str, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form, without what is empty."""
        document: dict[str, Any] = {
            "add": [{"role": role, "key": key_document(key)} for role, key in self.add],
            "remove": [{"role": role, "keyid": keyid} for role, keyid in self.remove],
            "thresholds": dict(self.thresholds),
            "targets": {path: base64.b64encode(content).decode() for path, content in self.targets.items()},
            "untargets": list(self.untargets),
        }
        document = {name: value for name, value in document.items() if value}
        return document if self.bins is None else document | {"bins": self.bins}


def parse_change(document: object) -> Change:
    """Read the JSON form of a change.

    Raises:
        CeremonyFault: a field is unknown, of another type or too long.
    """
    if not isinstance(document, Mapping) or not document.keys() <= _FIELDS:
        raise CeremonyFault(f"a change is an object of {', '.join(sorted(_FIELDS))}, and has no other fields")
    bins = document.get("bins")
    if bins is not None and type(bins) is not int:
        raise CeremonyFault("bins is a whole number: the bins of an index as a power of two")
    added = [_fields(entry, "role", "key") for entry in _listed(document, "add")]
    removed = [_fields(entry, "role", "keyid") for entry in _listed(document, "remove")]
    contents = {path: _content(path, text) for path, text in _mapped(document, "targets").items()}
    if sum(map(len, contents.values())) > MAX_TARGET_BYTES:
        raise CeremonyFault(f"the targets are longer than {MAX_TARGET_BYTES} bytes together")
    return Change(
        add=tuple((_text(entry["role"]), parse_key(entry["key"])) for entry in added),
        remove=tuple((_text(entry["role"]), _text(entry["keyid"])) for entry in removed),
        thresholds={_text(role): _count(role, count) for role, count in _mapped(document, "thresholds").items()},
        bins=bins,
        targets=contents,
        untargets=tuple(_text(path) for path in _listed(document, "untargets")),
    )


def build(
    role: str, current: Root | Targets | None, change: Change, now: datetime, lifetime: timedelta
) -> Root | Targets:
    """Return the next version of a shared role: a change applied, and nothing else altered but version and expiry.

    Args:
        role: the shared role.
        current: its newest version, None for the first; it is left as it is.
        change: what is asked for.
        now: aware UTC.
        lifetime: until it expires.

    Raises:
        CeremonyFault: the change does not fit the role or its present keys. `rules.check` says the rest.
    """
    _check_fits(check_role(role), change)
    signed = _copy(role, current, change)
    signed.version = 1 if current is None else current.version + 1
    signed.expires = now + lifetime
    for name, keyid in change.remove:
        _remove(signed, name, keyid)
    for name, key in change.add:
        _add(signed, name, key)
    for name, count in change.thresholds.items():
        if count < 1:
            raise CeremonyFault(f"role {name} needs one signature at the least, not {count}")
        key_lists(signed)[name].threshold = count
    if isinstance(signed, Targets):
        _retarget(signed, change)
    return signed


def _check_fits(role: str, change: Change) -> None:
    named = {name for name, _ in (*change.add, *change.remove)} | change.thresholds.keys()
    for name in sorted(named - set(KEYED_BY[role])):
        listed = ", ".join(KEYED_BY[role]) or "no keys"
        raise CeremonyFault(f"the file of {role} does not list the keys of {name[:40]!r}: it lists {listed}")
    if change.bins is not None and role != "registry":
        raise CeremonyFault(f"the file of {role} has no hash bins: propose it for registry")
    if change.bins is not None and not 1 <= change.bins <= MAX_BIN_BITS:
        raise CeremonyFault(f"the bins of an index are a power of two of 1 to {MAX_BIN_BITS}, not of {change.bins}")
    if (change.targets or change.untargets) and role != "trust":
        raise CeremonyFault(f"the file of {role} has no targets: propose it for trust")
    for path in (*change.targets, *change.untargets):
        if not is_trust_target(path):
            raise CeremonyFault(f"trust signs no target {path[:100]!r}: name trust/NAME or trusted_root.json")


def _copy(role: str, current: Root | Targets | None, change: Change) -> Root | Targets:
    if current is not None:
        return deepcopy(current)
    if role == "root":
        return Root(spec_version=SPEC_VERSION)
    delegations = None
    if role == "targets":
        delegated = {name: DelegatedRole(name, [], 1, True, list(DELEGATED_PATHS[name])) for name in KEYED_BY[role]}
        delegations = Delegations(keys={}, roles=delegated)
    elif role == "registry":
        if change.bins is None:
            raise CeremonyFault("the first file of registry must say how many bins an index has")
        delegations = Delegations(keys={}, succinct_roles=SuccinctRoles([], 1, change.bins, bin_prefix(change.bins)))
    return Targets(spec_version=SPEC_VERSION, delegations=delegations)


def _add(signed: Root | Targets, name: str, key: Key) -> None:
    listed = _list(signed, name)
    if key.keyid in listed:
        raise CeremonyFault(f"role {name} has key {key.keyid} already")
    listed.append(key.keyid)
    listed_keys(signed)[key.keyid] = key


def _remove(signed: Root | Targets, name: str, keyid: str) -> None:
    listed = _list(signed, name)
    if keyid not in listed:
        raise CeremonyFault(f"role {name} has no key {keyid[:64]}")
    listed.remove(keyid)
    if not any(keyid in other.keyids for other in key_lists(signed).values()):
        del listed_keys(signed)[keyid]


def _list(signed: Root | Targets, name: str) -> list[str]:
    try:
        listed: list[str] = key_lists(signed)[name].keyids
    except KeyError as error:
        raise CeremonyFault(f"the file does not list the keys of {name}") from error
    return listed


def _retarget(signed: Targets, change: Change) -> None:
    for path in change.untargets:
        if signed.targets.pop(path, None) is None:
            raise CeremonyFault(f"there is no target {path}")
    for path, content in change.targets.items():
        signed.targets[path] = TargetFile.from_data(path, content, ["sha256"])
    if change.bins is not None:
        if signed.delegations is None or signed.delegations.succinct_roles is None:
            raise CeremonyFault("the file delegates to no bins")
        bins = signed.delegations.succinct_roles
        signed.delegations.succinct_roles = SuccinctRoles(
            bins.keyids, bins.threshold, change.bins, bin_prefix(change.bins), bins.unrecognized_fields
        )


def _listed(document: Mapping[str, Any], name: str) -> list[Any]:
    value = document.get(name, [])
    if not isinstance(value, list) or len(value) > MAX_CHANGES:
        raise CeremonyFault(f"{name} is a list of at most {MAX_CHANGES}")
    return value


def _mapped(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name, {})
    if not isinstance(value, Mapping) or len(value) > MAX_CHANGES:
        raise CeremonyFault(f"{name} is an object of at most {MAX_CHANGES} fields")
    return value


def _fields(entry: object, *names: str) -> Mapping[str, Any]:
    if not isinstance(entry, Mapping) or entry.keys() != set(names):
        raise CeremonyFault(f"each key that is added or removed is an object of {' and '.join(names)}")
    return entry


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 300:
        raise CeremonyFault("names, key ids and paths are short text")
    return value


def _count(role: object, value: object) -> int:
    if type(value) is not int:
        raise CeremonyFault(f"the threshold of {str(role)[:40]} is a whole number")
    return value


def _content(path: str, text: object) -> bytes:
    try:
        return base64.b64decode(text if isinstance(text, str) else "?", validate=True)
    except (binascii.Error, ValueError) as error:
        raise CeremonyFault(f"the content of target {path[:100]} is no base64") from error
