"""A time stamp authority, and its stamps.

Source: RFC 3161; RFC 5035 (signing-certificate-v2); RFC 5652 (CMS); trust contract section 5.3 (a).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from asn1crypto import algos, cms, core, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.support.sigstore.authority import certificate_of_authority, common_name, usage
from tests.support.sigstore.keys import BEGAN, b64, new_key, period

_POLICY = "1.3.6.1.4.1.57264.2"
"""The policy that Sigstore's authority names too."""

_SHA256 = {"algorithm": "sha256"}


class BadRequest(ValueError):
    """A request for a stamp cannot be answered."""


@dataclass(slots=True)
class StampAuthority:
    """Signs what it was shown, and when; its names say that it is a test's."""

    end: datetime | None = None
    root_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP384R1()))
    key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    root: x509.Certificate = field(init=False)
    certificate: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        """Make its own certificates."""
        name = common_name("stamps root")
        self.root = certificate_of_authority(name, self.root_key, name, self.root_key, 1)
        public = self.key.public_key()
        self.certificate = (
            x509.CertificateBuilder(serial_number=x509.random_serial_number())
            .subject_name(common_name("stamps"))
            .issuer_name(name)
            .public_key(public)
            .not_valid_before(BEGAN)
            .not_valid_after(BEGAN + timedelta(days=7200))
            .add_extension(usage("digital_signature"), critical=True)
            # Critical and alone: RFC 3161, 2.3.
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.root_key.public_key()), critical=False
            )
            .sign(self.root_key, hashes.SHA384())
        )

    def listed(self) -> dict[str, Any]:
        """Return its part of a trust root."""
        chain = [{"rawBytes": b64(one.public_bytes(Encoding.DER))} for one in (self.certificate, self.root)]
        return {
            "subject": {"organization": "test", "commonName": "stamps"},
            "uri": "https://stamps.test",
            "certChain": {"certificates": chain},
            "validFor": period(self.end),
        }

    def stamp(self, message: bytes, at: int) -> bytes:
        """Return a stamp of a message, as the response in DER.

        Args:
            at: seconds since 1970.
        """
        imprint = {"hash_algorithm": _SHA256, "hashed_message": hashlib.sha256(message).digest()}
        return self._response(tsp.MessageImprint(imprint), at, None)

    def answer(self, request: bytes, at: int) -> bytes:
        """Return the response to a request, both in DER.

        Raises:
            BadRequest: it is none, or its hash is none that is taken here.
        """
        try:
            asked = tsp.TimeStampReq.load(request, strict=True)
            imprint, nonce = asked["message_imprint"], asked["nonce"].native
            algorithm, hashed = imprint["hash_algorithm"]["algorithm"].native, imprint["hashed_message"].native
        except (ValueError, TypeError, KeyError) as error:
            raise BadRequest("the body is no RFC 3161 request") from error
        if algorithm not in ("sha256", "sha384", "sha512") or len(hashed) != hashlib.new(algorithm).digest_size:
            raise BadRequest("stamps are for hashes by sha256, sha384 or sha512")
        return self._response(imprint, at, nonce)

    def _response(self, imprint: Any, at: int, nonce: int | None) -> bytes:
        info = {
            "version": "v1",
            "policy": _POLICY,
            "message_imprint": imprint,
            "serial_number": x509.random_serial_number(),
            "gen_time": datetime.fromtimestamp(at, UTC),
            "accuracy": {"seconds": 1},
        }
        content = tsp.TSTInfo(info if nonce is None else info | {"nonce": nonce})
        token = cms.ContentInfo({"content_type": "signed_data", "content": self._signed(content.dump(), at)})
        response = tsp.TimeStampResp({"status": {"status": "granted"}, "time_stamp_token": token})
        return bytes(response.dump())

    def _signed(self, content: bytes, at: int) -> Any:
        held = asn1_x509.Certificate.load(self.certificate.public_bytes(Encoding.DER))
        identity = {"cert_hash": hashlib.sha256(held.dump()).digest()}
        attributes = cms.CMSAttributes(
            [
                _attribute("content_type", "tst_info"),
                _attribute("signing_time", cms.Time({"utc_time": datetime.fromtimestamp(at, UTC)})),
                _attribute("message_digest", hashlib.sha256(content).digest()),
                _attribute("signing_certificate_v2", tsp.SigningCertificateV2({"certs": [identity]})),
            ]
        )
        signer = cms.SignerInfo(
            {
                "version": "v1",
                "sid": cms.SignerIdentifier(
                    {
                        "issuer_and_serial_number": cms.IssuerAndSerialNumber(
                            {"issuer": held.issuer, "serial_number": held.serial_number}
                        )
                    }
                ),
                "digest_algorithm": algos.DigestAlgorithm(_SHA256),
                "signed_attrs": attributes,
                "signature_algorithm": algos.SignedDigestAlgorithm({"algorithm": "sha256_ecdsa"}),
                # Signed as the SET that they are, not under the tag that they have in here: RFC 5652, 5.4.
                "signature": self.key.sign(attributes.dump(), ec.ECDSA(hashes.SHA256())),
            }
        )
        return cms.SignedData(
            {
                "version": "v3",
                "digest_algorithms": [_SHA256],
                "encap_content_info": {"content_type": "tst_info", "content": core.ParsableOctetString(content)},
                "certificates": [held],
                "signer_infos": [signer],
            }
        )


def _attribute(kind: str, value: object) -> Any:
    return cms.CMSAttribute({"type": kind, "values": [value]})
