"""Changes: asked for in JSON, applied to a shared file and to nothing else in it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from countermark.core.ceremony.changes import Change, build, parse_change
from countermark.core.ceremony.faults import CeremonyFault
from countermark.core.ceremony.keys import key_document
from countermark.core.ceremony.payload import canonical_payload, read_published
from tests.support.ceremonies import NOW, first_files, signer

YEAR = timedelta(days=365)


def test_a_renewal_changes_version_and_expiry_alone() -> None:
    """An empty change leaves everything of a file as it was but its version and its expiry."""
    for role, content in first_files().newest.items():
        current = read_published(role, content)
        before = canonical_payload(current)
        renewed = build(role, current, Change(), NOW + timedelta(days=9), YEAR).to_dict()
        assert renewed.pop("version") == 2
        assert renewed.pop("expires") == "2027-12-05T12:00:00Z"
        old = json.loads(before)
        assert renewed == {name: value for name, value in old.items() if name not in {"version", "expires"}}
        assert canonical_payload(current) == before


def test_keys_come_and_go() -> None:
    """A key that is added is listed last, one that is removed is nowhere in the file any more."""
    current = read_published("root", first_files().newest["root"])
    gone, new = signer("root", 0).public_key, signer("root", 7).public_key
    change = Change(add=(("root", new),), remove=(("root", gone.keyid),), thresholds={"root": 3})
    changed = build("root", current, change, NOW, YEAR).to_dict()
    kept = [signer("root", number).public_key.keyid for number in (1, 2)]
    assert changed["roles"]["root"] == {"keyids": [*kept, new.keyid], "threshold": 3}
    assert new.keyid in changed["keys"]
    assert gone.keyid not in json.dumps(changed)


def test_bins_get_new_names_with_their_count() -> None:
    """Another count of bins gives them names that were never used, and keeps their key."""
    current = read_published("registry", first_files().newest["registry"])
    changed = build("registry", current, Change(bins=10), NOW, YEAR).to_dict()["delegations"]
    assert changed["succinct_roles"] == {
        "bit_length": 10,
        "keyids": [signer("bins").public_key.keyid],
        "name_prefix": "b10",
        "threshold": 1,
    }


def test_a_change_is_the_same_after_its_json() -> None:
    """The JSON form of a change reads back as the same change."""
    change = Change(
        add=(("trust", signer("trust", 5).public_key),),
        remove=(("trust", signer("trust").public_key.keyid),),
        thresholds={"trust": 2},
    )
    for each in (change, Change(), Change(bins=9), Change(targets={"trust/a": b"\0"}, untargets=("trust/b",))):
        assert parse_change(json.loads(json.dumps(each.to_document()))) == each


@pytest.mark.parametrize(
    ("role", "change", "words"),
    [
        ("root", Change(add=(("trust", signer("x").public_key),)), "does not list the keys of 'trust'"),
        ("root", Change(add=(("root", signer("root").public_key),)), "already"),
        ("root", Change(remove=(("root", "ab" * 32),)), "has no key"),
        ("root", Change(thresholds={"root": 0}), "one signature at the least"),
        ("root", Change(bins=8), "no hash bins"),
        ("registry", Change(bins=15), "power of two of 1 to 14"),
        ("targets", Change(targets={"trust/a": b""}), "propose it for trust"),
        ("trust", Change(targets={"pointers/a/b.pointer": b""}), "signs no target"),
        ("trust", Change(targets={"trust/../a": b""}), "signs no target"),
        ("trust", Change(untargets=("trust/none",)), "no target trust/none"),
        ("snapshot", Change(), "no role that is signed in a ceremony"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(role: str, change: Change, words: str) -> None:
    """What the file of a role cannot say is refused in words."""
    content = first_files().newest.get(role)
    current = None if content is None else read_published(role, content)
    with pytest.raises(CeremonyFault, match=words):
        build(role, current, change, NOW, YEAR)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "a change is an object"),
        ({"paths": []}, "no other fields"),
        ({"bins": True}, "whole number"),
        ({"add": {}}, "a list"),
        ({"add": [{"role": "root"}]}, "role and key"),
        ({"thresholds": {"root": "2"}}, "whole number"),
        ({"targets": {"trust/a": "?"}}, "no base64"),
        ({"untargets": [1]}, "short text"),
        ({"untargets": ["trust/a"] * 65}, "at most 64"),
        ({"add": [{"role": "root", "key": key_document(signer("a").public_key) | {"keyid": "0" * 64}}]}, "hash"),
        ({"add": [{"role": "root", "key": key_document(signer("a").public_key) | {"holder": "A"}}]}, "no others"),
    ],
)
def test_json_that_is_no_change_is_refused(document: Any, words: str) -> None:
    """A field that is unknown, of another type or too long is refused, and so is a key under another id."""
    with pytest.raises(CeremonyFault, match=words):
        parse_change(document)
