"""Provenance objects are read strictly, and no more of them than a real one has. Contract python-index section 4.1."""

from __future__ import annotations

import json
from typing import Any

import pytest

from countermark.core.attestations.provenance import MAX_BYTES, read_attestation, read_provenance
from countermark.core.attestations.results import Failed, Step

ATTESTATION = {
    "version": 1,
    "verification_material": {"certificate": "QUFB", "transparency_entries": [{}]},
    "envelope": {"statement": "e30=", "signature": "QUFB"},
}
PUBLISHER = {"kind": "GitHub"}


def of(*attestations: Any, bundles: int = 1, **more: Any) -> bytes:
    """Return an object."""
    bundle = {"publisher": PUBLISHER, "attestations": list(attestations)} | more
    return json.dumps({"version": 1, "attestation_bundles": [bundle] * bundles}).encode()


def test_good() -> None:
    """Each attestation comes with the publisher of its bundle, and is decoded apart from the others."""
    [claimed] = read_provenance(of(ATTESTATION))
    assert claimed.publisher == PUBLISHER
    found = read_attestation(claimed.document)
    assert (found.certificate, found.statement, found.signature) == (b"AAA", b"{}", b"AAA")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"version": 1}',
        b'{"version": 1, "attestation_bundles": []}',
        b'{"version": 1, "version": 1, "attestation_bundles": []}',
        of(),
        of(ATTESTATION).replace(b'{"version": 1', b'{"version": true', 1),
        of(ATTESTATION).replace(b'{"version": 1', b'{"version": 1.0', 1),
        of(ATTESTATION).replace(b'{"version": 1', b'{"version": 2', 1),
        of(ATTESTATION).replace(b'{"version": 1', b'{"more": 1, "version": 1', 1),
        of(ATTESTATION, publisher=None),
        of(ATTESTATION, publisher={"kind": None}),
        of(ATTESTATION, extra=1),
        of(*[ATTESTATION] * 17),
        of(ATTESTATION, bundles=17),
        of(*[ATTESTATION] * 9, bundles=2),
        of(ATTESTATION)[:-10],
        b"[" * 100_000,
        of(ATTESTATION) + b" " * MAX_BYTES,
        b"\xff" + of(ATTESTATION),
        of([[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]),
        b"x" * (10 << 20),
    ],
)
def test_bad_objects(body: bytes) -> None:
    """Anything else is refused as a whole, as its structure."""
    with pytest.raises(Failed) as failed:
        read_provenance(body)
    assert failed.value.step is Step.STRUCTURE
    assert len(failed.value.detail) <= 300


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["version"], 2),
        (["envelope"], None),
        (["envelope", "statement"], "e30"),
        (["envelope", "statement"], "e30=\n"),
        (["envelope", "statement"], "e31="),
        (["envelope", "statement"], ""),
        (["envelope", "statement"], "A" * 200_000),
        (["envelope", "signature"], 7),
        (["envelope", "payloadType"], "text/plain"),
        (["verification_material", "certificate"], "A" * 30_000),
        (["verification_material", "transparency_entries"], []),
        (["verification_material", "transparency_entries"], [{}, {}]),
        (["verification_material", "transparency_entries"], [7]),
        (["verification_material", "transparency_entries"], [{"inclusionProof": {"hashes": ["AAAA"] * 65}}]),
        (["verification_material", "transparency_entries"], [{"inclusionProof": {"hashes": 7}}]),
    ],
)
def test_bad_attestations(path: list[str], value: Any) -> None:
    """Exactly the keys there are, base64 in its one form, one log entry, and everything bounded."""
    document = json.loads(json.dumps(ATTESTATION))
    holder = document
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    with pytest.raises(Failed) as failed:
        read_attestation(document)
    assert failed.value.step is Step.STRUCTURE
