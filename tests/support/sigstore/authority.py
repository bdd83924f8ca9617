"""A certificate authority with Fulcio's extensions, and the CT log that sees its certificates.

Source: RFC 6962 sections 3.2 and 3.3; Fulcio's certificate specification and list of object identifiers; trust contract
section 5.3 (a).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.sigstore.keys import BEGAN, LogKey, b64, period, spki
from tests.support.sigstore.naming import holder, said

_FULCIO, _SCT_LIST = "1.3.6.1.4.1.57264.1", x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


@dataclass(slots=True)
class Authority:
    """Issues certificates for ten minutes; its names say that it is a test's.

    Attributes:
        scts: how many timestamps of the CT log a certificate holds; verifiers want one.
        of: whose it is, in its names.
    """

    log: LogKey
    scts: int = 1
    of: str = ""
    end: datetime | None = None
    root_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP384R1()))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP384R1()))
    root: x509.Certificate = field(init=False)
    intermediate: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        """Make its own certificates."""
        root, intermediate = common_name(f"{self.of}root"), common_name(f"{self.of}intermediate")
        self.root = certificate_of_authority(root, self.root_key, root, self.root_key, 1)
        self.intermediate = certificate_of_authority(intermediate, self.key, root, self.root_key, 0)

    def listed(self) -> dict[str, Any]:
        """Return its part of a trust root."""
        chain = [{"rawBytes": b64(one.public_bytes(Encoding.DER))} for one in (self.intermediate, self.root)]
        subject = {"organization": "test", "commonName": "test"}
        return {
            "subject": subject,
            "uri": "https://fulcio.test",
            "certChain": {"certificates": chain},
            "validFor": period(self.end),
        }

    def issue(self, public: ec.EllipticCurvePublicKey, claims: Mapping[str, Any], at: int) -> x509.Certificate:
        """Return a certificate for whom the claims of a token name.

        Args:
            at: when it begins to hold, in seconds since 1970.
        """
        began, serial = datetime.fromtimestamp(at, UTC), x509.random_serial_number()
        builder = (
            x509.CertificateBuilder(serial_number=serial)
            .subject_name(x509.Name([]))
            .issuer_name(self.intermediate.subject)
            .public_key(public)
            .not_valid_before(began)
            .not_valid_after(began + timedelta(minutes=10))
            .add_extension(usage("digital_signature"), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .add_extension(x509.SubjectAlternativeName([holder(claims)]), critical=True)
        )
        for number, value in said(claims).items():
            # Up to 6 the text itself, from 8 on a UTF8String.
            content = value.encode() if number < 7 else _der(0x0C, value.encode())
            oid = x509.ObjectIdentifier(f"{_FULCIO}.{number}")
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, content), critical=False)
        if self.scts:
            before = builder.sign(self.key, hashes.SHA384())
            stamps = b"".join(self._stamp(before.tbs_certificate_bytes, at * 1000 + n) for n in range(self.scts))
            stamps = _der(0x04, struct.pack(">H", len(stamps)) + stamps)
            builder = builder.add_extension(x509.UnrecognizedExtension(_SCT_LIST, stamps), critical=False)
        return builder.sign(self.key, hashes.SHA384())

    def _stamp(self, tbs: bytes, milliseconds: int) -> bytes:
        """Return the CT log's timestamp of a certificate, with its length in front."""
        issuer = hashlib.sha256(spki(self.key)).digest()
        when = struct.pack(">Q", milliseconds)
        signed = b"\0\0" + when + b"\0\1" + issuer + len(tbs).to_bytes(3, "big") + tbs + b"\0\0"
        signature = self.log.sign(signed)
        # Version, log, time, no extensions, sha256, ecdsa.
        stamp = b"\0" + self.log.id + when + b"\0\0" + b"\4\3" + struct.pack(">H", len(signature)) + signature
        return struct.pack(">H", len(stamp)) + stamp


def certificate_of_authority(
    name: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    below: int,
) -> x509.Certificate:
    """Return the certificate of an authority that may have `below` levels of others under it."""
    public = key.public_key()
    builder = (
        x509.CertificateBuilder(serial_number=x509.random_serial_number())
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(public)
        .not_valid_before(BEGAN)
        .not_valid_after(BEGAN + timedelta(days=7300))
        .add_extension(x509.BasicConstraints(ca=True, path_length=below), critical=True)
        .add_extension(usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not below:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
    return builder.sign(issuer_key, hashes.SHA384())


def common_name(common: str) -> x509.Name:
    """Return a name that says that it is a test's."""
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "test")
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def usage(*names: str) -> x509.KeyUsage:
    """Return the key usage with these names."""
    return x509.KeyUsage(**{one: one in names for one in _USAGES})


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content
