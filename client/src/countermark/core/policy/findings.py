"""What was found of one piece of evidence, check by check, each with the exit code that it fails with. Pure.

Source: trust contract section 3.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from countermark.core.attestations.facts import LogKind
from countermark.core.policy.model import Rule
from countermark.core.policy.verdicts import Check, ExitCode

DAY = 86_400
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A check, and what it is worth when it fails."""

    check: Check
    code: ExitCode


def leading(findings: Sequence[Finding]) -> int:
    """Return how many checks passed before the first that failed."""
    return next((place for place, one in enumerate(findings) if not one.check.ok), len(findings))


def recorded(rule: Rule, log: LogKind) -> Finding:
    """Check that what recorded a signature is of a kind that the rule takes."""
    return Finding(Check("log", " or ".join(rule.log_kinds), log.value, log in rule.log_kinds), 61)


def aged(rule: Rule, since: int, now: int, unknown: str) -> Iterator[Finding]:
    """Check the age of evidence, where the rule asks for one.

    Args:
        rule: whose `max_age_days` is meant.
        since: seconds since 1970; 0 where nobody knows.
        now: likewise.
        unknown: why nobody knows.
    """
    if rule.max_age_days is None:
        return
    wanted, age = f"at most {rule.max_age_days} days", now - since
    if not since:
        yield Finding(Check("age", wanted, f"not known: {unknown}", ok=False), 62)
    else:
        yield Finding(Check("age", wanted, f"{max(age, 0) // DAY} days", age <= rule.max_age_days * DAY), 62)
