"""Rules: what no client could use, or the contract does not allow, is refused before anyone signs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from securesystemslib.signer import SSlibKey

from countermark.core.ceremony.changes import Change
from countermark.core.ceremony.faults import CeremonyFault
from countermark.core.ceremony.keys import check_key, fingerprint
from countermark.core.ceremony.payload import canonical_bytes, metadata_bytes, parse_payload, read_metadata
from countermark.core.ceremony.rules import check
from countermark.core.ceremony.tree import WINDOWS
from countermark.core.digest import sha256_of
from tests.support.ceremonies import NOW, first_changes, first_files, signer

_Document = dict[str, Any]


def test_the_files_of_the_contract_pass() -> None:
    """First versions and renewals of every shared role are within the rules."""
    files = first_files()
    for role, content in files.newest.items():
        check(role, read_metadata(content)[0], None, WINDOWS[role], NOW)
        check(role, files.payload(role, Change()), content, WINDOWS[role], NOW)


@pytest.mark.parametrize(
    ("role", "change", "words"),
    [
        ("root", Change(thresholds={"root": 4}), "would need 4 signatures and has 3 keys"),
        ("root", Change(remove=(("timestamp", signer("timestamp").public_key.keyid),)), "needs? 1 signatures"),
        ("root", Change(add=(("timestamp", signer("snapshot").public_key),)), "snapshot and timestamp would share"),
        ("root", Change(add=(("targets", signer("root").public_key),)), "root and targets would share"),
    ],
)
def test_keys_that_cannot_serve_are_refused(role: str, change: Change, words: str) -> None:
    """A threshold above the keys and a key in two roles of root are refused."""
    files = first_files()
    with pytest.raises(CeremonyFault, match=words.replace("needs?", "need")):
        check(role, files.payload(role, change), files.newest[role], WINDOWS[role], NOW)


def _second_form(document: _Document) -> None:
    """List the first root key once more with its value in capitals, under the id of that."""
    key = document["keys"][document["roles"]["root"]["keyids"][0]]
    again = key | {"keyval": {"public": key["keyval"]["public"].upper()}}
    keyid = sha256_of(canonical_bytes(again))
    document["keys"][keyid] = again
    document["roles"]["root"]["keyids"].append(keyid)


def _other_key_id(document: _Document) -> None:
    keyid = document["roles"]["root"]["keyids"][0]
    document["keys"]["0" * 64] = document["keys"].pop(keyid)
    document["roles"]["root"]["keyids"][0] = "0" * 64


def _unused_key(document: _Document) -> None:
    key = signer("nobody").public_key
    document["keys"][key.keyid] = key.to_dict()


@pytest.mark.parametrize(
    ("role", "edit", "words"),
    [
        ("root", lambda d: d.update(version=3), "does not follow"),
        ("root", lambda d: d.update(version=True), "truth value"),
        ("root", lambda d: d.update(spec_version="1.0.30"), "specification version"),
        ("root", lambda d: d.update(_type="targets"), "no root metadata"),
        ("root", lambda d: d.update(consistent_snapshot=False), "consistent"),
        ("root", lambda d: d.update({"x-note": 1}), "does not know"),
        ("root", lambda d: d.update(expires="2028-01-01T00:00:00Z"), "days from now"),
        ("root", lambda d: d.update(expires="2026-11-27T00:00:00Z"), "days from now"),
        ("root", lambda d: d.update(expires="2027-1-01T00:00:00Z"), "canonical form"),
        ("root", lambda d: d["roles"]["root"].update(keyids="ab"), "no list"),
        ("root", lambda d: d["roles"]["root"].update(threshold=True), "truth value"),
        ("root", lambda d: d["roles"]["root"].update(note="x"), "does not know"),
        ("root", _second_form, "one key stands in it twice"),
        ("root", _other_key_id, "not the hash"),
        ("root", _unused_key, "not those that its roles name"),
        ("targets", lambda d: d["delegations"]["roles"].reverse(), "in this order"),
        ("targets", lambda d: d["delegations"]["roles"].pop(), "must list the keys of trust, registry"),
        ("targets", lambda d: d["delegations"]["roles"][0].update(terminating=False), "nobody after it"),
        ("targets", lambda d: d["delegations"]["roles"][0].update(paths=["*/*"]), "must be asked for"),
        ("targets", lambda d: d["targets"].update(a={"length": 1, "hashes": {"sha256": "a" * 64}}), "of its own"),
        ("trust", lambda d: d.update(delegations={"keys": {}, "roles": []}), "delegates to nobody"),
        ("trust", lambda d: d["targets"]["trust/policy.yaml"].update(custom={}), "more than a length"),
        ("trust", lambda d: d["targets"]["trust/policy.yaml"]["hashes"].update(sha256="a"), "is none"),
        ("trust", lambda d: d["targets"].update({"trust/a/b": d["targets"]["trust/policy.yaml"]}), "no target"),
        ("registry", lambda d: d["delegations"]["succinct_roles"].update(name_prefix="b9"), "tell their count"),
        ("registry", lambda d: d["delegations"]["succinct_roles"].update(bit_length=20), "bins"),
        ("registry", lambda d: d.pop("delegations"), "must list the keys of bins"),
    ],
)
def test_an_edited_payload_is_refused(role: str, edit: Callable[[_Document], object], words: str) -> None:
    """What does not follow the contract's tree, or has two readings, is refused."""
    files = first_files()
    document = json.loads(files.payload(role, Change()))
    edit(document)
    with pytest.raises(CeremonyFault, match=words):
        check(role, canonical_bytes(document), files.newest[role], WINDOWS[role], NOW)


def test_what_expires_after_the_window_began_is_still_good_for_later_signers() -> None:
    """A key holder who signs weeks after the proposal meets the same rules."""
    files = first_files()
    payload = files.payload("trust", Change())
    check("trust", payload, files.newest["trust"], WINDOWS["trust"], NOW + timedelta(days=100))
    with pytest.raises(CeremonyFault, match="days from now"):
        check("trust", payload, files.newest["trust"], WINDOWS["trust"], NOW + timedelta(days=151))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b'{"_type":"root","_type":"root"}',
        b'{"_type": "root"}',
        b'{"a":1.0}',
        b'{"a":NaN}',
        b'{"a":"\\u0041"}',
        b'{"a":"\\ud800"}',
        b"\xff",
        b"[" * 100_000,
        b" " * 512_001,
    ],
)
def test_bytes_that_are_no_payload_are_refused(data: bytes) -> None:
    """Bytes that are no canonical JSON of metadata are refused with the one error."""
    for role in ("root", "trust"):
        with pytest.raises(CeremonyFault):
            parse_payload(role, data)


def test_keys_in_pem_form_pass_through_every_form() -> None:
    """ECDSA and RSA keys, whose PEM has line ends, survive payload, file and back."""
    keys = [
        SSlibKey.from_crypto(ec.generate_private_key(ec.SECP256R1()).public_key()),
        SSlibKey.from_crypto(ec.generate_private_key(ec.SECP384R1()).public_key()),
        SSlibKey.from_crypto(rsa.generate_private_key(65537, 2048).public_key()),
    ]
    files = first_files()
    change = Change(add=tuple(("root", key) for key in keys))
    payload = files.payload("root", change)
    check("root", payload, files.newest["root"], WINDOWS["root"], NOW)
    assert read_metadata(metadata_bytes(payload, []))[0] == payload


def test_a_key_is_known_in_every_form() -> None:
    """A key has the same fingerprint under another scheme; one of another curve than it says is unusable."""
    public = rsa.generate_private_key(65537, 2048).public_key()
    one, other = SSlibKey.from_crypto(public), SSlibKey.from_crypto(public, scheme="rsa-pkcs1v15-sha256")
    assert one.keyid != other.keyid
    assert fingerprint(one) == fingerprint(other)
    curve = SSlibKey.from_crypto(ec.generate_private_key(ec.SECP384R1()).public_key(), scheme="ecdsa-sha2-nistp256")
    for bad in (curve, SSlibKey("0" * 64, "ed25519", "ed25519", {"public": "zz"})):
        with pytest.raises(CeremonyFault, match="cannot be used"):
            check_key(bad)


def test_first_versions_need_all_their_roles() -> None:
    """A first root without keys for one of its roles is refused."""
    files = first_files()
    files.newest.clear()
    change = first_changes()["root"]
    without = Change(add=tuple(entry for entry in change.add if entry[0] != "snapshot"), thresholds={"root": 2})
    with pytest.raises(CeremonyFault, match="snapshot would need 1 signatures and has 0"):
        check("root", files.payload("root", without), None, WINDOWS["root"], NOW)
