"""What a payload must be before anyone signs it: usable by clients, and within what the contract allows. Pure.

Source: trust contract sections 1.2 (last line), 2.3 and 2.5.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from tuf.api.metadata import Root, TargetFile, Targets

from countermark.core.ceremony.faults import CeremonyFault
from countermark.core.ceremony.key_lists import key_lists, listed_keys
from countermark.core.ceremony.keys import check_key, fingerprint
from countermark.core.ceremony.payload import parse_payload, read_published
from countermark.core.ceremony.tree import DELEGATED_PATHS, KEYED_BY, MAX_BIN_BITS, Window, bin_prefix, is_trust_target
from countermark.core.digest import InvalidDigest, parse_sha256


def check(role: str, payload: bytes, previous: bytes | None, window: Window, now: datetime) -> None:
    """Refuse a payload that breaks a rule.

    Args:
        role: the shared role.
        payload: the exact bytes to sign.
        previous: the published file of the version before, None for the first.
        window: the shortest and the longest time from now to its expiry.
        now: aware UTC.

    Raises:
        CeremonyFault: with the rule in words.
    """
    signed = parse_payload(role, payload)
    before = None if previous is None else read_published(role, previous)
    base = 0 if before is None else before.version
    if signed.version != base + 1:
        raise CeremonyFault(f"version {signed.version} does not follow version {base}")
    _check_expiry(signed, window, now)
    _check_fields(signed)
    _check_keys(role, signed)
    if isinstance(signed, Root):
        _check_root(signed)
    else:
        _check_delegations(role, signed)
        _check_targets(role, signed.targets)


def _check_expiry(signed: Root | Targets, window: Window, now: datetime) -> None:
    shortest, longest = window
    left = signed.expires - now
    # A payload has whole seconds, so it may seem to last for a fraction of one less than it was made for.
    if not shortest - timedelta(seconds=1) < left <= longest:
        said = f"{signed.expires:%Y-%m-%d %H:%M:%S} UTC"
        raise CeremonyFault(
            f"it expires at {said}: {left.days} days from now, where {shortest.days} to {longest.days} are allowed"
        )


def _check_fields(signed: Root | Targets) -> None:
    holders: list[Root | Targets | object] = [signed, *key_lists(signed).values()]
    if isinstance(signed, Targets) and signed.delegations is not None:
        holders.append(signed.delegations)
    if any(getattr(holder, "unrecognized_fields", {}) for holder in holders):
        raise CeremonyFault("it holds fields that this version does not know")


def _check_keys(role: str, signed: Root | Targets) -> None:
    lists, keys = key_lists(signed), listed_keys(signed)
    if set(lists) != set(KEYED_BY[role]):
        named = ", ".join(KEYED_BY[role]) or "no role"
        raise CeremonyFault(f"the file of {role} must list the keys of {named}, and of no other")
    for keyid, key in keys.items():
        if key.keyid != keyid:
            raise CeremonyFault(f"key id {keyid[:64]} is not the hash of its key")
        check_key(key)
    used = {keyid for listed in lists.values() for keyid in listed.keyids}
    if used != keys.keys():
        raise CeremonyFault("the keys that it lists are not those that its roles name")
    for name, listed in lists.items():
        if not 1 <= listed.threshold <= len(listed.keyids):
            raise CeremonyFault(
                f"role {name} would need {listed.threshold} signatures and has {len(listed.keyids)} keys"
            )
    prints = [fingerprint(key) for key in keys.values()]
    if len(set(prints)) < len(prints):
        raise CeremonyFault("one key stands in it twice, under two ids")


def _check_root(root: Root) -> None:
    if root.consistent_snapshot is not True:
        raise CeremonyFault("root must say that snapshots are consistent")
    # Timestamp and snapshot are signed by different processes; root and targets by the same people with other keys.
    twice = _first_twice(keyid for listed in root.roles.values() for keyid in listed.keyids)
    if twice:
        names = " and ".join(name for name, listed in sorted(root.roles.items()) if twice in listed.keyids)
        raise CeremonyFault(f"{names} would share key {twice}: each role has keys of its own")


def _first_twice(keyids: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for keyid in keyids:
        if keyid in seen:
            return keyid
        seen.add(keyid)
    return None


def _check_delegations(role: str, targets: Targets) -> None:
    delegations = targets.delegations
    if role == "trust":
        if delegations is not None:
            raise CeremonyFault("trust delegates to nobody")
    elif role == "registry":
        bins = delegations and delegations.succinct_roles
        if not bins or bins.bit_length > MAX_BIN_BITS or bins.name_prefix != bin_prefix(bins.bit_length):
            raise CeremonyFault(f"registry delegates to 2 to {1 << MAX_BIN_BITS} bins, whose names tell their count")
    elif delegations is None or delegations.roles is None or list(delegations.roles) != list(KEYED_BY[role]):
        raise CeremonyFault(f"targets delegates to {' and '.join(KEYED_BY[role])}, in this order")
    else:
        for name, delegated in delegations.roles.items():
            if delegated.paths != list(DELEGATED_PATHS[name]) or delegated.terminating is not True:
                raise CeremonyFault(f"{name} must be asked for {', '.join(DELEGATED_PATHS[name])}, and nobody after it")


def _check_targets(role: str, targets: dict[str, TargetFile]) -> None:
    if targets and role != "trust":
        raise CeremonyFault(f"{role} signs no targets of its own")
    for path, target in targets.items():
        if not is_trust_target(path):
            raise CeremonyFault(f"trust signs no target {path[:100]!r}")
        if target.unrecognized_fields or target.hashes.keys() != {"sha256"}:
            raise CeremonyFault(f"target {path} has more than a length and a sha256")
        try:
            if parse_sha256(target.hashes["sha256"]) != target.hashes["sha256"]:
                raise CeremonyFault(f"the sha256 of target {path} has a prefix")
        except InvalidDigest as error:
            raise CeremonyFault(f"the sha256 of target {path} is none") from error
