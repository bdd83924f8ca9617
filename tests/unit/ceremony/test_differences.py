"""Differences in words: a key holder reads them before signing, so nothing may be missing."""

from __future__ import annotations

import json

from countermark.core.ceremony.changes import Change
from countermark.core.ceremony.differences import describe
from countermark.core.ceremony.payload import canonical_bytes, read_metadata
from countermark.core.digest import sha256_of
from tests.support.ceremonies import first_files, signer


def test_a_renewal_says_that_nothing_else_changes() -> None:
    """An empty change is said to be one, with version and expiry."""
    files = first_files()
    later = json.loads(files.payload("targets", Change()))
    later["expires"] = "2027-12-01T00:00:00Z"
    assert describe("targets", files.newest["targets"], canonical_bytes(later)) == [
        "targets version 2 follows version 1",
        "it expires at 2027-12-01T00:00:00Z instead of 2027-11-26T12:00:00Z",
        "nothing else changes",
    ]


def test_holders_who_come_and_go_are_named() -> None:
    """Keys gained and lost are said with id, kind and holder, and the threshold with the count of keys."""
    files = first_files()
    gone, new = signer("root", 0).public_key.keyid, signer("root", 7).public_key
    change = Change(add=(("root", new),), remove=(("root", gone),), thresholds={"root": 3})
    assert describe("root", files.newest["root"], files.payload("root", change), {new.keyid: "Ada"})[2:] == [
        "role root needs 3 signatures instead of 2: 3 of 3 keys must sign",
        f'role root gains key {new.keyid} (ed25519, said to be held by "Ada")',
        f"role root loses key {gone} (ed25519)",
    ]


def test_targets_and_bins_are_named() -> None:
    """Targets are said with sha256 and length, bins with their count."""
    files = first_files()
    change = Change(targets={"trust/policy.yaml": b"allow"})
    was, now = f"sha256 {sha256_of(b'deny')}, 4 bytes", f"sha256 {sha256_of(b'allow')}, 5 bytes"
    assert describe("trust", files.newest["trust"], files.payload("trust", change))[2:] == [
        f"target trust/policy.yaml changes to {now} (it was {was})"
    ]
    assert describe("registry", files.newest["registry"], files.payload("registry", Change(bins=10)))[2:] == [
        'role bins: name_prefix changes to "b10" (it was "b8")',
        "role bins: number of bins changes to 1024 (it was 256)",
    ]


def test_a_first_version_is_told_whole() -> None:
    """Without a version before, everything that the file says is said."""
    files = first_files()
    empty = json.loads(read_metadata(files.newest["trust"])[0]) | {"targets": {}}
    assert describe("trust", None, canonical_bytes(empty))[2:] == ["it says nothing else"]
    told = "\n".join(describe("targets", None, read_metadata(files.newest["targets"])[0]))
    assert told.startswith("targets version 1, the first")
    for number in range(3):
        assert f"role trust gains key {signer('trust', number).public_key.keyid} (ed25519)" in told
    assert "role registry is new: 2 of 3 keys must sign" in told
    assert 'role trust: paths is set to ["trust/*", "trusted_root.json", "signing_config.v0.2.json"]' in told


def test_what_has_no_words_is_shown_as_it_stands() -> None:
    """A field that nobody knows is shown, and a version out of turn is shouted."""
    files = first_files()
    document = json.loads(files.payload("root", Change()))
    document |= {"version": 7, "x-note": {"a": [1]}}
    told = describe("root", files.newest["root"], canonical_bytes(document))
    assert told[0] == "root version 7 follows version 1, OUT OF TURN"
    assert told[2:] == ['x-note is set to {"a": [1]}']
