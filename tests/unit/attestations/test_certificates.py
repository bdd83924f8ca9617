"""Whose a certificate is, is read strictly: one name, texts of one meaning, extensions that agree."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from countermark.core.attestations.certificates import read_identity
from countermark.core.attestations.facts import EXTENSIONS, SanType
from countermark.core.attestations.results import Failed, Step
from tests.support.sigstore.keys import new_key

URI = x509.UniformResourceIdentifier("https://ci.example/acme/thing")
KEY = new_key()


def text(value: bytes) -> bytes:
    """Return a UTF8String."""
    return bytes([0x0C, len(value)]) + value


def certificate(*names: x509.GeneralName, **extensions: bytes) -> x509.Certificate:
    """Return a certificate with names and extensions, `_8` for 57264.1.8."""
    name, began = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")]), datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, KEY.public_key(), 1, began, began + timedelta(minutes=10))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    for number, value in extensions.items():
        oid = x509.ObjectIdentifier(EXTENSIONS + number.removeprefix("_"))
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
    return builder.sign(KEY, SHA256())


@pytest.mark.parametrize(
    ("name", "san", "kind"),
    [
        (URI, "https://ci.example/acme/thing", SanType.URI),
        (x509.RFC822Name("a@acme.test"), "a@acme.test", SanType.EMAIL),
        (x509.OtherName(x509.ObjectIdentifier(EXTENSIONS + "7"), text(b"robot!acme")), "robot!acme", SanType.OTHER),
        (x509.DNSName("acme.test"), "acme.test", SanType.OTHER),
    ],
)
def test_names(name: x509.GeneralName, san: str, kind: SanType) -> None:
    """A name comes with its kind: an address and a URI of the same text are two identities."""
    found = read_identity(certificate(name))
    assert (found.san, found.san_type, found.issuer, found.claims) == (san, kind, None, {})


def test_claims() -> None:
    """The first six are bare texts, the others UTF8Strings, long ones as well."""
    found = read_identity(
        certificate(URI, _1=b"https://idp", _8=text(b"https://idp"), _12=b"\x0c\x81\x80" + b"x" * 128)
    )
    assert found.issuer == "https://idp"
    assert found.claims == {
        EXTENSIONS + "1": "https://idp",
        EXTENSIONS + "8": "https://idp",
        EXTENSIONS + "12": "x" * 128,
    }
    assert read_identity(certificate(URI, _1=b"https://old")).issuer == "https://old"


@pytest.mark.parametrize(
    "made",
    [
        certificate(),
        certificate(URI, x509.RFC822Name("a@acme.test")),
        certificate(URI, _1=b"https://idp", _8=text(b"https://idp/")),
        certificate(URI, _8=b"https://idp"),
        certificate(URI, _8=b""),
        certificate(URI, _8=b"\x0c\x05abc"),
        certificate(URI, _8=text(b"abc") + b"d"),
        certificate(URI, _8=b"\x0c\x81\x03abc"),
        certificate(URI, _8=b"\x0c\x82\x00\x90" + b"x" * 0x90),
        certificate(URI, _8=b"\x0c\x80abc"),
        certificate(URI, _8=text(b"\xff")),
        certificate(URI, _5=b"\xff"),
        certificate(URI, _12=text("https://github.com/acme/\u202ex".encode())),
        certificate(URI, _12=text(b"a\nb")),
        certificate(x509.OtherName(x509.ObjectIdentifier(EXTENSIONS + "7"), b"\x16\x01a")),
    ],
)
def test_nobodys(made: x509.Certificate) -> None:
    """No name, two names, issuers that differ, other encodings than the one of DER, what cannot be printed."""
    with pytest.raises(Failed) as caught:
        read_identity(made)
    assert caught.value.step == Step.CERTIFICATE
