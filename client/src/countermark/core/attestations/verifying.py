"""Verifies the attestations of a provenance object against a file's name and digest and a trust root.

Nothing is read from disk or network. It needs sigstore and pypi-attestations, which take 0.4 s and 50 MB to import:
import this module where attestations are verified and nowhere else. sigstore-python verifies; what it leaves to its
callers is done here and in `trust_root`, and each step is told apart.
Source: contract python-index sections 4.1 to 4.3; trust contract sections 5.2 and 6 (19 to 26).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.x509 import load_der_x509_certificate
from pypi_attestations import Attestation as Pep740
from sigstore.verify import Verifier

from countermark.core.attestations.dsse import check_signature, is_p256, pae
from countermark.core.attestations.identity import check_identity, unproven
from countermark.core.attestations.provenance import Attestation, Claimed, read_attestation, read_provenance
from countermark.core.attestations.results import Checked, Failed, Report, Step
from countermark.core.attestations.statement import PAYLOAD_TYPE, Statement, check_subject, read_statement
from countermark.core.attestations.timed import Reached
from countermark.core.attestations.trust_root import Root
from countermark.core.digest import Sha256


@dataclass(slots=True)
class _Found:
    """What is known so far of the attestation under way."""

    predicate_type: str | None = None
    certificate: Mapping[str, str] | None = None
    signed_at: int | None = None


class ProvenanceVerifier:
    """Verifies against one trust root; made once, used for many files."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._verifier = Verifier(trusted_root=root.sigstore)

    def verify(self, body: bytes, file_name: str, sha256: Sha256) -> Report:
        """Verify every attestation of a provenance object. Blocking, some 5 ms for each.

        Args:
            body: the object as it is served, of any length.
            file_name: the wheel or sdist that it is to be about.
        """
        try:
            claimed = read_provenance(body)
        except Failed as failure:
            return Report((), failure)
        return Report(tuple(self._checked(one, file_name, sha256) for one in claimed))

    def _checked(self, claimed: Claimed, file_name: str, sha256: Sha256) -> Checked:
        found, failure = _Found(), None
        try:
            self._check(claimed, file_name, sha256, found)
        except Failed as one:
            failure = one
        more = unproven(claimed.publisher)
        return Checked(claimed.publisher, failure, found.predicate_type, found.certificate or {}, found.signed_at, more)

    def _check(self, claimed: Claimed, file_name: str, sha256: Sha256, found: _Found) -> None:
        attestation = read_attestation(claimed.document)
        bundled = _Bundled(attestation)
        statement: Statement = read_statement(attestation.statement)
        found.predicate_type = statement.predicate_type
        check_subject(statement, file_name, sha256)
        bundled.check_signature()
        self._check_material(bundled, attestation.statement)
        found.signed_at = bundled.time
        found.certificate = bundled.claims()
        check_identity(claimed.publisher, bundled.certificate, found.certificate)

    def _check_material(self, bundled: _Bundled, payload: bytes) -> None:
        """Have sigstore verify all that is signed, then the log as the trust root names it.

        Raises:
            Failed: CERTIFICATE, LOG or WINDOWS.
        """
        policy = Reached()
        try:
            kind, signed = self._verifier.verify_dsse(bundled.bundle, policy)
        except Exception as error:
            # Malformed material leads to errors of pydantic, cryptography and the standard library too; contract 4.2.
            raise Failed(Step.LOG if policy.reached else Step.CERTIFICATE, _said(error)) from error
        if not policy.reached or kind != PAYLOAD_TYPE or signed != payload:
            raise Failed(Step.CERTIFICATE, "something else was verified than was asked for")
        self._root.check_ct_log(bundled.certificate)
        self._root.check_log(bundled.log_id, bundled.checkpoint, bundled.tree_size)
        self._root.check_windows(bundled.certificate, bundled.log_id, bundled.time)


class _Bundled:
    """An attestation as a Sigstore bundle."""

    def __init__(self, attestation: Attestation) -> None:
        """Convert it.

        Raises:
            Failed: STRUCTURE; certificate or log entry is not one, or the entry has no signed time.
        """
        try:
            self._pep740 = Pep740.model_validate(attestation.document)
            self.bundle = self._pep740.to_bundle()
            self.certificate = load_der_x509_certificate(attestation.certificate)
            self._entry = self.bundle.log_entry._inner  # noqa: SLF001 - no public way to what was verified
        except Exception as error:
            raise Failed(Step.STRUCTURE, f"certificate or log entry cannot be read: {_said(error)}") from error
        self._attestation = attestation
        promise, proof = self._entry.inclusion_promise, self._entry.inclusion_proof
        kind = (self._entry.kind_version.kind, self._entry.kind_version.version)
        if kind != ("dsse", "0.0.1"):
            # Entries of the second version of logs have no time, and these objects have no place for a stamp.
            raise Failed(Step.STRUCTURE, f"its log entry is a {kind[0][:40]} {kind[1][:20]}, not a dsse 0.0.1")
        if promise is None or not promise.signed_entry_timestamp or not self._entry.integrated_time:
            raise Failed(Step.STRUCTURE, "its log entry has no signed time")
        if proof is None or proof.checkpoint is None:
            raise Failed(Step.STRUCTURE, "its log entry has no proof with a checkpoint")
        self.time: int = self._entry.integrated_time
        self.log_id: bytes = self._entry.log_id.key_id
        self.checkpoint: str = proof.checkpoint.envelope
        self.tree_size: int = proof.tree_size

    def check_signature(self) -> None:
        """Check that the certificate's key signed the statement, whoever's that is.

        Raises:
            Failed: SIGNATURE.
        """
        try:
            key = self.certificate.public_key()
        except Exception as error:
            raise Failed(Step.SIGNATURE, "the certificate's key is of a kind that is not known here") from error
        if not is_p256(key):
            raise Failed(Step.SIGNATURE, "the certificate's key is not of the curve P-256")
        check_signature(key, self._attestation.signature, pae(PAYLOAD_TYPE, self._attestation.statement))

    def claims(self) -> dict[str, str]:
        """Return what the certificate says of the build.

        Raises:
            Failed: CERTIFICATE; its extensions cannot be read.
        """
        try:
            return self._pep740.certificate_claims
        except Exception as error:
            raise Failed(Step.CERTIFICATE, f"its extensions cannot be read: {_said(error)}") from error


def _said(error: Exception) -> str:
    return " ".join(str(part) for part in error.args) if error.args else type(error).__name__
