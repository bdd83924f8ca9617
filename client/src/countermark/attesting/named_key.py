"""Attestations signed with a key of one's own: DSSE in a Sigstore bundle with the key's hint, or with its certificate.

Who holds the key is for a policy to say, which names it, or for an organisation's own authority, which issued the
certificate. Without a log, only a time stamp tells when it signed.
Source: trust contract sections 2.4 (keys), 4 (DSSE) and 5.1; sigstore/protobuf-specs, `PublicKeyIdentifier` and
`X509Certificate`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509 import Certificate, load_pem_x509_certificates
from securesystemslib.signer import Signer

from countermark.attesting.faults import AttestFailed
from countermark.core.attestations.dsse import pae
from countermark.core.attestations.keyed import bundle_of_key, hint_of
from countermark.core.attestations.statement import PAYLOAD_TYPE
from countermark.core.ceremony.keys import fingerprint
from countermark.core.errors import LocalState
from countermark.core.signing.access import KeyAccess, asked_once
from countermark.core.signing.loading import load_signer
from countermark.core.signing.making import find_key

_SCHEMES = ("ed25519", "ecdsa-sha2-nistp256")
"""Of the keys that every verifier of ours takes."""

_MAX_CERTIFICATES = 64 * 1024
"""Bytes of a file with a certificate and those above it."""

Stamp = Callable[[bytes], bytes]
"""Returns a time stamp of a signature."""


@dataclass(frozen=True, slots=True)
class NamedKey:
    """A key that signs attestations.

    Attributes:
        public: DER of its SubjectPublicKeyInfo.
        stamp: has signatures stamped; None: when it signed will be nobody's to prove.
        certificate: of it, which then stands in bundles instead of the key's hint.
    """

    signer: Signer
    public: bytes
    stamp: Stamp | None = None
    certificate: Certificate | None = None

    @property
    def hint(self) -> str:
        """What bundles call it: the sha256 of its public half."""
        return hint_of(self.public)

    @property
    def pem(self) -> bytes:
        """Its public half, as a policy names it."""
        return load_der_public_key(self.public).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, payload: bytes) -> bytes:
        """Return a bundle of a statement.

        Raises:
            KeyUnusable: the key does not sign.
            AttestFailed: there is no stamp.
        """
        # What it signed was verified with its public half before it came here.
        signature = bytes.fromhex(self.signer.sign(pae(PAYLOAD_TYPE, payload)).signature)
        stamps = [] if self.stamp is None else [self.stamp(signature)]
        issued = None if self.certificate is None else self.certificate.public_bytes(Encoding.DER)
        return bundle_of_key(payload, self.public, signature, stamps, issued)


def read_certificate(path: Path) -> Certificate:
    """Return the certificate in a PEM file, the first of a chain: what issued it stands in trust roots.

    Raises:
        LocalState: the file cannot be read.
        AttestFailed: it holds none.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_CERTIFICATES)
        return load_pem_x509_certificates(content)[0]
    except OSError as error:
        raise LocalState(f"cannot read {path}: {error.strerror or error}", "Check --certificate.") from error
    except ValueError as error:
        raise AttestFailed(f"{path} holds no certificate", "It is in PEM, the key's own first.") from error


def open_key(
    uri: str, access: KeyAccess, stamp: Stamp | None = None, certificate: Certificate | None = None
) -> NamedKey:
    """Return the key of a URI, after it has shown that it signs.

    Raises:
        KeyUnusable: it cannot be used.
        AttestFailed: it is of a kind that no attestation is signed with, or the certificate is another key's.
    """
    # The key's id is not known before it was opened: one passphrase or PIN, one question.
    access = KeyAccess(access.folder, asked_once(access.secret), access.environ, access.module, access.after_wrong_pin)
    found = find_key(uri, access)
    if found.key.scheme not in _SCHEMES:
        raise AttestFailed(f"a key of the kind {found.key.scheme} signs no attestations", "Take Ed25519 or P-256.")
    opened = NamedKey(load_signer(found.uri, found.key, access), fingerprint(found.key), stamp, certificate)
    if certificate is not None and _public(certificate) != opened.public:
        raise AttestFailed("the certificate is of another key", "Name the one that was issued for this key.")
    return opened


def _public(certificate: Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
