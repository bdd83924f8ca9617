"""Differences in words: what a payload changes, computed from the two files alone. Pure.

What has words of its own is said in them; whatever else differs is said as it stands in the JSON. Nothing is left out:
two payloads that pass `rules.check` never read the same.

Source: trust contract section 2.5 (review).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from countermark.core.ceremony.payload import (
    MAX_PAYLOAD_BYTES,
    SPEC_VERSION,
    canonical_bytes,
    load_strictly,
    parse_payload,
    read_metadata,
    read_published,
)

_ABSENT = object()
_Fields = dict[str, Any]


def describe(role: str, previous: bytes | None, payload: bytes, holders: Mapping[str, str] | None = None) -> list[str]:
    """Return every difference between a payload and the version before, a sentence without a full stop each.

    Args:
        role: the shared role.
        previous: the published file of the version before, None to have everything told that the payload says.
        payload: the exact bytes to sign.
        holders: key id -> who is said to hold it: words that nobody signed.

    Raises:
        CeremonyFault: one of the two cannot be read.
    """
    parse_payload(role, payload)
    new = load_strictly(payload, MAX_PAYLOAD_BYTES, "the payload", canonical=True)
    kind, number = new["_type"], new.pop("version")
    if previous is None:
        old: _Fields = {"_type": kind, "spec_version": SPEC_VERSION}
        told = "the first: there is none before it" if number == 1 else "told whole, not compared with the one before"
        first = [f"{role} version {number}, {told}"]
    else:
        read_published(role, previous)
        old = load_strictly(read_metadata(previous)[0], MAX_PAYLOAD_BYTES, "the version before", canonical=True)
        base = old.pop("version")
        first = [f"{role} version {number} follows version {base}" + ("" if number == base + 1 else ", OUT OF TURN")]
    first.append(_expiry(old.pop("expires", None), new.pop("expires")))
    lines = [*_key_words(old, new, holders or {}), *_target_words(old, new), *_rest("", old, new)]
    return [*first, *(lines or ["it says nothing else" if previous is None else "nothing else changes"])]


def said(text: str) -> str:
    """Return words that nobody signed, quoted, which they cannot end, and cut so that they fill no line after line."""
    words = text.replace('"', "'")
    return f'"{words[:200]}…"' if len(words) > 200 else f'"{words}"'


def _expiry(old: str | None, new: str) -> str:
    if old is None:
        return f"it expires at {new}"
    return f"it expires at {new}, as before" if old == new else f"it expires at {new} instead of {old}"


def _key_words(old: _Fields, new: _Fields, holders: Mapping[str, str]) -> Iterator[str]:
    """Yield what changes in roles and keys, and take all that is said out of both."""
    lists_before, keys_before = _take_lists(old)
    lists, keys = _take_lists(new)
    gained, lost = set[str](), set[str]()
    for name, after in lists.items():
        before = lists_before.get(name, {})
        had, has = before.pop("keyids", []), after.pop("keyids")
        gained.update(set(has) - set(had))
        lost.update(set(had) - set(has))
        yield from _list_words(name, before.pop("threshold", None), after.pop("threshold"), len(has))
        for keyid in has:
            if keyid not in had:
                yield f"role {name} gains key {keyid}{_about(keyid, keys, holders)}"
        for keyid in had:
            if keyid not in has:
                yield f"role {name} loses key {keyid}{_about(keyid, keys_before, holders)}"
        if [keyid for keyid in had if keyid in has] != [keyid for keyid in has if keyid in had] or (
            # Gained keys stand behind those that stay; anything else is another order, too.
            [keyid for keyid in has if keyid in had] != has[: len(set(has) & set(had))]
        ):
            yield f"role {name} lists its keys in another order: {', '.join(has)}"
        yield from _rest(f"role {name}: ", before, after)
    for name, gone in lists_before.items():
        if name not in lists:
            lost.update(gone["keyids"])
            yield f"role {name} is gone: {_value(gone)}"
    if lists_before and list(lists_before) != list(lists):
        yield f"roles are asked in this order: {', '.join(lists)}"
    said_before = {keyid: key for keyid, key in keys_before.items() if keyid in keys or keyid not in lost}
    said = {keyid: key for keyid, key in keys.items() if keyid in keys_before or keyid not in gained}
    yield from _rest("key ", said_before, said)


def _list_words(name: str, before: int | None, after: int, count: int) -> Iterator[str]:
    of = f"{after} of {count} key{'' if count == 1 else 's'} must sign"
    if before is None:
        yield f"role {name} is new: {of}"
    elif before != after:
        yield f"role {name} needs {after} signatures instead of {before}: {of}"


def _about(keyid: str, keys: Mapping[str, Any], holders: Mapping[str, str]) -> str:
    scheme = keys.get(keyid, {}).get("scheme", "not listed")
    holder = holders.get(keyid)
    return f" ({scheme}" + (f", said to be held by {said(holder)}" if holder else "") + ")"


def _take_lists(document: _Fields) -> tuple[dict[str, _Fields], dict[str, Any]]:
    """Take the roles and keys out of a root or targets document; the order of delegated roles is kept."""
    if document["_type"] == "root":
        return document.pop("roles", {}), document.pop("keys", {})
    if "delegations" not in document:
        return {}, {}
    delegations = document["delegations"]
    lists = {each.pop("name"): each for each in delegations.pop("roles", [])}
    if "succinct_roles" in delegations:
        lists["bins"] = delegations.pop("succinct_roles")
        lists["bins"]["number of bins"] = 1 << lists["bins"].pop("bit_length")
    keys = delegations.pop("keys", {})
    if lists and not delegations:
        # That it delegates is said by the roles.
        del document["delegations"]
    return lists, keys


def _target_words(old: _Fields, new: _Fields) -> Iterator[str]:
    before, after = old.pop("targets", {}), new.pop("targets", {})
    for path in sorted(before.keys() | after.keys()):
        was, now = before.get(path), after.get(path)
        if was is None:
            yield f"target {path} is added: {_target(now)}"
        elif now is None:
            yield f"target {path} is removed (it was {_target(was)})"
        elif canonical_bytes(was) != canonical_bytes(now):
            yield f"target {path} changes to {_target(now)} (it was {_target(was)})"


def _target(entry: _Fields) -> str:
    rest = {name: value for name, value in entry.items() if name not in {"hashes", "length"}}
    hashes = ", ".join(f"{name} {value}" for name, value in sorted(entry["hashes"].items()))
    return f"{hashes}, {entry['length']} bytes" + (f", {_value(rest)}" if rest else "")


def _rest(where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name, _ABSENT), new.get(name, _ABSENT)
        if was is _ABSENT:
            yield f"{where}{name} is set to {_value(now)}"
        elif now is _ABSENT:
            yield f"{where}{name} is no longer there (it was {_value(was)})"
        elif canonical_bytes(was) != canonical_bytes(now):
            yield f"{where}{name} changes to {_value(now)} (it was {_value(was)})"


def _value(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
