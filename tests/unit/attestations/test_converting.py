"""Attestation objects of PEP 740 become bundles and back, and verify as both."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pypi_attestations import Attestation

from countermark.core.attestations.bundle import read_bundle
from countermark.core.attestations.converting import bundle_of_pep740, pep740_of
from countermark.core.attestations.results import Failed, Step
from countermark.core.attestations.trust_root import Root
from countermark.core.attestations.verifying import ProvenanceVerifier
from tests.support.sigstore.instance import Instance, pep740, provenance
from tests.unit.attestations.bundles import NAME, SHA, check, payload, signed


@pytest.fixture(scope="module")
def instance() -> Instance:
    """An instance."""
    return Instance()


def test_there_and_back(instance: Instance) -> None:
    """An object becomes a bundle that verifies, always in the same bytes, and the same object again."""
    document = pep740(signed(instance))
    body = bundle_of_pep740(document)
    assert body == bundle_of_pep740(json.loads(json.dumps(dict(reversed(document.items())))))
    assert check(instance, body).failure is None
    assert pep740_of(read_bundle(body)) == document


def test_an_object_of_a_bundle(instance: Instance) -> None:
    """What is made of a bundle verifies here, and is one for the library that clients use."""
    document = pep740_of(read_bundle(json.dumps(signed(instance, stamped=True)).encode()))
    assert document is not None
    root = Root(instance.trusted_root())
    assert ProvenanceVerifier(root).verify(provenance(document), NAME, SHA).verified
    assert Attestation.model_validate(document).to_bundle().signing_certificate


def test_what_has_no_object(instance: Instance) -> None:
    """Objects have no place for stamps, so nothing of the second log; nor for keys, nor for what is in no log."""
    unpromised = signed(instance, stamped=True)
    del unpromised["verificationMaterial"]["tlogEntries"][0]["inclusionPromise"]
    for made in (
        signed(instance, log="v2"),
        signed(instance, log="none", authority=instance.company),
        instance.sign_with_key(payload(), instance.log.key.key, log="v1"),
        unpromised,
        signed(instance, payload_type="text/plain"),
    ):
        assert pep740_of(read_bundle(json.dumps(made).encode())) is None


def test_no_objects() -> None:
    """What is no attestation object is told so."""
    documents: list[Any] = [None, [], {}, {"version": 1, "verification_material": {}, "envelope": {}}]
    for document in documents:
        with pytest.raises(Failed) as caught:
            bundle_of_pep740(document)
        assert caught.value.step == Step.STRUCTURE
