"""The instance's services as sigstore clients call them: certificates, both logs, time stamps.

They check what the real ones check: who holds a token, that a key is held, that a signature is good.
Source: Fulcio `POST /api/v2/signingCert`; Rekor v1 `POST /api/v1/log/entries`; rekor-tiles `POST /api/v2/log/entries`;
RFC 3161 section 3.4; trust contract section 5.3 (a).
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key, load_pem_public_key
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.sigstore.answering import Refused, body_of, document_of
from tests.support.sigstore.authority import Authority
from tests.support.sigstore.instance import Instance, encoded, pem
from tests.support.sigstore.log import from_b64
from tests.support.sigstore.log_v2 import verifier
from tests.support.sigstore.naming import Nameless
from tests.support.sigstore.stamps import BadRequest
from tests.support.sigstore.tokens import BadToken

Holder = x509.Certificate | ec.EllipticCurvePublicKey
"""Whose signature it is."""


@dataclass(frozen=True, slots=True)
class Services:
    """The endpoints below `/api`.

    Attributes:
        authority: who issues: the instance's own, or its company's.
    """

    instance: Instance
    authority: Authority

    def routes(self) -> list[Route]:
        """Return them."""
        return [
            Route("/api/v2/signingCert", self._certify, methods=["POST"]),
            Route("/api/v2/trustBundle", self._chains),
            Route("/api/v1/log/entries", self._log, methods=["POST"]),
            Route("/api/v2/log/entries", self._log_v2, methods=["POST"]),
            Route("/api/v1/timestamp", self._stamp, methods=["POST"]),
        ]

    async def _certify(self, request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        now = int(time.time())
        try:
            claims = self.instance.provider.claims(token if scheme.lower() == "bearer" else "", now)
        except BadToken as error:
            raise Refused(f"the identity token is not believed: {error}", 401) from error
        key = _requested(await document_of(request))
        try:
            issued = self.authority.issue(key, claims, now)
        except (Nameless, KeyError) as error:
            raise Refused(f"the identity token has not the claims of its kind: {error}") from error
        chain = [_text(one) for one in (issued, self.authority.intermediate, self.authority.root)]
        which = "signedCertificateEmbeddedSct" if self.authority.scts else "signedCertificateDetachedSct"
        return JSONResponse({which: {"chain": {"certificates": chain}}}, 201)

    async def _chains(self, _request: Request) -> Response:
        chain = [_text(one) for one in (self.authority.intermediate, self.authority.root)]
        return JSONResponse({"chains": [{"certificates": chain}]})

    async def _log(self, request: Request) -> Response:
        proposed, now = await document_of(request), int(time.time())
        try:
            if proposed["kind"] == "dsse":
                entry = self._envelope(proposed["spec"]["proposedContent"], now)
            elif proposed["kind"] == "hashedrekord":
                entry = self._hash(proposed["spec"], now)
            else:
                raise Refused("this log takes entries of the kinds dsse and hashedrekord")
        except (KeyError, TypeError, ValueError) as error:
            raise Refused(f"the entry cannot be read: {error}") from error
        # The id of the tree, then that of the leaf.
        uuid = f"{1:016x}" + hashlib.sha256(b"\0" + from_b64(entry["canonicalizedBody"])).hexdigest()
        return JSONResponse({uuid: _as_first_version(entry)}, 201)

    def _envelope(self, proposed: dict[str, Any], now: int) -> dict[str, Any]:
        [held], text = proposed["verifiers"], proposed["envelope"]
        envelope, by = json.loads(text), _holder_of_pem(from_b64(held))
        signed = encoded(from_b64(envelope["payload"]), envelope["payloadType"])
        for one in envelope["signatures"]:
            _check(by, from_b64(one["sig"]), hashlib.sha256(signed).digest())
        return self.instance.log.add_dsse_text(text, pem(by), now)

    def _hash(self, spec: dict[str, Any], now: int) -> dict[str, Any]:
        digest, signature = spec["data"]["hash"], from_b64(spec["signature"]["content"])
        if digest["algorithm"] != "sha256":
            raise Refused("this log takes hashes by sha256")
        by, value = _holder_of_pem(from_b64(spec["signature"]["publicKey"]["content"])), bytes.fromhex(digest["value"])
        _check(by, signature, value)
        return self.instance.log.add_hash(value, signature, pem(by), now)

    async def _log_v2(self, request: Request) -> Response:
        proposed = await document_of(request)
        try:
            asked = proposed["hashedRekordRequestV002"]
            digest, signature = from_b64(asked["digest"]), from_b64(asked["signature"]["content"])
            by = _holder(asked["signature"]["verifier"])
        except (KeyError, TypeError, ValueError) as error:
            raise Refused(f"the entry is no hashedrekord 0.0.2: {error}") from error
        _check(by, signature, digest)
        return JSONResponse(self.instance.log_v2.add(digest, signature, verifier(by)), 201)

    async def _stamp(self, request: Request) -> Response:
        try:
            stamp = self.instance.stamps.answer(await body_of(request), int(time.time()))
        except BadRequest as error:
            raise Refused(str(error)) from error
        return Response(stamp, 201, media_type="application/timestamp-reply")


def _requested(document: dict[str, Any]) -> ec.EllipticCurvePublicKey:
    """Return the key of a signing request; the signature on it proves that it is held.

    Raises:
        Refused: it is none.
    """
    try:
        request = x509.load_pem_x509_csr(from_b64(document["certificateSigningRequest"]))
    except (KeyError, TypeError, ValueError) as error:
        raise Refused("there is no certificateSigningRequest in base64 of PEM") from error
    key = request.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not request.is_signature_valid:
        raise Refused("the signing request is not for an elliptic curve key, or is not signed with it")
    return key


def _holder_of_pem(held: bytes) -> Holder:
    if b"CERTIFICATE" in held:
        return x509.load_pem_x509_certificate(held)
    return _elliptic(load_pem_public_key(held))


def _holder(named: dict[str, Any]) -> Holder:
    if "x509Certificate" in named:
        return x509.load_der_x509_certificate(from_b64(named["x509Certificate"]["rawBytes"]))
    return _elliptic(load_der_public_key(from_b64(named["publicKey"]["rawBytes"])))


def _elliptic(key: object) -> ec.EllipticCurvePublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise Refused("this log takes keys on elliptic curves")
    return key


def _check(by: Holder, signature: bytes, digest: bytes) -> None:
    """Check a signature over a sha256.

    Raises:
        Refused: it is not good.
    """
    key = _elliptic(by.public_key()) if isinstance(by, x509.Certificate) else by
    try:
        key.verify(signature, digest, ec.ECDSA(Prehashed(hashes.SHA256())))
    except (InvalidSignature, ValueError) as error:
        raise Refused("the signature is not one of this key over this hash") from error


def _as_first_version(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry as the first version's interface has it: hexadecimal and numbers."""
    proof = entry["inclusionProof"]
    return {
        "body": entry["canonicalizedBody"],
        "integratedTime": int(entry["integratedTime"]),
        "logID": from_b64(entry["logId"]["keyId"]).hex(),
        "logIndex": int(entry["logIndex"]),
        "verification": {
            "signedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
            "inclusionProof": {
                "logIndex": int(proof["logIndex"]),
                "treeSize": int(proof["treeSize"]),
                "rootHash": from_b64(proof["rootHash"]).hex(),
                "hashes": [from_b64(one).hex() for one in proof["hashes"]],
                "checkpoint": proof["checkpoint"]["envelope"],
            },
        },
    }


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
