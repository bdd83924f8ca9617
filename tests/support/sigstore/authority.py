"""A certificate authority with Fulcio's extensions, and the CT log that sees its certificates.

Source: RFC 6962 sections 3.2 and 3.3; Fulcio's certificate specification and list of object identifiers; trust contract
section 5.3 (a).
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BEGAN = datetime(2020, 1, 1, tzinfo=UTC)
"""When all that an instance consists of began to be trusted."""

_FULCIO, _SCT_LIST = "1.3.6.1.4.1.57264.1", x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a key on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the public half, as DER."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def period(end: datetime | None = None) -> dict[str, str]:
    """Return a time in which something is trusted, in protobuf's JSON."""
    bounds = {"start": BEGAN} if end is None else {"start": BEGAN, "end": end}
    return {name: at.strftime("%Y-%m-%dT%H:%M:%SZ") for name, at in bounds.items()}


@dataclass(slots=True)
class LogKey:
    """The key of a log, CT or transparency, as a trust root lists it."""

    url: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    end: datetime | None = None

    @property
    def id(self) -> bytes:
        """The log's id."""
        return hashlib.sha256(spki(self.key)).digest()

    def sign(self, data: bytes) -> bytes:
        """Sign."""
        return self.key.sign(data, ec.ECDSA(hashes.SHA256()))

    def listed(self) -> dict[str, Any]:
        """Return its part of a trust root."""
        public = {"rawBytes": _b64(spki(self.key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256"}
        return {
            "baseUrl": self.url,
            "hashAlgorithm": "SHA2_256",
            "publicKey": public | {"validFor": period(self.end)},
            "logId": {"keyId": _b64(self.id)},
        }


@dataclass(slots=True)
class Authority:
    """Issues certificates for ten minutes; its names say that it is a test's.

    Attributes:
        scts: how many timestamps of the CT log a certificate holds; verifiers want one.
    """

    log: LogKey
    scts: int = 1
    end: datetime | None = None
    root_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP384R1()))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP384R1()))
    root: x509.Certificate = field(init=False)
    intermediate: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        """Make its own certificates."""
        self.root = _authority(_name("root"), self.root_key, _name("root"), self.root_key, 1)
        self.intermediate = _authority(_name("intermediate"), self.key, _name("root"), self.root_key, 0)

    def listed(self) -> dict[str, Any]:
        """Return its part of a trust root."""
        chain = [{"rawBytes": _b64(one.public_bytes(Encoding.DER))} for one in (self.intermediate, self.root)]
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
            .add_extension(_usage("digital_signature"), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .add_extension(x509.SubjectAlternativeName([_who(claims)]), critical=True)
        )
        for number, value in _said(claims).items():
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


def _said(claims: Mapping[str, Any]) -> dict[int, str]:
    """Return what a certificate says of the build: number of the extension -> value."""
    found = {1: claims["iss"], 8: claims["iss"]}
    if "repository" not in claims:
        return found
    host = _host(claims)
    owner = claims["repository"].split("/")[0]
    return found | {
        9: f"{host}/{claims['job_workflow_ref']}",
        10: claims["sha"],
        11: claims["runner_environment"],
        12: f"{host}/{claims['repository']}",
        13: claims["sha"],
        14: claims["ref"],
        15: claims["repository_id"],
        16: f"{host}/{owner}",
        17: claims["repository_owner_id"],
        18: f"{host}/{claims['workflow_ref']}",
        19: claims["sha"],
        20: claims["event_name"],
        21: f"{host}/{claims['repository']}/actions/runs/1/attempts/1",
        22: claims["repository_visibility"],
    }


def _host(claims: Mapping[str, Any]) -> str:
    return "https://gitlab.com" if "gitlab" in claims["iss"] else "https://github.com"


def _who(claims: Mapping[str, Any]) -> x509.GeneralName:
    if "email" in claims:
        return x509.RFC822Name(claims["email"])
    return x509.UniformResourceIdentifier(f"{_host(claims)}/{claims['job_workflow_ref']}")


def _authority(
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
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not below:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
    return builder.sign(issuer_key, hashes.SHA384())


def _name(common: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "test")
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(*names: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in names for usage in _USAGES})


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
