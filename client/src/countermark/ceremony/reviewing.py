"""What a key holder is shown before signing: an event checked against a root that this machine trusts.

Nothing that a server says in prose counts. The version before and the file above it are verified from the trusted root,
the rules are applied and the differences worked out anew; what cannot be proven is said as such.

Source: trust contract sections 2.5 (review) and 2.8; ADR 0033.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from tuf.api.metadata import Root

from countermark.core.ceremony import rules
from countermark.core.ceremony.differences import describe
from countermark.core.ceremony.documents import SignatureFile, SigningEvent
from countermark.core.ceremony.faults import CeremonyFault
from countermark.core.ceremony.key_lists import key_lists
from countermark.core.ceremony.payload import parse_payload, read_metadata, read_published
from countermark.core.ceremony.standing import Standing, standing
from countermark.core.ceremony.tree import DELEGATOR, WINDOWS
from countermark.core.digest import sha256_of
from countermark.core.errors import CeremonyRefused, InvalidMetadata, UsageFault
from countermark.core.signing.access import KeyAccess, asked_once
from countermark.core.signing.loading import load_signer
from countermark.core.signing.making import find_key
from countermark.roots import MAX_ROOTS, TrustedRoot, read_root

RootSource = Callable[[int], bytes | None]
"""Returns a version of root that is served, or None when there is none. Absent on a machine without a network."""

SIGNABLE = ("open", "ready")
"""States in which signatures are taken."""

_TAMPERED = "Do not sign. Ask who proposed it; if the server is at fault, tell the people who run this registry."


@dataclass(frozen=True, slots=True)
class Review:
    """An event as this machine sees it.

    Attributes:
        event: the event; its words are the server's.
        basis: what it was compared with, a sentence without a full stop.
        differences: what the payload changes, see `describe`.
        warnings: what this machine cannot prove.
        standing: its signatures, counted here.
    """

    event: SigningEvent
    basis: str
    differences: tuple[str, ...]
    warnings: tuple[str, ...]
    standing: Standing


@dataclass(slots=True)
class _Ground:
    """What the payload is compared with."""

    words: str
    previous: bytes | None
    warnings: list[str] = field(default_factory=list)


def review(
    event: SigningEvent,
    trusted: TrustedRoot | None,
    now: datetime,
    source: RootSource | None,
    seen: Mapping[str, int] | None = None,
) -> Review:
    """Check an event and work out what it changes.

    Args:
        event: from a server or a file.
        trusted: the root that this machine trusts; None only in a deployment's first ceremony.
        now: aware UTC.
        source: finds newer roots than the trusted one, each of which is verified by the one before.
        seen: role -> the newest version that this machine has verified before, where it has.

    Raises:
        CeremonyRefused: it breaks a rule, or is not built on what the trusted root vouches for.
        MetadataRefused: a root on the way does not verify.
        UsageFault: there is no trusted root, and this is no first ceremony.
    """
    try:
        rules.check(event.role, event.payload, event.previous, WINDOWS[event.role], now)
        ground = _first(event) if trusted is None else _later(event, trusted, source)
        ground.warnings += _stale(event, now, seen or {})
        differences = describe(event.role, ground.previous, event.payload, event.holders)
        signatures = [each.signature for each in event.signatures]
        counted = standing(event.role, event.payload, signatures, delegators(event))
    except CeremonyFault as error:
        raise CeremonyRefused(f"event {event.id} of {event.role} is not to be signed: {error}", _TAMPERED) from error
    return Review(event, ground.words, tuple(differences), tuple(ground.warnings), counted)


def delegators(event: SigningEvent) -> list[bytes]:
    """Return the published files whose key lists count for an event.

    Raises:
        CeremonyFault: the event lacks them.
    """
    if event.role == Root.type:
        return [] if event.previous is None else [event.previous]
    if event.delegator is None:
        raise CeremonyFault(
            f"it does not bring the file of {DELEGATOR[event.role]}, which lists the keys of {event.role}"
        )
    return [event.delegator]


def sign(reviewed: Review, uri: str, access: KeyAccess, now: datetime) -> SignatureFile:
    """Sign a reviewed event's payload with the key of a URI; the signature is verified before anybody gets it.

    Raises:
        CeremonyRefused: the event takes no signatures any more; the key was not touched.
        KeyUnusable: the key cannot be used.
    """
    event = reviewed.event
    if event.state not in SIGNABLE:
        raise CeremonyRefused(f"event {event.id} is {event.state}", "There is nothing to sign.")
    if event.expires_at <= now:
        raise CeremonyRefused(f"event {event.id} could be signed until {event.expires_at}", "Have it proposed anew.")
    once = replace(access, secret=asked_once(access.secret))
    signer = load_signer(uri, find_key(uri, once).key, once)
    return SignatureFile(event.id, event.payload_sha256, (signer.sign(event.payload),))


def lists_of(event: SigningEvent) -> set[str]:
    """Return the ids of all keys that count for an event."""
    found: set[str] = set()
    for data in delegators(event):
        found.update(key_lists(read_published(DELEGATOR[event.role], data))[event.role].keyids)
    if event.role == Root.type:
        found.update(key_lists(parse_payload(event.role, event.payload))[event.role].keyids)
    return found


def _first(event: SigningEvent) -> _Ground:
    if event.version != 1 or event.previous is not None:
        raise UsageFault(
            f"this machine trusts no root, and {event.role} version {event.version} is not the first",
            "Name the root that you trust with --root, or pin it: countermark root pin URL FILE.",
        )
    ground = _Ground("nothing: this machine trusts no root yet, as is right in a deployment's first ceremony", None)
    ground.warnings.append(
        "nothing on this machine proves where this comes from: sign only when the others read out the same sha256"
    )
    if event.role != Root.type:
        above = DELEGATOR[event.role]
        ground.warnings.append(f"the keys of {event.role} are taken from a file of {above} that nothing proves yet")
    return ground


def _later(event: SigningEvent, trusted: TrustedRoot, source: RootSource | None) -> _Ground:
    newest = _newest(trusted, source)
    if event.role == Root.type:
        if event.previous is None:
            raise CeremonyFault(f"it is a first root, where this machine trusts root version {trusted.version} already")
        _lead_to(event.previous, newest)
        return _Ground(_from(f"root version {event.version - 1}", trusted), event.previous)
    above = delegators(event)[0]
    role = DELEGATOR[event.role]
    ground = _Ground("", event.previous)
    if role == Root.type:
        _lead_to(above, newest)
    elif not _is_signed(role, above, newest.data):
        if event.version != 1 or event.previous is not None:
            raise CeremonyFault(f"the file of {role} that it brings is not signed by the keys that root lists")
        ground.warnings.append(
            f"the file of {role} above it is not signed by enough keys yet: compare the sha256 of its payload, "
            f"{sha256_of(read_metadata(above)[0])}, with that of its own event"
        )
    version = read_published(role, above).version
    if event.previous is None:
        ground.words = _from(f"nothing, as it is the first below {role} version {version}", trusted)
        ground.warnings.append(f"it is said to be the first version of {event.role}: sign only if you know of none")
    elif _is_signed(event.role, event.previous, above):
        ground.words = _from(f"{event.role} version {event.version - 1}, below {role} version {version}", trusted)
    else:
        ground.previous = None
        ground.words = _from(f"nothing below {role} version {version}", trusted)
        ground.warnings.append(
            "the version before is not signed by keys that count now, so all that this one says is listed"
        )
    return ground


def _stale(event: SigningEvent, now: datetime, seen: Mapping[str, int]) -> Iterator[str]:
    """Yield what speaks for a later version than the one that an event builds on: a server may keep it back."""
    bases = {event.role: event.previous, DELEGATOR[event.role]: delegators(event)[0] if delegators(event) else None}
    for role, data in bases.items():
        if data is None:
            continue
        signed = read_published(role, data)
        if signed.version < seen.get(role, 0):
            yield (
                f"it builds on {role} version {signed.version}, and this machine has seen version {seen[role]}: "
                "do not sign before you know why"
            )
        if signed.expires <= now:
            yield (
                f"{role} version {signed.version}, on which it builds, expired at {signed.expires:%Y-%m-%d %H:%M} UTC: "
                "ask whether there is a later one"
            )


def _from(what: str, trusted: TrustedRoot) -> str:
    return f"{what}, proven from root version {trusted.version} with sha256 {trusted.sha256}, which this machine trusts"


def _lead_to(data: bytes, newest: TrustedRoot) -> None:
    """Verify that an event builds on the newest root that this machine can find, or on the one that follows it.

    Raises:
        CeremonyFault: it builds on an older one, or on another of the same version.
        UsageFault: it builds on a later one, which this machine cannot verify.
        MetadataRefused: as `read_root`.
    """
    wanted = read_published(Root.type, data).version
    if wanted < newest.version:
        raise CeremonyFault(f"it builds on root version {wanted}, and there is version {newest.version} already")
    if wanted == newest.version:
        if read_metadata(data)[0] != read_metadata(newest.data)[0]:
            raise CeremonyFault(f"it builds on another root of version {wanted} than the one that is trusted")
        return
    if wanted > newest.version + 1:
        raise UsageFault(
            f"the event builds on root version {wanted}, and this machine finds version {newest.version}",
            f"Fetch root version {wanted - 1} or {wanted} where there is a network (countermark root fetch), compare "
            "its sha256 with the other key holders, and name it with --root.",
        )
    read_root(data, newest)


def _newest(trusted: TrustedRoot, source: RootSource | None) -> TrustedRoot:
    """Walk from the trusted root as far as roots are served, each verified by the one before."""
    current = trusted
    for _ in range(MAX_ROOTS):
        found = None if source is None else source(current.version + 1)
        if found is None:
            return current
        current = read_root(found, current)
    raise InvalidMetadata(f"more than {MAX_ROOTS} roots are served")


def _is_signed(role: str, data: bytes, delegator: bytes) -> bool:
    """Return whether a file has a threshold of signatures by the keys that its delegator lists."""
    payload, signatures = read_metadata(data)
    return standing(role, payload, signatures, [delegator]).is_ready
