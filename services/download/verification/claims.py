"""What the statement of a verified bundle claims of the build, in the few fields that every dialect has. Pure.

A signature proves who claims this, not that it is so: what a certificate says is told at the step `identity`, and
whoever shows a claim beside it says which of the two it is.
Source: trust contract section 4 ("Normal form"); ADR 0039.
"""

from __future__ import annotations

from countermark.core.attestations.facts import VerifiedBundle
from countermark.core.policy.model import SLSA
from countermark.core.policy.normal import UnreadablePredicate, normal_form

_TOLD = ("builder_id", "build_type", "source", "ref", "commit", "entry", "started_on", "invocation")


def claims_of(verified: VerifiedBundle) -> dict[str, str]:
    """Return what is claimed, each text of at most 2048 characters; nothing for predicates that tell of no build.

    A predicate that is not of its type has one entry, `unreadable`, with the reason.
    """
    if verified.predicate_type not in SLSA:
        return {}
    try:
        normal = normal_form(verified.predicate_type, verified.predicate)
    except UnreadablePredicate as error:
        return {"unreadable": str(error)}
    claimed = {name: getattr(normal, name) for name in _TOLD}
    return {name: text for name, text in claimed.items() if text is not None}
