"""One bundle against one root. Imports sigstore.

Source: trust contract sections 5.2 and 6 (22, 24 to 26); ADR 0041.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509 import Certificate
from sigstore.errors import VerificationError
from sigstore.verify import Verifier

from countermark.core.attestations.bundle import SigstoreBundle
from countermark.core.attestations.certificates import Identity, read_identity
from countermark.core.attestations.dsse import check_signature, is_p256, pae
from countermark.core.attestations.entries import Entry, read_entry
from countermark.core.attestations.facts import RootKind
from countermark.core.attestations.own_authority import OwnAuthority
from countermark.core.attestations.results import Failed, Step
from countermark.core.attestations.roots import KnownRoot
from countermark.core.attestations.timed import Reached, TimedBundle
from countermark.core.attestations.trust_root import Root


@dataclass(frozen=True, slots=True)
class Signed:
    """A bundle with a certificate.

    Attributes:
        body: the bytes that it was read from.
    """

    bundle: SigstoreBundle
    body: bytes
    certificate: Certificate
    key: PublicKeyTypes

    def check_signature(self) -> None:
        """Check that the certificate's key signed it.

        Raises:
            Failed: SIGNATURE.
        """
        check_signature(self.key, self.bundle.signature, pae(self.bundle.payload_type, self.bundle.payload))


@dataclass(frozen=True, slots=True)
class Proven:
    """What one root, or a key, proves of a bundle.

    Attributes:
        root: its name.
        times: when it was signed, as far as that is proven.
        identity: whose the certificate is; None of keys.
        key: sha256 of a named key; None of certificates.
        entry: of the log; None without one.
    """

    root: str
    kind: RootKind
    times: Sequence[datetime]
    identity: Identity | None = None
    key: str | None = None
    entry: Entry | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """How a bundle fared against one root.

    Attributes:
        failure: why nothing is proven; None where it is.
        passed: the steps that did.
    """

    proven: Proven | None
    failure: Failed | None
    passed: tuple[Step, ...]


def attempt(known: KnownRoot, signed: Signed) -> Attempt:
    """Verify a bundle, its signature included, against a root that knows its certificate's issuer."""
    passed: list[Step] = []
    try:
        if known.refusal is not None:
            # A new one: an exception collects where it was raised.
            raise Failed(known.refusal.step, known.refusal.detail)
        if isinstance(known.root, OwnAuthority):
            return Attempt(_by_own_authority(known.name, known.root, signed, passed), None, tuple(passed))
        assert known.root is not None
        assert known.verifier is not None
        return Attempt(_by_sigstore(known.name, known.root, known.verifier, signed, passed), None, tuple(passed))
    except Failed as failure:
        return Attempt(None, failure, tuple(passed))
    except Exception as error:
        # Malformed material leads to errors of pydantic, cryptography and the standard library too; contract 4.2.
        return Attempt(None, Failed(Step.CERTIFICATE, f"it cannot be verified: {_said(error)}"), tuple(passed))


def _by_own_authority(name: str, root: OwnAuthority, signed: Signed, passed: list[Step]) -> Proven:
    if signed.bundle.entry is not None:
        # It would have to be verified: what is not looked at is not to be there.
        raise Failed(Step.LOG, "it has a log entry, and its trust root names no log")
    signed.check_signature()
    times = root.check(signed.certificate, signed.bundle.stamps, signed.bundle.signature)
    identity = read_identity(signed.certificate)
    passed.append(Step.CERTIFICATE)
    return Proven(name, RootKind.CA, times, identity)


def _by_sigstore(name: str, root: Root, verifier: Verifier, signed: Signed, passed: list[Step]) -> Proven:
    """Have sigstore verify all that is signed, then what it leaves to its callers.

    Raises:
        Failed: STRUCTURE, CERTIFICATE, LOG or WINDOWS.
    """
    if not is_p256(signed.key):
        raise Failed(Step.SIGNATURE, "the certificate's key is not of the curve P-256")
    entry, bundle = read_entry(signed.bundle), _timed(signed)
    error = _verify(verifier, bundle, reached := Reached(), signed.bundle)
    if not reached.reached or not bundle.times:
        # It establishes the times first, then it looks at chain and SCT, then at the log.
        raise Failed(Step.CERTIFICATE if bundle.times else Step.LOG, error or "nothing was verified")
    # The same, and its extensions were read already.
    certificate = bundle.signing_certificate
    root.check_ct_log(certificate)
    root.check_authority(certificate, bundle.times)
    identity = read_identity(certificate)
    passed.append(Step.CERTIFICATE)
    if error is not None:
        raise Failed(Step.LOG, error)
    inner = bundle.log_entry._inner  # noqa: SLF001 - no public way to what was verified
    assert inner.inclusion_proof is not None
    assert inner.inclusion_proof.checkpoint is not None
    log_id, checkpoint = inner.log_id.key_id, inner.inclusion_proof.checkpoint.envelope
    root.check_log(log_id, checkpoint, inner.inclusion_proof.tree_size)
    passed.append(Step.LOG)
    root.check_log_windows(certificate, log_id, bundle.times)
    passed.append(Step.WINDOWS)
    return Proven(name, RootKind.SIGSTORE, bundle.times, identity, entry=entry)


def _timed(signed: Signed) -> TimedBundle:
    try:
        bundle = TimedBundle.from_json(signed.body)
    except VerificationError as error:
        # All that it verifies of a bundle when it reads one.
        raise Failed(Step.LOG, f"a time stamp cannot be read: {_said(error)}") from error
    except Exception as error:
        raise Failed(Step.STRUCTURE, f"certificate or log entry cannot be read: {_said(error)}") from error
    assert isinstance(bundle, TimedBundle)
    return bundle


def _verify(verifier: Verifier, bundle: TimedBundle, reached: Reached, asked: SigstoreBundle) -> str | None:
    """Have sigstore verify a bundle; returns why it does not.

    Raises:
        Failed: WINDOWS; the certificate did not hold.
    """
    try:
        found = verifier.verify_dsse(bundle, reached)
    except Failed:
        raise
    except Exception as error:
        # Malformed material leads to errors of pydantic, cryptography and the standard library too; contract 4.2.
        return _said(error)
    return None if found == (asked.payload_type, asked.payload) else "something else was verified than was asked for"


def _said(error: Exception) -> str:
    return " ".join(str(part) for part in error.args) if error.args else type(error).__name__
