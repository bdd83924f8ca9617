"""Policies: what evidence a file must show before it is taken (trust contract section 4). Pure, without sigstore."""

from __future__ import annotations

from countermark.core.policy.evaluating import evaluate
from countermark.core.policy.fields import InvalidPolicy
from countermark.core.policy.files import PolicyFile
from countermark.core.policy.model import Builder, Policy, Rule, San, Verifier
from countermark.core.policy.normal import Normal, UnreadablePredicate, normal_form
from countermark.core.policy.reading import MAX_POLICY_BYTES, SCHEMA, parse_policy
from countermark.core.policy.verdicts import Check, Verdict

__all__ = [
    "MAX_POLICY_BYTES",
    "SCHEMA",
    "Builder",
    "Check",
    "InvalidPolicy",
    "Normal",
    "Policy",
    "PolicyFile",
    "Rule",
    "San",
    "UnreadablePredicate",
    "Verdict",
    "Verifier",
    "evaluate",
    "normal_form",
    "parse_policy",
]
