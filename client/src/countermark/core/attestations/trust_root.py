"""A Sigstore trust root, and whether it trusted whom it names at a given time. Imports sigstore.

sigstore-python verifies against every key and authority of a root whose time has begun and looks at no end, at no log's
name, and tries all keys when an id is not known. What it leaves out is here.
Source: trust contract sections 5.1 and 5.2 ("What it leaves to the caller").
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib import resources
from typing import Protocol
from urllib.parse import quote, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.x509 import Certificate, PrecertificateSignedCertificateTimestamps, load_der_x509_certificate
from cryptography.x509.certificate_transparency import SignedCertificateTimestamp
from sigstore._internal.trust import CertificateAuthority, CTKeyring, Key, Keyring, KeyringPurpose, RekorKeyring
from sigstore._internal.tuf import DEFAULT_TUF_URL
from sigstore.errors import VerificationError
from sigstore.models import TrustedRoot
from sigstore_models.trustroot import v1 as models

from countermark.core.attestations.results import Failed, Step
from countermark.core.attestations.stamps import StampAuthorities

MAX_ROOT_BYTES = 1 << 20
"""Bytes of a trust root; the public one has some 7,000."""


class BadRoot(ValueError):
    """A trust root cannot be used; the message is for whoever set it.

    Attributes:
        step: what cannot be verified without it.
    """

    def __init__(self, message: str, step: Step = Step.CERTIFICATE) -> None:
        self.step = step
        super().__init__(message)


_ISSUER = "the certificate's issuer when it signed"


class _Period(Protocol):
    start: datetime
    end: datetime | None


def public_root() -> bytes:
    """Return the trust root of the public instance, as the installed sigstore library brings it along."""
    # Not `ClientTrustConfig.production(offline=True)`: it reads a copy in the home folder, and does not check it.
    held = resources.files("sigstore") / "_store" / quote(DEFAULT_TUF_URL, safe="") / "trusted_root.json"
    return held.read_bytes()


class _KeptRoot(TrustedRoot):
    """One that reads its keys once, and for every question.

    sigstore reads them again at each, and leaves out those whose time has not begun yet: whether that of a key had
    begun, and not ended, when it was used is checked here.
    """

    def __init__(self, inner: models.TrustedRoot) -> None:
        super().__init__(inner)
        self._rekor = RekorKeyring(Keyring([log.public_key for log in inner.tlogs]))
        self._ct = CTKeyring(Keyring([log.public_key for log in inner.ctlogs]))
        self._stamp_authorities = super().get_timestamp_authorities()

    def rekor_keyring(self, purpose: KeyringPurpose) -> RekorKeyring:
        """Return the keys of transparency logs."""
        return self._rekor if purpose == KeyringPurpose.VERIFY else super().rekor_keyring(purpose)

    def ct_keyring(self, purpose: KeyringPurpose) -> CTKeyring:
        """Return the keys of CT logs."""
        return self._ct if purpose == KeyringPurpose.VERIFY else super().ct_keyring(purpose)

    def get_timestamp_authorities(self) -> list[CertificateAuthority]:
        """Return the time stamping authorities."""
        return self._stamp_authorities


class Root:
    """A trust root that was read."""

    def __init__(self, content: bytes) -> None:
        """Read a `TrustedRoot` document.

        Raises:
            BadRoot: it is none, or names no authority, no CT log or no transparency log.
        """
        self._document = read_document(content)
        try:
            self.sigstore = _KeptRoot(self._document)
            self._authorities = [(one.valid_for, _chain(one)) for one in self._document.certificate_authorities]
            self.stamp_authorities = StampAuthorities(self._document.timestamp_authorities)
        except Exception as error:
            # What it raises of a document is many things, and all mean that this is no root.
            raise BadRoot(f"it is no Sigstore trust root: {str(error)[:200]}") from error
        for what, there, step in (
            ("certificate authority", self._authorities, Step.CERTIFICATE),
            ("CT log", self._document.ctlogs, Step.CERTIFICATE),
            ("transparency log", self._document.tlogs, Step.LOG),
        ):
            if not there:
                raise BadRoot(f"it names no {what}", step)

    @property
    def certificates(self) -> list[Certificate]:
        """All certificates of its authorities."""
        return [certificate for _, chain in self._authorities for certificate in chain]

    def check_ct_log(self, certificate: Certificate) -> None:
        """Check that a certificate that verifies names a CT log of this root: then that log's key was the one.

        Raises:
            Failed: CERTIFICATE.
        """
        if not list(_logs(self._document.ctlogs, _stamp(certificate).log_id)):
            raise Failed(Step.CERTIFICATE, "the trust root does not know the certificate's CT log")

    def check_log(self, log_id: bytes, checkpoint: str, tree_size: int) -> None:
        """Check that this root has the transparency log that an entry names, and that a checkpoint is that log's: by
        its first line, by its key, and by the name beside the signature, which is no part of what is signed.

        sigstore tries all keys of a root where the id is not the hash of a key, as is the rule in logs of the second
        version; and it takes the size of the tree from the proof, though only the checkpoint's is signed: with another
        size the same hashes can prove another index.

        Args:
            checkpoint: a signed note whose signature by a key of this root is good (C2SP signed-note).
            tree_size: of the inclusion proof.

        Raises:
            Failed: LOG.
        """
        found = list(_logs(self._document.tlogs, log_id))
        if not found:
            raise Failed(Step.LOG, f"the trust root does not know the log {log_id.hex()[:64]}")
        # A log's name is its host, and in logs of the first version the number of its tree behind it.
        names, origin = {urlsplit(log.base_url).hostname for log in found}, checkpoint.partition("\n")[0]
        if origin.partition(" - ")[0] not in names:
            raise Failed(Step.LOG, f"its checkpoint is that of another log: {origin[:100]!r}")
        if _signer(checkpoint, log_id) != origin.partition(" - ")[0]:
            raise Failed(Step.LOG, "its checkpoint is signed in another log's name")
        if checkpoint.split("\n", 2)[1] != str(tree_size):
            raise Failed(Step.LOG, "its proof is of a tree of another size than its checkpoint")
        if not any(_signed(checkpoint, log_id, log) for log in found):
            raise Failed(Step.LOG, "its checkpoint is signed with another log's key")

    def check_windows(self, certificate: Certificate, log_id: bytes, at: int) -> None:
        """Check that issuer, CT log and transparency log of a signature were trusted when they did their part.

        Args:
            certificate: one that was found good in all other respects, as was the log.
            at: when the log took the signature in, in seconds since 1970.

        Raises:
            Failed: WINDOWS.
        """
        signed = datetime.fromtimestamp(at, UTC)
        if not self._trusted_issuer(certificate, signed):
            raise Failed(Step.WINDOWS, f"the trust root did not trust {_ISSUER}")
        self.check_log_windows(certificate, log_id, [signed])

    def check_authority(self, certificate: Certificate, times: Sequence[datetime]) -> None:
        """Check that this root trusted who issued a certificate at all times at which it is proven to have signed.

        Raises:
            Failed: CERTIFICATE.
        """
        if not all(self._trusted_issuer(certificate, time) for time in times):
            raise Failed(Step.CERTIFICATE, f"the trust root did not trust {_ISSUER}")

    def check_log_windows(self, certificate: Certificate, log_id: bytes, times: Sequence[datetime]) -> None:
        """Check that this root trusted the CT log when it saw a certificate, and the log when it took a signature in.

        Args:
            times: when the latter was.

        Raises:
            Failed: WINDOWS.
        """
        stamp = _stamp(certificate)
        ct_logs = [log.public_key.valid_for for log in _logs(self._document.ctlogs, stamp.log_id)]
        if not _within(ct_logs, stamp.timestamp.replace(tzinfo=UTC)):
            raise Failed(Step.WINDOWS, "the trust root did not trust the CT log when it saw the certificate")
        self.check_log_window(log_id, times)

    def has_log(self, log_id: bytes) -> bool:
        """Return whether this root knows a transparency log."""
        return any(True for _ in _logs(self._document.tlogs, log_id))

    def check_log_window(self, log_id: bytes, times: Sequence[datetime]) -> None:
        """Check that this root trusted a transparency log at some times.

        Raises:
            Failed: WINDOWS.
        """
        logs = [log.public_key.valid_for for log in _logs(self._document.tlogs, log_id)]
        if not all(_within(logs, time) for time in times):
            raise Failed(Step.WINDOWS, "the trust root did not trust the log when it took this in")

    def _trusted_issuer(self, certificate: Certificate, at: datetime) -> bool:
        named = [
            (period, issuers)
            for period, chain in self._authorities
            if (issuers := [one for one in chain if one.subject == certificate.issuer])
        ]
        if named and all(_within([period], at) for period, _ in named):
            # One of them did, since the certificate is good: which one is not worth a signature's check.
            return True
        return any(
            _within([period], at) and any(_issued(one, certificate) for one in issuers) for period, issuers in named
        )


def read_document(content: bytes) -> models.TrustedRoot:
    """Read a `TrustedRoot` document, whatever it names.

    Raises:
        BadRoot: it is none.
    """
    if len(content) > MAX_ROOT_BYTES:
        raise BadRoot(f"a trust root has at most {MAX_ROOT_BYTES} bytes")
    try:
        return models.TrustedRoot.from_json(content)
    except Exception as error:
        raise BadRoot(f"it is no Sigstore trust root: {str(error)[:200]}") from error


def _stamp(certificate: Certificate) -> SignedCertificateTimestamp:
    """Return the one timestamp of the CT log that a certificate which verifies has."""
    stamps: list[SignedCertificateTimestamp] = list(
        certificate.extensions.get_extension_for_class(PrecertificateSignedCertificateTimestamps).value
    )
    return stamps[0]


def _chain(authority: models.CertificateAuthority) -> list[Certificate]:
    return [load_der_x509_certificate(one.raw_bytes) for one in authority.cert_chain.certificates]


def _logs(logs: Iterable[models.TransparencyLogInstance], log_id: bytes) -> Iterator[models.TransparencyLogInstance]:
    return (log for log in logs if log.log_id.key_id == log_id)


def _signature(checkpoint: str, log_id: bytes) -> tuple[str, bytes] | None:
    """Return name and signature of the first line by a log's key: the one that is verified; None without one."""
    for line in checkpoint.partition("\n\n")[2].split("\n"):
        match line.split(" "):
            case ["\u2014", name, text]:
                content = _base64(text)
                if content[:4] == log_id[:4]:
                    return name, content[4:]
    return None


def _signer(checkpoint: str, log_id: bytes) -> str | None:
    found = _signature(checkpoint, log_id)
    return None if found is None else found[0]


def _signed(checkpoint: str, log_id: bytes, log: models.TransparencyLogInstance) -> bool:
    """Return whether it was the key of this very log that signed, where a key of the root did."""
    if hashlib.sha256(log.public_key.raw_bytes or b"").digest() == log_id:
        # Then sigstore tried this key alone.
        return True
    found = _signature(checkpoint, log_id)
    if found is None:
        return False
    note = checkpoint.partition("\n\n")[0] + "\n"
    try:
        Key(log.public_key).verify(found[1], note.encode())
    except (InvalidSignature, VerificationError):
        return False
    return True


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except ValueError:
        return b""


def _within(periods: Iterable[_Period | None], at: datetime) -> bool:
    """Return whether a time lies in one of the periods, ends included; what has none is valid always."""
    return any(one is None or (one.start <= at and (one.end is None or at <= one.end)) for one in periods)


def _issued(issuer: Certificate, certificate: Certificate) -> bool:
    if certificate.issuer != issuer.subject:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True
