"""Bundles are taken apart strictly: what two readers could read differently, or is too large, is none."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from countermark.core.attestations.bundle import MAX_BUNDLE_BYTES, V0_1, V0_2, V0_3, SigstoreBundle, read_bundle
from countermark.core.attestations.results import Failed, Step
from tests.support.sigstore.instance import IN_TOTO, Instance
from tests.unit.attestations.bundles import ENTRY, STAMPS, payload, replaced, signed

MATERIAL, ENVELOPE = ["verificationMaterial"], ["dsseEnvelope"]


@pytest.fixture(scope="module")
def made() -> str:
    """A bundle with a log entry and a stamp, as text."""
    return json.dumps(signed(Instance(), log="v2"))


def read(document: Any) -> SigstoreBundle:
    """Read a bundle."""
    return read_bundle(document if isinstance(document, bytes) else json.dumps(document).encode())


def refused(document: Any) -> str:
    """Return why a bundle is none."""
    with pytest.raises(Failed) as caught:
        read(document)
    assert caught.value.step == Step.STRUCTURE
    return caught.value.detail


def test_read(made: str) -> None:
    """A bundle is decoded, and kept as it came."""
    bundle = read(json.loads(made))
    assert (bundle.media_type, bundle.payload_type, bundle.payload) == (V0_3, IN_TOTO, payload())
    assert bundle.document == json.loads(made)
    assert bundle.certificate is not None
    assert bundle.key_hint is None
    assert len(bundle.stamps) == 1
    assert bundle.entry is not None


def test_a_key() -> None:
    """A bundle of a key has a hint, which may be empty, and no certificate."""
    instance = Instance()
    made = instance.sign_with_key(payload(), instance.log.key.key, hint="release")
    assert (read(made).key_hint, read(made).certificate, read(made).entry) == ("release", None, None)
    assert read(replaced(made, [*MATERIAL, "publicKey"], {})).key_hint == ""


@pytest.mark.parametrize("kind", [V0_1, V0_2])
def test_old_media_types(made: str, kind: str) -> None:
    """Old bundles hold a chain of certificates, of which the first is the signer's; the new ones hold that alone."""
    document = json.loads(made) | {"mediaType": kind}
    assert "certificate" in refused(document)
    leaf = document["verificationMaterial"].pop("certificate")
    document["verificationMaterial"]["x509CertificateChain"] = {"certificates": [leaf, leaf]}
    assert base64.b64encode(read(document).certificate or b"").decode() == leaf["rawBytes"]
    assert "x509CertificateChain" in refused(document | {"mediaType": V0_3})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["mediaType"], "application/json"),
        (["mediaType"], None),
        (["mediaType"], 3),
        (["mediaType"], []),
        (["dsse_envelope"], {}),
        (MATERIAL, None),
        (MATERIAL, []),
        ([*MATERIAL, "certificate"], None),
        ([*MATERIAL, "certificate"], {"rawBytes": ""}),
        ([*MATERIAL, "certificate"], {"raw_bytes": "AA=="}),
        ([*MATERIAL, "publicKey"], {"hint": "x"}),
        ([*MATERIAL, "more"], 1),
        ([*MATERIAL, "tlogEntries"], {}),
        ([*ENTRY, "log_index"], "3"),
        ([*ENTRY, "canonicalizedBody"], None),
        ([*ENTRY, "canonicalizedBody"], "A" * 200_000),
        ([*ENTRY, "inclusionProof", "hashes"], [""] * 65),
        ([*ENTRY, "inclusionProof", "root"], ""),
        (STAMPS, [{}]),
        (STAMPS, [{"signedTimestamp": "A"}]),
        (STAMPS, [{"signedTimestamp": "AAAA"}] * 2),
        (STAMPS, [{"signedTimestamp": "AAAA"}] * 33),
        (STAMPS, [{"signedTimestamp": "A" * 60_000}]),
        (ENVELOPE, None),
        ([*ENVELOPE, "payload"], ""),
        ([*ENVELOPE, "payload"], "eyJ9"[:-1]),
        ([*ENVELOPE, "payload"], "e y J 9"),
        ([*ENVELOPE, "payload"], "____"),
        ([*ENVELOPE, "payloadType"], ""),
        ([*ENVELOPE, "payloadType"], "x" * 300),
        ([*ENVELOPE, "signatures"], []),
        ([*ENVELOPE, "signatures"], [{"sig": "AAAA"}] * 2),
        ([*ENVELOPE, "signatures"], [{"sig": "AAAA", "keyid": 1}]),
        ([*ENVELOPE, "signatures"], [{"sig": "AAAA", "cert": "x"}]),
    ],
)
def test_no_bundles(made: str, path: list[Any], value: Any) -> None:
    """A part that is missing, unknown, too much, too large, or not in the one form of base64."""
    refused(replaced(json.loads(made), path, value))


def test_two_log_entries(made: str) -> None:
    """One entry at most: verifiers look at the first alone."""
    document = json.loads(made)
    document["verificationMaterial"]["tlogEntries"] *= 2
    assert "tlogEntries" in refused(document)


def test_signatures_of_files(made: str) -> None:
    """A bundle over a file's bytes states nothing, and is told so."""
    document = json.loads(made)
    del document["dsseEnvelope"]
    assert "not a statement" in refused(document | {"messageSignature": {"signature": "AAAA"}})


def test_what_is_no_json(made: str) -> None:
    """Truncated at any place, a key twice, or no JSON: no bundle."""
    body = made.encode()
    for end in range(0, len(body), 97):
        refused(body[:end])
    refused(body.replace(b'{"mediaType"', b'{"mediaType": "x", "mediaType"', 1))
    refused(b"\xff" + body)
    refused(b"[" * 100_000)


def test_too_large(made: str) -> None:
    """Ten megabytes are refused before they are read: what they hold, which is no JSON, is not told."""
    with pytest.raises(Failed, match=f"more than {MAX_BUNDLE_BYTES} bytes"):
        read_bundle(b"{" * 10_000_000)
    assert read(made.encode() + b" " * (MAX_BUNDLE_BYTES - len(made))).payload_type == IN_TOTO
