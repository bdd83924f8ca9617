"""What an index signs about attestations: policy and roots by its trust role, and summaries of files. Read as targets.

Source: trust contract sections 2.3 and 4.
"""

from __future__ import annotations

from countermark.chain import during
from countermark.core.attestations.bundle import MAX_BUNDLE_BYTES
from countermark.core.attestations.trust_material import (
    MAX_POLICY_BYTES,
    MAX_ROOT_BYTES,
    MAX_ROOTS,
    BadTrustMaterial,
    TrustMaterial,
)
from countermark.core.codes import POLICY_UNREADABLE
from countermark.core.errors import ClientError, PointerUnreadable, PolicyRefused
from countermark.core.names import FileName, NormalizedName, summary_target
from countermark.further import Further
from countermark.updater import POLICY_TARGET, TrustedIndex

DEFAULT_ROOT = "trusted_root.json"
"""The target that is a trust root whether or not a policy names it."""

_ROOT_SUFFIX = ".trusted_root.json"


def read_material(index: TrustedIndex, *, with_roots: bool) -> TrustMaterial:
    """Return what the trust role signs at present; nothing of what online keys sign is ever looked at.

    Args:
        with_roots: the roots too, which are of use where there is an attestation.

    Raises:
        PolicyRefused: there is more of it than is looked at.
        ClientError: as `TrustedIndex.read_target`.
    """
    with during("policy"):
        try:
            policy = index.read_target(POLICY_TARGET, MAX_POLICY_BYTES) if index.holds(POLICY_TARGET) else None
            version, paths = index.trust_targets()
            roots = sorted(path for path in paths if _is_root(path, with_policy=policy is not None))[: MAX_ROOTS + 1]
            wanted = [path for path in roots if index.holds(path)] if with_roots else []
            return TrustMaterial(policy, {path: index.read_target(path, MAX_ROOT_BYTES) for path in wanted}, version)
        except (BadTrustMaterial, PointerUnreadable) as error:
            refused = PolicyRefused(f"what the trust role signs cannot be used: {error}")
            refused.code = POLICY_UNREADABLE
            raise refused from error


def read_summary(index: TrustedIndex, project: NormalizedName, file_name: FileName) -> Further:
    """Return the verification summary that the index signs of a file, as evidence that proves itself or is none.

    It is listed beside the pointer: what cannot be read of it is a fault, and no error.
    """
    path = summary_target(project, file_name)
    try:
        return Further((index.read_target(path, MAX_BUNDLE_BYTES),)) if index.holds(path) else Further()
    except ClientError as error:
        return Further(faults=(f"{path}: {error.problem}",))


def _is_root(path: str, *, with_policy: bool) -> bool:
    """Return whether a target may be a root: without a policy that says which, by its name alone."""
    if path == DEFAULT_ROOT or path.endswith(_ROOT_SUFFIX):
        return True
    return with_policy and path.startswith("trust/") and path.endswith(".json")
