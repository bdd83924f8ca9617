"""PEP 740 provenance objects, taken apart: bounded, strict, nothing believed yet. Pure.

Source: PEP 740, "Attestation objects" and "Provenance objects"; contract python-index section 4.1.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from countermark.core.attestations.results import Failed, Step
from countermark.core.strict_json import read_json

MAX_BYTES = 512 << 10
"""Bytes of a provenance object; real ones have some 10,000 for each attestation."""

EMPTY_OBJECT = b'{"version":1,"attestation_bundles":[]}'
"""What lies in a static tree in the place of an object that holds nothing; PEP 740 knows no such object."""

MAX_BUNDLES, MAX_ATTESTATIONS = 16, 16
"""Bundles of an object, and attestations of all of them: an index takes two of each uploader."""

MAX_STATEMENT = 64 << 10
MAX_SIGNATURE = 1 << 10
MAX_CERTIFICATE = 16 << 10
MAX_HASHES = 64
"""Hashes of an inclusion proof: a tree with 2^64 leaves has no more levels."""

_KEYS = {
    "provenance": frozenset(["version", "attestation_bundles"]),
    "bundle": frozenset(["publisher", "attestations"]),
    "attestation": frozenset(["version", "verification_material", "envelope"]),
    "verification material": frozenset(["certificate", "transparency_entries"]),
    "envelope": frozenset(["statement", "signature"]),
}


@dataclass(frozen=True, slots=True)
class Attestation:
    """An attestation, decoded.

    Attributes:
        certificate: DER.
        entry: of the transparency log, in protobuf's JSON.
        statement: the bytes that were signed, as the payload of a DSSE envelope.
        document: the attestation as it came.
    """

    certificate: bytes
    entry: Mapping[str, Any]
    statement: bytes
    signature: bytes
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Claimed:
    """An attestation that was not looked at yet, and whose it is said to be."""

    publisher: Mapping[str, Any]
    document: Any


def read_provenance(body: bytes) -> list[Claimed]:
    """Return the attestations that a provenance object holds, in its order.

    Raises:
        Failed: STRUCTURE; it is too large, is no such object, or holds none.
    """
    if len(body) > MAX_BYTES:
        raise _bad(f"it has more than {MAX_BYTES} bytes")
    try:
        document = read_json(body)
    except ValueError as error:
        raise _bad(f"it cannot be read: {error}") from error
    _version_1(_object(document, "provenance"), "provenance")
    found: list[Claimed] = []
    for bundle in _list(document["attestation_bundles"], "attestation_bundles", MAX_BUNDLES):
        _object(bundle, "bundle")
        publisher = bundle["publisher"]
        if not isinstance(publisher, dict) or not isinstance(publisher.get("kind"), str):
            raise _bad("a bundle does not say of what kind its publisher is")
        attestations = _list(bundle["attestations"], "attestations", MAX_ATTESTATIONS)
        found += [Claimed(publisher, attestation) for attestation in attestations]
    if len(found) > MAX_ATTESTATIONS:
        raise _bad(f"it holds more than {MAX_ATTESTATIONS} attestations")
    return found


def read_attestation(document: Any) -> Attestation:
    """Return an attestation, decoded.

    Exactly one log entry is taken: verifiers look at the first alone, and what is not looked at is not to be there.

    Raises:
        Failed: STRUCTURE.
    """
    _version_1(_object(document, "attestation"), "attestation")
    material = _object(document["verification_material"], "verification material")
    envelope = _object(document["envelope"], "envelope")
    [entry] = _list(material["transparency_entries"], "transparency_entries", 1)
    if not isinstance(entry, dict):
        raise _bad("a transparency entry is no object")
    proof = entry.get("inclusionProof")
    hashes = proof.get("hashes", []) if isinstance(proof, dict) else []
    if not isinstance(hashes, list) or len(hashes) > MAX_HASHES:
        raise _bad(f"an inclusion proof is not a list of up to {MAX_HASHES} hashes")
    return Attestation(
        decoded(material["certificate"], "certificate", MAX_CERTIFICATE),
        entry,
        decoded(envelope["statement"], "statement", MAX_STATEMENT),
        decoded(envelope["signature"], "signature", MAX_SIGNATURE),
        document,
    )


def _bad(detail: str) -> Failed:
    return Failed(Step.STRUCTURE, detail)


def _object(value: Any, what: str) -> Mapping[str, Any]:
    """Return an object that has exactly the keys it should have."""
    wanted = _KEYS[what]
    if not isinstance(value, dict):
        raise _bad(f"the {what} is no object")
    if value.keys() != wanted:
        odd = min(value.keys() ^ wanted)
        raise _bad(f"the {what} {'lacks' if odd in wanted else 'has an unknown key'} {odd[:60]!r}")
    return value


def _version_1(value: Mapping[str, Any], what: str) -> None:
    # Neither true nor 1.0, which are equal to it.
    if type(value["version"]) is not int or value["version"] != 1:
        raise _bad(f"the {what} is of a version that is not known here")


def _list(value: Any, what: str, most: int) -> list[Any]:
    if not isinstance(value, list) or not 1 <= len(value) <= most:
        raise _bad(f"{what} is not a list of 1 to {most}")
    return value


def decoded(value: Any, what: str, most: int) -> bytes:
    """Return base64 in its one canonical form, decoded.

    Raises:
        Failed: STRUCTURE.
    """
    if not isinstance(value, str) or len(value) > most * 4 // 3 + 4:
        raise _bad(f"the {what} is not a text of up to {most} bytes in base64")
    try:
        found = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _bad(f"the {what} is not base64") from error
    if not found or base64.b64encode(found).decode() != value:
        raise _bad(f"the {what} is empty, or not the base64 of anything")
    return found
