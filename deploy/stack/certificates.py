"""An authority for one start of the real profile, and certificates of servers on this machine.

The authority's key is never written: it signs the certificates of this start and is forgotten, so that nobody can make
another one with it later. Everything is made with the `cryptography` library.
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deploy.processes import write_private
from shared.clock import Clock

LIFETIME = datetime.timedelta(days=30)
"""How long a start's certificates hold; the next start makes new ones."""

_LEEWAY = datetime.timedelta(minutes=5)
"""How much the clock of a client may be behind."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files of one start: the authority for clients to trust, and a server's certificate with its key (mode 0600)."""

    authority: Path
    certificate: Path
    key: Path


def make_certificates(folder: Path, clock: Clock) -> Certificates:
    """Make an authority and a certificate for 127.0.0.1 and localhost, in place of what is there.

    Args:
        folder: made when absent.
    """
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    now = clock.now()
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _authority(authority_key, now)
    server = _server(server_key, authority, authority_key, now)
    found = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    key = server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(found.key, key.decode("ascii"))
    for path, certificate in ((found.certificate, server), (found.authority, authority)):
        write_private(path, certificate.public_bytes(Encoding.PEM).decode("ascii"))
        path.chmod(0o644)
    return found


def _authority(key: ec.EllipticCurvePrivateKey, now: datetime.datetime) -> x509.Certificate:
    name = _name("Countermark, authority of one start")
    usage = _usage(signs=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        _builder(name, name, key, now)
        # It signs servers and no further authorities.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )


def _server(
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
) -> x509.Certificate:
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    issued_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return (
        _builder(_name("localhost"), authority.subject, key, now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        # Python refuses chains without these two from 3.13 on.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(issued_by, critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _LEEWAY)
        .not_valid_after(now + LIFETIME)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
