"""A reviewed event, and the counts of an event, in words and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from countermark.ceremony.reviewing import Review
from countermark.core.ceremony.differences import said
from countermark.core.ceremony.documents import SigningEvent
from countermark.core.ceremony.standing import NEW, OLD, Standing


def review_lines(reviewed: Review) -> Iterator[str]:
    """Yield what a key holder reads before signing: first what the server says, then what this machine found.

    Each is one line: words of a server cannot write lines of their own.
    """
    return map(_one_line, _review_lines(reviewed))


def _review_lines(reviewed: Review) -> Iterator[str]:
    event = reviewed.event
    yield (
        f"event {event.id}, {event.state} until {event.expires_at:%Y-%m-%d %H:%M %Z}; the server says that "
        f"{said(event.proposed_by)} proposed it, for this reason: {said(event.reason)}"
    )
    yield f"compared with {reviewed.basis}:"
    for line in reviewed.differences:
        yield f"  - {line}"
    for line in reviewed.warnings:
        yield f"WARNING: {line}"
    yield from _standing_lines(event, reviewed.standing)
    yield f"sha256 of the payload: {event.payload_sha256}"


def standing_lines(event: SigningEvent, counted: Standing) -> Iterator[str]:
    """Yield who signed, who did so in vain, and what is missing; one line each."""
    return map(_one_line, _standing_lines(event, counted))


def _standing_lines(event: SigningEvent, counted: Standing) -> Iterator[str]:
    for keyid in counted.valid:
        yield f"signed by {_named(event, keyid)}"
    for keyid in counted.wrong:
        yield f"WARNING: the signature by {_named(event, keyid)} is wrong and does not count"
    for keyid in counted.unknown:
        yield f"the signature by {_named(event, keyid)} does not count: no key list that is asked now has it"
    yield f"missing: {missing_words(counted.missing)}"


def missing_words(missing: Mapping[str, int]) -> str:
    """Return how many signatures are missing."""
    of = {OLD: "of the keys before", NEW: "of the keys that it needs"}
    waiting = [f"{count} {of[label]}" for label, count in sorted(missing.items(), reverse=True) if count]
    return " and ".join(waiting) + " (one signature may count for both)" * (len(waiting) > 1) or "nothing"


def listed_missing(item: Mapping[str, object]) -> str:
    """Return what the server counts as missing in an event of its list."""
    missing = item.get("missing")
    if not isinstance(missing, Mapping) or not missing or not all(isinstance(count, int) for count in missing.values()):
        return "-"
    return "missing: " + missing_words({label: count for label, count in missing.items() if label in {OLD, NEW}})


def role_lines(role: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the server says of a published role and its keys; one line each."""
    version = "signed for each index" if role.get("version") is None else f"version {role['version']}"
    expires = "" if role.get("expires_at") is None else f", expires {role['expires_at']}"
    keys = role["keys"]
    yield _one_line(f"{role.get('role')}: {version}{expires}, {role.get('threshold')} of {len(keys)} keys must sign")
    for key in keys:
        holder = key.get("holder")
        whose = f", said to be held by {said(str(holder))}" if holder else ""
        yield _one_line(f"  {key.get('keyid')} ({key.get('scheme')}{whose})")


def event_facts(event: SigningEvent, counted: Standing) -> dict[str, object]:
    """Return an event with its counts, for programs."""
    return {
        "event": event.id,
        "role": event.role,
        "version": event.version,
        "state": event.state,
        "payload_sha256": event.payload_sha256,
        "reason": event.reason,
        "proposed_by": event.proposed_by,
        "expires_at": event.expires_at.isoformat(),
        "signed": list(counted.valid),
        "not_counted": [*counted.wrong, *counted.unknown],
        "missing": dict(counted.missing),
    }


def review_facts(reviewed: Review) -> dict[str, object]:
    """Return a reviewed event for programs."""
    found = {
        "basis": reviewed.basis,
        "differences": list(reviewed.differences),
        "warnings": list(reviewed.warnings),
    }
    return event_facts(reviewed.event, reviewed.standing) | found


def _named(event: SigningEvent, keyid: str) -> str:
    holder = event.holders.get(keyid)
    return f"key {keyid}" + (f" (said to be held by {said(holder)})" if holder else "")


def _one_line(text: str) -> str:
    indent = "  " if text.startswith("  ") else ""
    return indent + " ".join(text.split())
