"""Whether proven evidence is a builder's or verifier's: by root, issuer and subject, or by its key. Pure.

Everything is compared character by character: a look-alike, another case or a trailing slash is another identity.
Source: trust contract section 4; section 6 row 22; section 5.2 (an identity without an issuer is none).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from countermark.core.attestations.facts import RootKind, SanType, VerifiedBundle
from countermark.core.policy.model import Policy, San, Signer
from countermark.core.policy.patterns import ref_fits
from countermark.core.policy.verdicts import Check

AnySigner = TypeVar("AnySigner", bound=Signer)


def signers_of(
    policy: Policy, signers: Iterable[AnySigner], evidence: VerifiedBundle, version: str
) -> Iterator[AnySigner]:
    """Iterate over those of some builders or verifiers whose identity the evidence has."""
    return (one for one in signers if all(check.ok for check in check_identity(policy, one, evidence, version)))


def check_identity(policy: Policy, signer: Signer, evidence: VerifiedBundle, version: str) -> Iterator[Check]:
    """Iterate over the checks of a builder's or verifier's identity.

    Args:
        policy: where its root or key is declared.
        signer: whose identity it should be.
        evidence: whose identity is looked at.
        version: of the release, for `{version}` in refs.
    """
    if signer.key is not None:
        wanted = policy.key_ids[signer.key]
        is_keyed = evidence.root_kind == RootKind.KEY
        yield Check("key", wanted, evidence.key, is_keyed and evidence.key == wanted)
        return
    # A key has no root: its name in the policy must not pass for one.
    root = f"key {evidence.root}" if evidence.root_kind == RootKind.KEY else evidence.root
    yield Check("root", signer.root or "", root, root == signer.root)
    yield _issuer(signer, evidence)
    if signer.san is not None:
        yield from _subject(signer.san, evidence, version)


def _issuer(signer: Signer, evidence: VerifiedBundle) -> Check:
    if signer.issuer is not None:
        return Check("issuer", signer.issuer, evidence.issuer, evidence.issuer == signer.issuer)
    # A company's own authority is the issuer; one of Sigstore issues for whoever asks.
    wanted = "an own certificate authority (no issuer is named)"
    return Check("issuer", wanted, evidence.issuer or evidence.root_kind, evidence.root_kind == RootKind.CA)


def _subject(san: San, evidence: VerifiedBundle, version: str) -> Iterator[Check]:
    found, is_uri = evidence.san, evidence.san_type == SanType.URI
    if san.email is not None:
        is_email = evidence.san_type == SanType.EMAIL
        yield Check("e-mail", san.email, _kind(evidence), is_email and found == san.email)
        return
    if san.uri is not None:
        yield Check("subject", san.uri, _kind(evidence), is_uri and found == san.uri)
        return
    workflow, at, ref = (found or "").partition("@")
    yield Check("workflow", san.workflow or "", _kind(evidence), is_uri and bool(at) and workflow == san.workflow)
    wanted = " or ".join(pattern.replace("{version}", version) for pattern in san.refs)
    yield Check("workflow ref", wanted, ref or None, any(ref_fits(ref, pattern, version) for pattern in san.refs))


def _kind(evidence: VerifiedBundle) -> str | None:
    """Return the subject, with its kind where it is no URI."""
    if evidence.san is None or evidence.san_type == SanType.URI:
        return evidence.san
    return f"{evidence.san} ({evidence.san_type})"
