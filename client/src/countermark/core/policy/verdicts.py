"""What a policy says of a file: allowed or not, and every check that was made. Pure; JSON both ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

VerdictStep = Literal["identity", "log", "policy"]
"""Which link of the numbered chain it broke at; `policy` for what is allowed."""

ExitCode = Literal[0, 60, 61, 62]
"""Source: trust contract section 3.3."""


CheckName = Literal[
    "rule", "deny", "predicate",
    "root", "issuer", "workflow", "workflow ref", "subject", "e-mail", "key", "builder",
    "certificate", "certificate source", "predicate source", "predicate ref", "predicate commit",
    "log", "age", "provenance", "builder id", "build type", "level", "source", "source ref",
    "verifier", "summary", "verifier id", "result", "resource", "verifier's policy",
]  # fmt: skip
"""What is compared, as `docs/policy.md` lists it; with `-` for blanks, part of the codes that clients print."""


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison.

    Attributes:
        name: what is compared.
        wanted: what the policy wants, in words or as it is written there.
        found: what was there; None where nothing was.
    """

    name: CheckName
    wanted: str
    found: str | None
    ok: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy says of one file with the evidence that was given.

    Attributes:
        demanded: whether the file needs evidence at all.
        exit_code: 0 when it is allowed, else of the check that failed.
        reason: a sentence for people, without a full stop.
        rule: the rule that decided, as `match` or `match in index, index`; None when there is none.
        builder: the name of the builder, in the policy, whose identity the evidence has.
        verifier: the name of the verifier, in the policy, whose signer signed a verification summary.
        level: what builder or summary counts for.
        source: the repository that it was built from, by the certificate, else by the predicate; with `ref`, `commit`.
        checks: of the evidence that satisfied the rule, else of what came nearest.
    """

    allowed: bool
    demanded: bool
    exit_code: ExitCode
    step: VerdictStep
    reason: str
    rule: str | None = None
    builder: str | None = None
    verifier: str | None = None
    level: int | None = None
    source: str | None = None
    ref: str | None = None
    commit: str | None = None
    checks: tuple[Check, ...] = ()

    @property
    def failed(self) -> Check | None:
        """The first check that failed; None when it is allowed, or refused before anything was compared."""
        return next((check for check in self.checks if not check.ok), None)

    def to_document(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return {**asdict(self), "checks": [asdict(check) for check in self.checks]}

    @staticmethod
    def from_document(document: Mapping[str, Any]) -> Verdict:
        """Return what `to_document` was made of.

        Raises:
            ValueError: it is no such document.
        """
        try:
            checks = tuple(Check(**check) for check in document["checks"])
            verdict = Verdict(**{**document, "checks": checks})
        except (KeyError, TypeError) as error:
            raise ValueError("this is no verdict") from error
        if verdict.exit_code not in {0, 60, 61, 62} or verdict.allowed is not (verdict.exit_code == 0):
            raise ValueError("this verdict contradicts itself")
        return verdict
