"""How far a ceremony is: which signatures are good, and how many are still missing. Pure.

Source: TUF specification 1.0.34 sections 5.3.4 and 5.6.4; trust contract section 2.5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signature
from tuf.api.metadata import Root, Targets

from countermark.core.ceremony.faults import CeremonyFault
from countermark.core.ceremony.key_lists import key_lists, listed_keys
from countermark.core.ceremony.keys import fingerprint
from countermark.core.ceremony.payload import parse_payload, read_published
from countermark.core.ceremony.tree import DELEGATOR

OLD = "old"
"""The keys of the root before, which must sign the next one, too."""

NEW = "new"
"""The keys that clients will ask for: a root's own, or those that the role's delegator lists."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The signatures of a payload, judged.

    Attributes:
        valid: ids of keys that count, each once.
        missing: `OLD` (for a root that follows another) and `NEW` -> how many more keys must sign.
        unknown: ids that no key list holds.
        wrong: ids whose signature does not verify.
        repeated: ids that signed more than once.
    """

    valid: tuple[str, ...]
    missing: Mapping[str, int]
    unknown: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()

    @property
    def is_ready(self) -> bool:
        """Whether a threshold of every key list signed."""
        return not any(self.missing.values())


def standing(role: str, payload: bytes, signatures: Sequence[Signature], delegators: Sequence[bytes]) -> Standing:
    """Judge the signatures of a payload.

    Args:
        role: the shared role.
        payload: the exact bytes that were signed.
        signatures: as they were handed in.
        delegators: published files whose key lists count: for root the version before, none for the first (its own
            list counts always, whether or not it is named here); for others the delegator's newest.

    Raises:
        CeremonyFault: payload or delegators cannot be read, or the delegators are not those of the role.
    """
    lists = _key_lists(role, payload, delegators)
    known = {keyid: key for keys, _ in lists.values() for keyid, key in keys.items()}
    valid: dict[str, bytes] = {}
    unknown, wrong, repeated = [], [], []
    for signature in signatures:
        key = known.get(signature.keyid)
        if key is None:
            unknown.append(signature.keyid)
        elif signature.keyid in valid:
            repeated.append(signature.keyid)
        elif _verifies(key, signature, payload):
            valid[signature.keyid] = fingerprint(key)
        else:
            wrong.append(signature.keyid)
    missing = {}
    for label, (keys, threshold) in lists.items():
        # One key under two ids is one signer (trust contract section 6, row 12).
        signers = {found for keyid, found in valid.items() if keyid in keys}
        missing[label] = max(0, threshold - len(signers))
    return Standing(tuple(valid), missing, tuple(unknown), tuple(wrong), tuple(repeated))


_List = tuple[Mapping[str, Key], int]


def _key_lists(role: str, payload: bytes, delegators: Sequence[bytes]) -> dict[str, _List]:
    signed = parse_payload(role, payload)
    read: list[Root | Targets] = [read_published(DELEGATOR[role], data) for data in delegators]
    if role != Root.type:
        if len(read) != 1:
            raise CeremonyFault(f"role {role} has one delegator, and {len(read)} are named")
        return {NEW: _of(read[0], role)}
    before = [root for root in read if root.version != signed.version]
    if [root.version for root in before] != ([signed.version - 1] if signed.version > 1 else []):
        raise CeremonyFault(f"root version {signed.version} must be signed by the keys of the version before")
    own = {NEW: _of(signed, role)}
    return {OLD: _of(before[0], role)} | own if before else own


def _of(delegator: Root | Targets, role: str) -> _List:
    listed = key_lists(delegator).get(role)
    if listed is None:
        raise CeremonyFault(f"the delegator does not list the keys of role {role}")
    keys = listed_keys(delegator)
    return {keyid: keys[keyid] for keyid in listed.keyids if keyid in keys}, listed.threshold


def _verifies(key: Key, signature: Signature, payload: bytes) -> bool:
    try:
        key.verify_signature(signature, payload)
    except (UnverifiedSignatureError, ValueError, TypeError):
        return False
    return True
