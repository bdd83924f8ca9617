"""Standing: only a threshold of good signatures by different keys of every key list makes a ceremony ready."""

from __future__ import annotations

import json

import pytest
from securesystemslib.signer import Signature

from countermark.core.ceremony.changes import Change
from countermark.core.ceremony.faults import CeremonyFault
from countermark.core.ceremony.payload import canonical_bytes, metadata_bytes, read_metadata
from countermark.core.ceremony.standing import standing
from countermark.core.digest import sha256_of
from tests.support.ceremonies import first_files, signer


def test_the_first_root_is_counted_by_its_own_keys() -> None:
    """A root without a predecessor needs its own threshold alone."""
    payload, signatures = read_metadata(first_files().newest["root"])
    assert standing("root", payload, signatures[:1], []).missing == {"new": 1}
    found = standing("root", payload, signatures, [])
    assert found.is_ready
    assert set(found.valid) == {each.keyid for each in signatures}


def test_a_rotated_root_needs_old_and_new_keys() -> None:
    """The next root is ready when a threshold of the old keys and one of the new keys signed."""
    files = first_files()
    new = [signer("root", number) for number in (7, 8, 9)]
    change = Change(
        add=tuple(("root", key.public_key) for key in new),
        remove=tuple(("root", signer("root", number).public_key.keyid) for number in range(3)),
    )
    payload = files.payload("root", change)
    signed = [key.sign(payload) for key in new[:2]]
    before = [files.newest["root"]]
    assert standing("root", payload, signed, before).missing == {"old": 2, "new": 0}
    signed += [signer("root", number).sign(payload) for number in (0, 1)]
    assert standing("root", payload, signed, before).is_ready
    # Whether or not its own file is named among the delegators makes no difference.
    assert standing("root", payload, signed, [*before, metadata_bytes(payload, [])]).is_ready


def test_signatures_that_do_not_count_are_told_apart() -> None:
    """Unknown, wrong and repeated signatures are each said, and none of them counts."""
    files = first_files()
    payload = files.payload("trust", Change())
    good = signer("trust").sign(payload)
    wrong = Signature(signer("trust", 1).public_key.keyid, good.signature)
    other = signer("nobody").sign(payload)
    junk = Signature(signer("trust", 2).public_key.keyid, "abc")
    found = standing("trust", payload, [good, good, wrong, other, junk], [files.newest["targets"]])
    assert found.valid == (good.keyid,)
    assert found.repeated == (good.keyid,)
    assert found.wrong == (wrong.keyid, junk.keyid)
    assert found.unknown == (other.keyid,)
    assert found.missing == {"new": 1}


def test_a_wrong_signature_does_not_shut_out_the_right_one() -> None:
    """Someone who sends junk under another's key id cannot keep that person's signature from counting."""
    files = first_files()
    payload = files.payload("trust", Change())
    good = [signer("trust", number).sign(payload) for number in (0, 1)]
    found = standing("trust", payload, [Signature(good[0].keyid, "00"), *good], [files.newest["targets"]])
    assert found.is_ready


def test_one_key_under_two_ids_signs_once() -> None:
    """A predecessor that lists a key twice, under two ids, counts it once."""
    files = first_files()
    document = json.loads(read_metadata(files.newest["targets"])[0])
    first = document["delegations"]["roles"][0]["keyids"][0]
    key = document["delegations"]["keys"][first]
    again = key | {"keyval": {"public": key["keyval"]["public"].upper()}}
    keyid = sha256_of(canonical_bytes(again))
    document["delegations"]["keys"][keyid] = again
    document["delegations"]["roles"][0]["keyids"].append(keyid)
    payload = files.payload("trust", Change())
    made = signer("trust").sign(payload)
    delegator = metadata_bytes(canonical_bytes(document), [])
    found = standing("trust", payload, [made, Signature(keyid, made.signature)], [delegator])
    assert found.missing == {"new": 1}


def test_delegators_must_be_those_of_the_role() -> None:
    """A root without its predecessor, a later root and a role without its delegator are refused."""
    files = first_files()
    payload = files.payload("root", Change())
    with pytest.raises(CeremonyFault, match="version before"):
        standing("root", payload, [], [])
    with pytest.raises(CeremonyFault, match="one delegator"):
        standing("trust", files.payload("trust", Change()), [], [])
    with pytest.raises(CeremonyFault, match="cannot be used"):
        standing("trust", files.payload("trust", Change()), [], [files.newest["root"]])
