"""One bundle against one root. Imports sigstore.

Source: trust contract sections 5.2 and 6 (22, 24 to 26); ADR 0041.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509 import Certificate
from sigstore.verify import Verifier

from countermark.core.attestations.bundle import SigstoreBundle
from countermark.core.attestations.certificates import Identity, read_identity
from countermark.core.attestations.dsse import is_p256
from countermark.core.attestations.entries import Entry, read_entry
from countermark.core.attestations.facts import RootKind
from countermark.core.attestations.own_authority import OwnAuthority
from countermark.core.attestations.results import Failed, Step
from countermark.core.attestations.roots import KnownRoot
from countermark.core.attestations.timed import Reached, TimedBundle
from countermark.core.attestations.trust_root import Root


@dataclass(frozen=True, slots=True)
class Signed:
    """A bundle whose certificate's key is known to have signed it.

    Attributes:
        body: the bytes that it was read from.
    """

    bundle: SigstoreBundle
    body: bytes
    certificate: Certificate
    key: PublicKeyTypes


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
    """Verify a bundle against a root that knows its certificate's issuer."""
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


def _by_own_authority(name: str, root: OwnAuthority, signed: Signed, passed: list[Step]) -> Proven:
    if signed.bundle.entry is not None:
        # It would have to be verified: what is not looked at is not to be there.
        raise Failed(Step.LOG, "it has a log entry, and its trust root names no log")
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
    entry, bundle = read_entry(signed.bundle), _timed(signed.body)
    reached = Reached()
    try:
        kind, payload = verifier.verify_dsse(bundle, reached)
    except Failed:
        raise
    except Exception as error:
        # Malformed material leads to errors of pydantic, cryptography and the standard library too; contract 4.2.
        raise Failed(_step(bundle, reached), _said(error)) from error
    if not (reached.reached and bundle.times) or (kind, payload) != (signed.bundle.payload_type, signed.bundle.payload):
        raise Failed(Step.CERTIFICATE, "something else was verified than was asked for")
    root.check_ct_log(signed.certificate)
    root.check_authority(signed.certificate, bundle.times)
    identity = read_identity(signed.certificate)
    passed.append(Step.CERTIFICATE)
    inner = bundle.log_entry._inner  # noqa: SLF001 - no public way to what was verified
    assert inner.inclusion_proof is not None
    assert inner.inclusion_proof.checkpoint is not None
    log_id, checkpoint = inner.log_id.key_id, inner.inclusion_proof.checkpoint.envelope
    root.check_log(log_id, checkpoint, inner.inclusion_proof.tree_size)
    passed.append(Step.LOG)
    root.check_log_windows(signed.certificate, log_id, bundle.times)
    passed.append(Step.WINDOWS)
    return Proven(name, RootKind.SIGSTORE, bundle.times, identity, entry=entry)


def _timed(body: bytes) -> TimedBundle:
    try:
        bundle = TimedBundle.from_json(body)
    except Exception as error:
        raise Failed(Step.STRUCTURE, f"certificate or log entry cannot be read: {_said(error)}") from error
    assert isinstance(bundle, TimedBundle)
    return bundle


def _step(bundle: TimedBundle, reached: Reached) -> Step:
    """Return what sigstore was at when it failed: the times come first, then chain and SCT, then the log."""
    return Step.LOG if reached.reached or not bundle.times else Step.CERTIFICATE


def _said(error: Exception) -> str:
    return " ".join(str(part) for part in error.args) if error.args else type(error).__name__
