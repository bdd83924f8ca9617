"""Whatever is changed of an attestation, it does not verify, and is never more than a report."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from countermark.core.attestations.results import document_of
from countermark.core.attestations.trust_root import Root
from countermark.core.attestations.verifying import ProvenanceVerifier
from countermark.core.digest import sha256_of
from tests.support.changing import Path, paths
from tests.support.changing import changed as change
from tests.support.sigstore.instance import Instance, provenance

NAME, CONTENT = "thing-1.0-py3-none-any.whl", b"a wheel"
UNPROVEN = {"environment", "claims"}
"""What may be different and is told: no certificate names an environment, and no claims are none."""


@cache
def made() -> tuple[ProvenanceVerifier, Any, tuple[Path, ...]]:
    """Return a verifier, an object that it takes, and where something can be changed in that."""
    instance = Instance()
    document = json.loads(provenance(instance.attest(NAME, CONTENT)))
    places = tuple(path for path in paths(document) if path[-1] not in UNPROVEN)
    return ProvenanceVerifier(Root(instance.trusted_root())), document, places


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_nothing_that_was_changed_verifies(data: st.DataObject) -> None:
    """One bit, one value or one key less, anywhere: a report that says no, and no other error."""
    verifier, good, places = made()
    changed = change(data, good, places)
    report = verifier.verify(json.dumps(changed).encode(), NAME, sha256_of(CONTENT))
    assert report.verified == (json.dumps(changed) == json.dumps(good))
    assert json.loads(json.dumps(document_of(report)))["verified"] == report.verified


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_bytes(body: bytes) -> None:
    """Anything at all is read, and refused."""
    assert not made()[0].verify(body, NAME, sha256_of(CONTENT)).verified
