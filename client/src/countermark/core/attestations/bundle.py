"""Sigstore bundles with a DSSE envelope, taken apart: bounded, strict, nothing believed yet. Pure.

Strict where protobuf's JSON is lax: names in camel case alone, no key that is not known, base64 in its one form. A
bundle that two readers could read differently is none.
Source: trust contract sections 4 (DSSE) and 5.1; sigstore/protobuf-specs, `sigstore_bundle.proto`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from countermark.core.attestations.provenance import (
    MAX_CERTIFICATE,
    MAX_HASHES,
    MAX_SIGNATURE,
    decoded,
)
from countermark.core.attestations.results import Failed, Step
from countermark.core.strict_json import read_json

MAX_BUNDLE_BYTES = 1 << 20
"""Bytes of a bundle; real ones have some 10,000, and rarely a tenth of this."""

MAX_PAYLOAD = 512 << 10
MAX_CHAIN = 8
"""Certificates of an old bundle; only the first is looked at."""

MAX_STAMPS, MAX_STAMP = 32, 32 << 10
"""Time stamps, as many as sigstore takes, and bytes of one: some 1,500 with its certificate."""

MAX_BODY = 64 << 10
"""Bytes of what a log holds of an entry."""

V0_1 = "application/vnd.dev.sigstore.bundle+json;version=0.1"
V0_2 = "application/vnd.dev.sigstore.bundle+json;version=0.2"
V0_3 = "application/vnd.dev.sigstore.bundle.v0.3+json"

_WITH_CHAIN = frozenset([V0_1, V0_2])
_WITH_LEAF = frozenset([V0_3, "application/vnd.dev.sigstore.bundle+json;version=0.3"])

_CERTIFICATE, _CHAIN, _KEY = "certificate", "x509CertificateChain", "publicKey"
_ENTRY_KEYS = frozenset(
    [
        *("logIndex", "logId", "kindVersion", "integratedTime", "inclusionPromise", "inclusionProof"),
        "canonicalizedBody",
    ]
)
_PROOF_KEYS = frozenset(["logIndex", "rootHash", "treeSize", "hashes", "checkpoint"])


@dataclass(frozen=True, slots=True)
class SigstoreBundle:
    """A bundle, decoded.

    Attributes:
        payload: the bytes that were signed, as the payload of a DSSE envelope of `payload_type`.
        certificate: DER of the signer's certificate; None where a key signed.
        key_hint: what the bundle says of the key that signed, which may be an empty text; None with a certificate.
        entry: of the transparency log, in protobuf's JSON; None where there is none.
        stamps: RFC 3161 time stamps, DER.
        document: the bundle as it came.
    """

    media_type: str
    payload_type: str
    payload: bytes
    signature: bytes
    certificate: bytes | None
    key_hint: str | None
    entry: Mapping[str, Any] | None
    stamps: tuple[bytes, ...]
    document: Mapping[str, Any]


def read_bundle(body: bytes) -> SigstoreBundle:
    """Return a bundle, decoded.

    Exactly one signature is taken and at most one log entry: verifiers look at no more, and what is not looked at is
    not to be there.

    Args:
        body: of any length.

    Raises:
        Failed: STRUCTURE; it is too large, is no such bundle, or is one of another kind.
    """
    if len(body) > MAX_BUNDLE_BYTES:
        raise _bad(f"it has more than {MAX_BUNDLE_BYTES} bytes")
    try:
        document = read_json(body)
    except ValueError as error:
        raise _bad(f"it cannot be read: {error}") from error
    if isinstance(document, dict) and "messageSignature" in document:
        raise _bad("it holds the signature of a file, not a statement in a DSSE envelope")
    _object(document, "bundle", {"mediaType", "verificationMaterial", "dsseEnvelope"})
    kind = document["mediaType"]
    if not isinstance(kind, str) or kind not in _WITH_CHAIN | _WITH_LEAF:
        raise _bad(f"its media type is that of no bundle that is known here: {str(kind)[:100]!r}")
    payload_type, payload, signature = _envelope(document["dsseEnvelope"])
    material = _object(
        document["verificationMaterial"],
        "verificationMaterial",
        frozenset(),
        {_CERTIFICATE, _CHAIN, _KEY, "tlogEntries", "timestampVerificationData"},
    )
    certificate, hint = _signer(material, kind)
    return SigstoreBundle(
        kind, payload_type, payload, signature, certificate, hint, _entry(material), _stamps(material), document
    )


def _envelope(value: Any) -> tuple[str, bytes, bytes]:
    """Return payload type, payload and signature of an envelope."""
    envelope = _object(value, "dsseEnvelope", {"payload", "payloadType", "signatures"})
    kind = envelope["payloadType"]
    if not isinstance(kind, str) or not 0 < len(kind) <= 200:
        raise _bad("its payload has no type")
    payload = decoded(envelope["payload"], "payload", MAX_PAYLOAD)
    [signed] = _list(envelope["signatures"], "signatures", 1, 1)
    signature = _object(signed, "signature", {"sig"}, {"keyid"})
    # Nothing is done with it, and it is signed by nobody.
    if not isinstance(signature.get("keyid", ""), str):
        raise _bad("the signature's keyid is no text")
    return kind, payload, decoded(signature["sig"], "signature", MAX_SIGNATURE)


def _signer(material: Mapping[str, Any], media_type: str) -> tuple[bytes | None, str | None]:
    """Return the signer's certificate, or the hint of the key that signed."""
    named = material.keys() & {_CERTIFICATE, _CHAIN, _KEY}
    if len(named) != 1:
        raise _bad("it names not exactly one signer: a certificate, a chain of them, or a key")
    [kind] = named
    if kind == _KEY:
        hint = _object(material[_KEY], _KEY, frozenset(), {"hint"}).get("hint", "")
        if not isinstance(hint, str) or len(hint) > 200:
            raise _bad("the hint of its key is not a text of up to 200 characters")
        return None, hint
    if (kind == _CHAIN) != (media_type in _WITH_CHAIN):
        raise _bad(f"bundles of its media type have no {kind}")
    if kind == _CERTIFICATE:
        leaf = material[_CERTIFICATE]
    else:
        leaf, *_ = _list(_object(material[_CHAIN], _CHAIN, {"certificates"})["certificates"], _CHAIN, 1, MAX_CHAIN)
    return decoded(_object(leaf, "certificate", {"rawBytes"})["rawBytes"], "certificate", MAX_CERTIFICATE), None


def _entry(material: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the one log entry, if there is one."""
    entries = _list(material.get("tlogEntries", []), "tlogEntries", 0, 1)
    if not entries:
        return None
    entry = _object(entries[0], "log entry", {"logId", "kindVersion", "canonicalizedBody"}, _ENTRY_KEYS)
    decoded(entry["canonicalizedBody"], "canonicalizedBody", MAX_BODY)
    if entry.get("inclusionProof") is not None:
        proof = _object(entry["inclusionProof"], "inclusion proof", frozenset(), _PROOF_KEYS)
        _list(proof.get("hashes", []), "hashes of an inclusion proof", 0, MAX_HASHES)
    return entry


def _stamps(material: Mapping[str, Any]) -> tuple[bytes, ...]:
    data = material.get("timestampVerificationData")
    if data is None:
        return ()
    listed = _object(data, "timestampVerificationData", frozenset(), {"rfc3161Timestamps"}).get("rfc3161Timestamps", [])
    stamps = [
        decoded(_object(one, "time stamp", {"signedTimestamp"})["signedTimestamp"], "time stamp", MAX_STAMP)
        for one in _list(listed, "rfc3161Timestamps", 0, MAX_STAMPS)
    ]
    if len(set(stamps)) != len(stamps):
        raise _bad("it holds a time stamp twice")
    return tuple(stamps)


def _bad(detail: str) -> Failed:
    return Failed(Step.STRUCTURE, detail)


def _object(
    value: Any, what: str, needed: set[str] | frozenset[str], more: set[str] | frozenset[str] = frozenset()
) -> Mapping[str, Any]:
    """Return an object that has all the keys it needs, and none that it cannot have."""
    if not isinstance(value, dict):
        raise _bad(f"the {what} is no object")
    if missing := needed - value.keys():
        raise _bad(f"the {what} lacks {min(missing)!r}")
    if unknown := value.keys() - needed - more:
        raise _bad(f"the {what} has an unknown key {min(unknown)[:60]!r}")
    return value


def _list(value: Any, what: str, least: int, most: int) -> list[Any]:
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise _bad(f"{what} is not a list of {least} to {most}")
    return value
