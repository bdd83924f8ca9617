"""A policy in words, for the people who review it. Pure.

Source: trust contract section 4; issue 7/7 item 4 (`policy check`, `policy explain`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from countermark.core.policy.model import SLSA, SLSA_V02, SLSA_V1, Builder, Policy, Rule

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
    yield f"an attestation of type {_or([_TYPES.get(kind, kind) for kind in rule.predicates])}"
    if not rule.builders:
        yield "by anybody whose certificate or key verifies"
    for name in rule.builders:
        yield f"by {builder_in_words(policy, policy.builders[name])}"
    yield from _origin(rule)
    if rule.min_level and any(kind in SLSA for kind in rule.predicates):
        yield f"whose builder counts for level {rule.min_level} or more"
    yield _recorded(rule)
    if rule.max_age_days is not None:
        yield f"signed at most {rule.max_age_days} days ago"


def builder_in_words(policy: Policy, builder: Builder) -> str:
    """Return whose signature is a builder's, and for how much it counts."""
    if builder.key is not None:
        who = f"holder of key {builder.key} (sha256 {policy.key_ids[builder.key]})"
    else:
        issuer = "its own authority" if builder.issuer is None else builder.issuer
        root = builder.root or ""
        who = f"{_subject(builder)}, as {issuer} says under root {root} ({policy.roots[root]})"
    return f"{builder.name}: {who}; level {builder.level}"


def _subject(builder: Builder) -> str:
    san = builder.san
    if san is None:
        return "anybody"
    if san.email is not None:
        return f"the e-mail address {san.email}"
    if san.uri is not None:
        return f"the subject {san.uri}"
    return f"the workflow {san.workflow} at {_or(san.refs)}"


def _origin(rule: Rule) -> Iterator[str]:
    at = f" at {_or(rule.source_refs)}" if rule.source_refs else ""
    if rule.source is not None:
        yield f"built from {rule.source}{at}"
    elif at:
        yield f"built from any repository{at}"


def _recorded(rule: Rule) -> str:
    logs = [f"a Rekor {kind} log" for kind in rule.log_kinds if kind != "none"]
    if len(logs) == len(rule.log_kinds):
        return f"recorded in {_or(logs)}"
    return f"recorded in {_or(logs)}, or in none" if logs else "recorded in no log"


def _or(texts: Sequence[str]) -> str:
    return " or ".join(texts)
