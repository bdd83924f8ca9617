"""Documents of ceremonies: read strictly, since they come by mail, memory stick and from a server."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from countermark.core.ceremony.changes import Change
from countermark.core.ceremony.documents import (
    PublicKeyFile,
    SignatureFile,
    SigningEvent,
    Submitted,
    parse_event,
    parse_public_key_file,
    parse_signature_file,
    to_bytes,
)
from countermark.core.ceremony.faults import CeremonyFault
from tests.support.ceremonies import NOW, first_files, signer


def _event() -> SigningEvent:
    files = first_files()
    payload = files.payload("root", Change())
    made = signer("root").sign(payload)
    return SigningEvent(
        id="e-1",
        role="root",
        version=2,
        payload=payload,
        previous=files.newest["root"],
        delegator=files.newest["root"],
        reason="yearly",
        proposed_by="ada",
        proposed_at=NOW,
        expires_at=NOW + timedelta(days=14),
        state="open",
        signatures=(Submitted(made, "bob", NOW),),
        missing={"old": 1, "new": 1},
        holders={made.keyid: "Bob"},
    )


def test_documents_are_the_same_after_their_bytes() -> None:
    """Event, signature file and public key file read back as what was written."""
    event = _event()
    assert parse_event(to_bytes(event)) == event
    assert parse_event(event.to_document()) == event
    first = replace(event, previous=None, delegator=None, missing={}, holders={}, signatures=())
    assert parse_event(to_bytes(first)) == first
    signatures = SignatureFile("e-1", event.payload_sha256, (event.signatures[0].signature,))
    assert parse_signature_file(to_bytes(signatures)) == signatures
    key = PublicKeyFile("Ada", signer("root").public_key)
    assert parse_public_key_file(to_bytes(key)) == key


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda d: d.update(type="countermark/signature/v1"), "no document of type"),
        (lambda d: d.update(note=1), "unknown field 'note'"),
        (lambda d: d.pop("reason"), "lacks 'reason'"),
        (lambda d: d.update(role="snapshot"), "no role"),
        (lambda d: d.update(payload_sha256="0" * 64), "does not have the sha256"),
        (lambda d: d.update(payload="?"), "no base64"),
        (lambda d: d.update(version=3), "not of the version"),
        (lambda d: d.update(role="trust"), "no targets metadata"),
        (lambda d: d.update(state="done"), "state"),
        (lambda d: d.update(id="../1"), "another form"),
        (lambda d: d.update(reason="x" * 2001), "at most 2000"),
        (lambda d: d.update(expires_at="2026-11-26T00:00:00"), "without its zone"),
        (lambda d: d.update(expires_at="soon"), "no time"),
        (lambda d: d.update(missing={"all": 1}), "counts old and new"),
        (lambda d: d.update(missing={"old": -1}), "whole numbers"),
        (lambda d: d.update(signatures={}), "a list"),
        (lambda d: d["signatures"][0].update(sig="XY"), "another form"),
        (lambda d: d["signatures"][0].update(note=1), "keyid, sig, submitted_by"),
    ],
)
def test_an_event_of_another_form_is_refused(edit: Callable[[dict[str, Any]], object], words: str) -> None:
    """Fields that are unknown, missing, of another form or that contradict the payload are refused."""
    document = _event().to_document()
    edit(document)
    with pytest.raises(CeremonyFault, match=words):
        parse_event(json.dumps(document).encode())


def test_files_of_another_form_are_refused() -> None:
    """A key twice, a file too long, a signature file without signatures and a foreign key id are refused."""
    with pytest.raises(CeremonyFault, match="twice"):
        parse_event(b'{"type": "a", "type": "b"}')
    with pytest.raises(CeremonyFault, match="longer"):
        parse_event(b" " * 1_000_001)
    empty = SignatureFile("e-1", _event().payload_sha256, ())
    with pytest.raises(CeremonyFault, match="holds no signature"):
        parse_signature_file(to_bytes(empty))
    fields = PublicKeyFile("", signer("a").public_key).to_document() | {"keyid": signer("b").public_key.keyid}
    with pytest.raises(CeremonyFault, match="not the hash"):
        parse_public_key_file(json.dumps(fields).encode())
