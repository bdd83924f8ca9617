"""A policy in words, for the people who review it. Pure.

Source: trust contract section 4; issue 7/7 item 4 (`policy check`, `policy explain`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from countermark.core.attestations.summary import SUMMARY
from countermark.core.policy.model import SLSA, SLSA_V02, SLSA_V1, Policy, Rule, Signer, Verifier

_TYPES = {SLSA_V1: "SLSA provenance v1", SLSA_V02: "SLSA provenance v0.2"}


def policy_in_words(policy: Policy) -> Iterator[str]:
    """Iterate over lines that say what a policy demands, most specific rule first."""
    for rule in policy.rules:
        yield f"{about(rule)}:"
        yield from (f"  {line}" for line in rule_in_words(policy, rule))
    if not any(rule.match == "*" and not rule.indexes for rule in policy.rules):
        yield "anything else:"
        yield "  refused: no rule is about it"


def about(rule: Rule) -> str:
    """Return what a rule is about."""
    if rule.match == "*":
        names = "every project"
    elif rule.match.endswith("*"):
        names = f"projects that begin with {rule.match[:-1]}"
    else:
        names = rule.match
    return f"{names} in {_or(rule.indexes)}" if rule.indexes else names


def rule_in_words(policy: Policy, rule: Rule) -> Iterator[str]:
    """Iterate over lines that say what a rule demands."""
    if rule.deny:
        yield "refused"
        return
    if not rule.attested:
        yield "taken without an attestation"
        if not rule.continuity:
            return
        yield "but an upload is refused once the project had one and it has none; then is demanded:"
    if rule.builders or not rule.verifiers:
        yield f"an attestation of type {_or([_TYPES.get(kind, kind) for kind in rule.predicates])}"
        if not rule.builders:
            yield "by anybody whose certificate or key verifies"
        for name in rule.builders:
            yield f"by {signer_in_words(policy, policy.builders[name])}"
    if rule.verifiers:
        yield ("or " if rule.builders else "") + "a verification summary that says PASSED of this very file"
        for name in rule.verifiers:
            yield from _verifier_in_words(policy, policy.verifiers[name])
    yield from _origin(rule)
    if rule.min_level and any(kind in SLSA or kind == SUMMARY for kind in rule.types):
        yield f"{_counting(rule)} for level {rule.min_level} or more"
    yield _recorded(rule)
    if rule.max_age_days is not None:
        yield f"signed at most {rule.max_age_days} days ago"


def signer_in_words(policy: Policy, signer: Signer) -> str:
    """Return whose signature is a builder's or verifier's, and for how much it counts."""
    if signer.key is not None:
        who = f"holder of key {signer.key} (sha256 {policy.key_ids[signer.key]})"
    else:
        issuer = "its own authority" if signer.issuer is None else signer.issuer
        root = signer.root or ""
        who = f"{_subject(signer)}, as {issuer} says under root {root} ({policy.roots[root]})"
    return f"{signer.name}: {who}; level {signer.level}"


def _verifier_in_words(policy: Policy, verifier: Verifier) -> Iterator[str]:
    yield f"by {signer_in_words(policy, verifier)} at most"
    yield f"  which calls itself {verifier.verifier_id} and the file {_or(verifier.resource_uris)}"
    if verifier.policies:
        yield f"  by its policy with the sha256 {_or(verifier.policies)}"


def _counting(rule: Rule) -> str:
    if not rule.verifiers:
        return "whose builder counts"
    return "whose builder or summary counts" if rule.builders else "whose summary counts"


def _subject(signer: Signer) -> str:
    san = signer.san
    if san is None:
        return "anybody"
    if san.email is not None:
        return f"the e-mail address {san.email}"
    if san.uri is not None:
        return f"the subject {san.uri}"
    return f"the workflow {san.workflow} at {_or(san.refs)}"


def _origin(rule: Rule) -> Iterator[str]:
    at = f" at {_or(rule.source_refs)}" if rule.source_refs else ""
    if rule.source is None and not at:
        return
    yield f"built from {'any repository' if rule.source is None else rule.source}{at}"
    if rule.verifiers:
        yield "  (a summary says nothing of that: one counts only by a policy of the verifier that is named here)"


def _recorded(rule: Rule) -> str:
    logs = [f"a Rekor {kind} log" for kind in rule.log_kinds if kind != "none"]
    if len(logs) == len(rule.log_kinds):
        return f"recorded in {_or(logs)}"
    return f"recorded in {_or(logs)}, or in none" if logs else "recorded in no log"


def _or(texts: Sequence[str]) -> str:
    return " or ".join(texts)
