"""The errors a person meets, and the exit code of each.

::

    ClientError                         1
      UsageFault                        2   the call is incomplete or contradicts itself
      NetworkFailure                   10   unreachable, cut, refused, too slow
        BasesUnknown                   10   the registry does not say what an index is based on
        NotAtHand                      10   without the network: it is not on this machine
      NoSuchTarget                     11   the signed metadata lists no such thing
        OnlyMirrored                   11   at most a mirror has it, and mirrors are not signed
      MetadataRefused
        BelowThreshold                 20   too few good signatures
        Expired                        21   out of date: a freeze, a stopped signer or a wrong clock
        RolledBack                     22   older than what this machine has already seen
        InvalidMetadata                23   any other contradiction in the metadata
      PointerRefused
        PointerUnreadable              30   pointer or page document is malformed
        PointerMismatch                31   it is about something else than what was asked
        BasesChanged                   31   the index is not based on what is recorded of it
      ArtifactRefused
        WrongLength                    40
        WrongDigest                    41
      EvidenceRefused
        AttestationAltered             50   its bytes are not the ones the pointer names
        AttestationUnreadable          51   its structure
        SubjectMismatch                52   it speaks of another file
        IdentityRefused                60   certificate or identity
        LogRefused                     61   transparency log, proof or time
        PolicyRefused                  62   builder, source or level
      LocalState                       70   files of this machine: cache, pinned roots, destination
      UploadRefused                     1
      PolicyUnusable                    1   a file is no policy
      RegistryRefused                   1   the registry's API said no
      CeremonyRefused                   1   a payload or document of a ceremony must not be signed or used
      BuildFailed                       1
      AttestFailed                      1   no attestation was made (`attesting`)
      TrustFaulty                       1   what an index is trusted by ends, or cannot be used (`attesting`)
      AuditRefused                      1   an export of the audit is not what the registry published
      KeyUnusable                       1   a private key (`core.signing`)
        TokenAway                       1   the token it is on

Each message says which link of the chain failed (`link`), what is wrong (`problem`) and what to do (`remedy`).

Source: trust contract section 3.3 (exit codes); style guide section 4 ("Errors").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

INTEGRITY_ONLY = 3
"""Exit code of a run that was told to stop before policy. Source: trust contract section 3.3 (`--policy none`)."""

_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")

_RETRY = "Try again; if it stays, tell the people who run this registry."
_TAMPERED = (
    "Do not use the file. Try another network or mirror; if it stays, tell the people who run this registry: "
    "what is stored or sent is not what was signed."
)


class ClientError(Exception):
    """Something failed that a person can understand.

    Args:
        problem: one sentence without a full stop: what is wrong.
        remedy: sentences: what to do now; the class's own by default.

    Attributes:
        exit_code: what `download` and `verify` end with.
        link: the link of the chain that failed.
        step: the step of the numbered chain that was under way (`countermark.chain`); empty where none was.
        code: what is wrong, for machines; the class's name by default. Texts may change, codes do not.
        details: more for machines, JSON-ready.
    """

    exit_code: ClassVar[int] = 1
    link: ClassVar[str] = "client"
    default_remedy: ClassVar[str] = ""

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = problem
        self.remedy = remedy or self.default_remedy
        self.step = ""
        self.code = self.usual_code()
        self.details: Mapping[str, object] = {}
        super().__init__(problem)

    @classmethod
    def usual_code(cls) -> str:
        """Return what is told machines of a failure of this class that has no code of its own."""
        return _CAPITAL.sub("-", cls.__name__).lower()

    def __str__(self) -> str:
        return f"{self.link}: {self.problem}." + (f" {self.remedy}" if self.remedy else "")


class UsageFault(ClientError):
    """The call is incomplete or contradicts itself; nothing was tried."""

    exit_code = 2
    link = "usage"


class NetworkFailure(ClientError):
    """The repository could not be reached or read, or not within the deadline."""

    exit_code = 10
    link = "network"
    default_remedy = _RETRY


class BasesUnknown(NetworkFailure):
    """What an index is based on is not recorded, and the registry does not say it usably."""

    link = "bases"


class NotAtHand(NetworkFailure):
    """Nothing is to be read from the network, and what is needed is not on this machine."""

    link = "offline"
    default_remedy = (
        "Run it once without --offline, which fills the cache; or name what `countermark download --evidence FOLDER` "
        "wrote, with --evidence."
    )


class NoSuchTarget(ClientError):
    """The signed metadata of the index lists no such target."""

    exit_code = 11
    link = "targets"


class OnlyMirrored(NoSuchTarget):
    """No stage has it, and what mirrors have is never signed."""

    default_remedy = (
        "What must be provable is promoted from the mirror to a stage, which signs it: "
        "devpi push NAME==VERSION OWNER/INDEX."
    )


class MetadataRefused(ClientError):
    """The TUF metadata of the index cannot be trusted."""

    exit_code = 23
    link = "metadata"


class BelowThreshold(MetadataRefused):
    """Metadata that fewer keys signed than the trusted root, or a role below it, demands."""

    exit_code = 20
    link = "signatures"


class Expired(MetadataRefused):
    """Metadata past its date."""

    exit_code = 21
    link = "freshness"
    default_remedy = (
        "Either this machine's clock is wrong, or the registry's signer has stopped, or someone withholds newer "
        "metadata. Check the clock, then tell the people who run this registry."
    )


class RolledBack(MetadataRefused):
    """Metadata older than what was seen before."""

    exit_code = 22
    link = "rollback"
    default_remedy = (
        "An old state is being served: by a stale mirror, a restored backup or an attacker. Try another mirror, "
        "then tell the people who run this registry."
    )


class InvalidMetadata(MetadataRefused):
    """Metadata that contradicts itself, its digest or its length."""

    exit_code = 23
    default_remedy = _RETRY


class PointerRefused(ClientError):
    """The pointer (or page document) is signed, and still not usable."""

    exit_code = 30
    link = "pointer"


class PointerUnreadable(PointerRefused):
    """Pointer or page document breaks a rule of its form."""

    default_remedy = "Tell the people who run this registry: it signed a document that no client may accept."


class PointerMismatch(PointerRefused):
    """Pointer or page document is about another index, project, version or file than was asked for."""

    exit_code = 31
    link = "binding"
    default_remedy = (
        "Nothing was written. Someone serves one signed thing in the place of another: check the address, then tell "
        "the people who run this registry."
    )


class BasesChanged(PointerRefused):
    """The registry says of an index's bases something else than what is recorded."""

    exit_code = 31
    link = "bases"


class ArtifactRefused(ClientError):
    """The file is not the one that the pointer names."""

    exit_code = 41
    link = "artifact"
    default_remedy = _TAMPERED


class WrongLength(ArtifactRefused):
    """The file is longer or shorter than the pointer says."""

    exit_code = 40


class WrongDigest(ArtifactRefused):
    """The file has the right length and other bytes."""


class EvidenceRefused(ClientError):
    """The evidence that the pointer names, or that the policy demands, does not hold."""

    exit_code = 51
    link = "attestation"
    default_remedy = "Do not use the file; tell those who publish it and those who run this registry."


class AttestationAltered(EvidenceRefused):
    """The attestation's bytes are not the ones that the pointer names."""

    exit_code = 50
    default_remedy = _TAMPERED


class AttestationUnreadable(EvidenceRefused):
    """The attestation is no bundle with a statement."""


class SubjectMismatch(EvidenceRefused):
    """The attestation speaks of another file."""

    exit_code = 52


class IdentityRefused(EvidenceRefused):
    """The certificate, or the identity in it, is not one that the policy names."""

    exit_code = 60
    link = "identity"


class LogRefused(EvidenceRefused):
    """The transparency log's proof or time does not hold."""

    exit_code = 61
    link = "log"


class PolicyRefused(EvidenceRefused):
    """The policy does not allow the file, or cannot be read."""

    exit_code = 62
    link = "policy"


class LocalState(ClientError):
    """A file of this machine is missing, unreadable or not writable."""

    exit_code = 70
    link = "this machine"


class UploadRefused(ClientError):
    """The index did not take the file."""

    link = "upload"


class PolicyUnusable(ClientError):
    """A file is no policy that could be signed."""

    link = "policy"


class RegistryRefused(ClientError):
    """The registry's API did not do what was asked."""

    link = "registry"


class CeremonyRefused(ClientError):
    """A payload, or a document of a ceremony, is not one to sign or to use."""

    link = "ceremony"


class BuildFailed(ClientError):
    """The project could not be built."""

    link = "build"


class AuditRefused(ClientError):
    """An export of the audit is not one unbroken chain, or not the one whose head the registry published."""

    link = "audit"
    default_remedy = (
        "Export it again, whole, and try once more; if it stays, keep both files and the head: someone has changed "
        "what is on record, or the catalogue was restored from a backup."
    )
