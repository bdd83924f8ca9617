"""What a piece of evidence says of the source: the certificate, and what the predicate adds. Pure.

Source: trust contract section 4 ("source is compared with the certificate first, then with the predicate"); the
documentation of Fulcio's certificate extensions, 57264.1.1 to .14.
"""

from __future__ import annotations

from dataclasses import dataclass

from countermark.core.attestations.facts import VerifiedBundle
from countermark.core.policy.model import SLSA
from countermark.core.policy.normal import Normal, UnreadablePredicate, normal_form
from countermark.core.policy.verdicts import CheckName

SOURCE, SOURCE_DIGEST, SOURCE_REF = 12, 13, 14
"""Numbers below 57264.1 of what a certificate says of a build's source: repository, commit, ref."""

_OLD_SHA, _OLD_REPOSITORY, _OLD_REF = 3, 5, 6
"""Their elder forms, which certificates of one forge carry beside them."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Evidence, looked at.

    Attributes:
        normal: of build provenance; None for other predicates, and for what cannot be read.
        fault: why it cannot be read.
    """

    evidence: VerifiedBundle
    normal: Normal | None
    fault: str | None

    @property
    def said(self) -> tuple[tuple[CheckName, int, str | None], ...]:
        """What the predicate says beside the certificate: name of the check, number of the claim, value."""
        if self.normal is None:
            return ()
        return (
            ("predicate source", SOURCE, self.normal.source),
            ("predicate ref", SOURCE_REF, self.normal.ref),
            ("predicate commit", SOURCE_DIGEST, self.normal.commit),
        )

    @property
    def source(self) -> str | None:
        """The repository: what the certificate says, else what the predicate does."""
        return self.evidence.claim(SOURCE) or (self.normal.source if self.normal else None)

    @property
    def ref(self) -> str | None:
        """The ref, likewise."""
        return self.evidence.claim(SOURCE_REF) or (self.normal.ref if self.normal else None)

    @property
    def commit(self) -> str | None:
        """The commit, likewise."""
        return self.evidence.claim(SOURCE_DIGEST) or (self.normal.commit if self.normal else None)

    @property
    def contradiction(self) -> str | None:
        """See `contradiction_in`."""
        return contradiction_in(self.evidence)


def contradiction_in(evidence: VerifiedBundle) -> str | None:
    """Return what an elder extension of a certificate says otherwise than the newer one; None for nothing."""
    for old, new in ((_OLD_SHA, SOURCE_DIGEST), (_OLD_REF, SOURCE_REF)):
        elder, newer = evidence.claim(old), evidence.claim(new)
        if elder is not None and newer is not None and elder != newer:
            return f"{elder} and {newer}"
    elder, newer = evidence.claim(_OLD_REPOSITORY), evidence.claim(SOURCE)
    if elder is not None and newer is not None and not newer.endswith(f"/{elder}"):
        return f"{elder} and {newer}"
    return None


def look(evidence: VerifiedBundle) -> Seen:
    """Read the predicate of a piece of evidence, where it is build provenance."""
    if evidence.predicate_type not in SLSA:
        return Seen(evidence, None, None)
    try:
        return Seen(evidence, normal_form(evidence.predicate_type, evidence.predicate), None)
    except UnreadablePredicate as error:
        return Seen(evidence, None, str(error))
