"""Verifies Sigstore bundles against a file's name and digest, trust roots, and named keys. Imports sigstore.

Nothing is read from disk or network. 1. Structure, statement and subject: what it says, of which file. 2. Signature: by
the certificate's key, or a key that the policy names. 3. Certificate, log, times: by sigstore-python against each root
that has an authority of the issuer's name; what that leaves to its callers is done in `attempts`, `entries` and
`trust_root`, and an organisation's own authority is verified in `own_authority`. Whose it is to be, only a policy says.
Source: trust contract sections 4, 5.1, 5.2 and 6 (19 to 26); ADR 0041.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import Certificate, load_der_x509_certificate

from countermark.core.attestations.attempts import Attempt, Proven, Signed, attempt
from countermark.core.attestations.bundle import SigstoreBundle, read_bundle
from countermark.core.attestations.dsse import check_signature, key_sha256, pae
from countermark.core.attestations.facts import LogKind, RootKind, VerifiedBundle
from countermark.core.attestations.judgements import BundleReport
from countermark.core.attestations.key_entries import check_key_entry
from countermark.core.attestations.results import Failed, Step
from countermark.core.attestations.roots import KnownRoot, read_roots
from countermark.core.attestations.statement import PAYLOAD_TYPE, Statement, find_subject, read_any_statement
from countermark.core.attestations.trust_root import Root
from countermark.core.digest import Sha256, sha256_of


@dataclass(slots=True)
class _Course:
    """How far it came."""

    passed: list[Step] = field(default_factory=list)
    predicate_type: str | None = None

    def steps(self, failure: Failed | None) -> tuple[tuple[Step, bool | None], ...]:
        failed = None if failure is None else failure.step
        return tuple((step, False if step == failed else (step in self.passed or None)) for step in Step)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A bundle that is about the file."""

    sha256: Sha256
    body: bytes
    bundle: SigstoreBundle
    statement: Statement
    subject_name: str


class BundleVerifier:
    """Verifies against some roots and keys; made once, used for many files, by several threads if need be."""

    def __init__(
        self,
        roots: Mapping[str, bytes],
        keys: Mapping[str, bytes],
        *,
        own_keys: Collection[str] = (),
        test_roots: Collection[str] = (),
        without_log: Collection[str] = (),
    ) -> None:
        """Read roots and keys. A root that cannot be used is told by what would need it.

        Args:
            roots: name, which becomes `VerifiedBundle.root` -> `TrustedRoot` document.
            keys: name -> public key, PEM.
            own_keys: names among them whose signatures are no evidence here; see `TrustMaterial`.
            test_roots: names of roots that may be those of a test instance.
            without_log: names of roots that may be an organisation's own authority without a log.

        Raises:
            ValueError: a key is none.
        """
        self._roots = read_roots(roots, test_roots, without_log)
        self._own_keys = frozenset(own_keys)
        self._keys = {name: load_pem_public_key(pem) for name, pem in keys.items()}

    def verify(
        self, body: bytes, file_name: str, sha256: Sha256, only_roots: Collection[str] | None = None
    ) -> BundleReport:
        """Verify a bundle. Blocking, some 5 ms.

        Args:
            body: the bundle, of any length.
            file_name: of the file that it is to be about; compared exactly.
            sha256: of that file.
            only_roots: names of the roots to take; None for all. Keys are taken in any case.
        """
        course, proven, failure = _Course(), list[VerifiedBundle](), None
        digest = sha256_of(body)
        try:
            asked = self._about(digest, body, (file_name, sha256), course)
            certificate = asked.bundle.certificate
            if certificate is None:
                found = [self._by_key(asked.bundle, course)]
            else:
                found = self._by_roots(asked, certificate, only_roots, course)
            proven = [_facts(asked, one) for one in found]
        except Failed as one:
            failure = one
        verified, elsewhere = (proven[0], tuple(proven[1:])) if proven else (None, ())
        return BundleReport(digest, course.steps(failure), failure, verified, elsewhere, course.predicate_type)

    def _about(self, digest: Sha256, body: bytes, file: tuple[str, Sha256], course: _Course) -> _Asked:
        """Read what the bundle says, and that it says it of the file."""
        bundle = read_bundle(body)
        if bundle.payload_type != PAYLOAD_TYPE:
            raise Failed(Step.STRUCTURE, f"its payload is no statement but {bundle.payload_type[:60]!r}")
        course.passed.append(Step.STRUCTURE)
        statement = read_any_statement(bundle.payload)
        course.predicate_type = statement.predicate_type
        course.passed.append(Step.STATEMENT)
        name = find_subject(statement, *file)
        course.passed.append(Step.SUBJECT)
        return _Asked(digest, body, bundle, statement, name)

    def _by_key(self, bundle: SigstoreBundle, course: _Course) -> Proven:
        """Verify a bundle that a key signed: one of those that are named, whatever the bundle says of it."""
        if not self._keys:
            raise Failed(Step.SIGNATURE, "a key signed it, and the policy names none")
        signed = pae(bundle.payload_type, bundle.payload)
        signer = next((pair for pair in self._keys.items() if _did_sign(pair[1], bundle.signature, signed)), None)
        if signer is None:
            raise Failed(Step.SIGNATURE, "none of the keys that the policy names signed it")
        if signer[0] in self._own_keys:
            raise Failed(Step.SIGNATURE, f"the registry's own key {signer[0]} signed it, and is no evidence for itself")
        # There is no certificate: that the key is the policy's is all there is to prove of whose it is.
        course.passed += [Step.SIGNATURE, Step.CERTIFICATE]
        (name, key), times = signer, self._stamped(bundle)
        if bundle.entry is None:
            return Proven(name, RootKind.KEY, times, key=key_sha256(key))
        roots = (known.root for known in self._roots if known.refusal is None)
        logs = [root for root in roots if isinstance(root, Root)]
        entry, times = check_key_entry(bundle, key, logs, times)
        course.passed += [Step.LOG, Step.WINDOWS]
        return Proven(name, RootKind.KEY, times, key=key_sha256(key), entry=entry)

    def _stamped(self, bundle: SigstoreBundle) -> Sequence[datetime]:
        """Return the times of stamps by the authorities of any root; none where there is no stamp."""
        if not bundle.stamps:
            return []
        failure = Failed(Step.LOG, "it has time stamps, and no trust root names an authority of such")
        for authorities in (known.stamp_authorities for known in self._roots):
            if not authorities:
                continue
            try:
                return authorities.times(bundle.stamps, bundle.signature)
            except Failed as one:
                failure = one
        raise failure

    def _by_roots(self, asked: _Asked, der: bytes, only_roots: Collection[str] | None, course: _Course) -> list[Proven]:
        """Verify against every root that knows the issuer; where all fail, the one that came furthest says why."""
        certificate, key = _certificate(der)
        signed = Signed(asked.bundle, asked.body, certificate, key)
        roots = [known for known in self._roots if only_roots is None or known.name in only_roots]
        attempts = [attempt(known, signed) for known in roots if known.knows(certificate)]
        best = max(attempts, key=_reach, default=None)
        if best is None or best.failure is not None:
            # Where it is good, the attempt checked it; where not, that comes before whatever it failed at.
            signed.check_signature()
        course.passed.append(Step.SIGNATURE)
        if best is None:
            raise _unknown(roots)
        course.passed += best.passed
        if best.failure is not None:
            raise best.failure
        return [one.proven for one in attempts if one.proven is not None]


def _unknown(roots: Sequence[KnownRoot]) -> Failed:
    """Return why no root could be asked for a certificate."""
    if not roots:
        return Failed(Step.CERTIFICATE, "no trust root is signed: there is nothing to verify it against")
    for refusal in (known.refusal for known in roots if known.root is None):
        if refusal is not None:
            return Failed(refusal.step, refusal.detail)
    return Failed(Step.CERTIFICATE, "no authority that is trusted here issued the certificate")


def _reach(one: Attempt) -> tuple[bool, int]:
    return one.failure is None, len(one.passed)


def _certificate(der: bytes) -> tuple[Certificate, PublicKeyTypes]:
    """Read a certificate, and its issuer, which cryptography does when it is asked for; all else the attempts read.

    Raises:
        Failed: STRUCTURE or SIGNATURE.
    """
    try:
        certificate = load_der_x509_certificate(der)
        _ = certificate.issuer
    except Exception as error:
        # Of a value, of a version, of an algorithm: each has its own.
        raise Failed(Step.STRUCTURE, "its certificate cannot be read") from error
    try:
        return certificate, certificate.public_key()
    except Exception as error:
        raise Failed(Step.SIGNATURE, "the certificate's key is of a kind that is not known here") from error


def _did_sign(key: PublicKeyTypes, signature: bytes, signed: bytes) -> bool:
    try:
        check_signature(key, signature, signed)
    except Failed:
        return False
    return True


def _facts(asked: _Asked, proven: Proven) -> VerifiedBundle:
    identity, entry, statement = proven.identity, proven.entry, asked.statement
    promised = None if entry is None else entry.promised_at
    signed_at = min((int(time.timestamp()) for time in proven.times), default=0) if promised is None else promised
    return VerifiedBundle(
        bundle_sha256=asked.sha256,
        predicate_type=statement.predicate_type,
        predicate=statement.predicate,
        root=proven.root,
        root_kind=proven.kind,
        issuer=None if identity is None else identity.issuer,
        san=None if identity is None else identity.san,
        san_type=None if identity is None else identity.san_type,
        certificate={} if identity is None else identity.claims,
        key=proven.key,
        log=LogKind.NONE if entry is None else entry.kind,
        log_index=None if entry is None else entry.log_index,
        log_origin=None if entry is None else entry.origin,
        signed_at=signed_at,
        subject_name=asked.subject_name,
    )
