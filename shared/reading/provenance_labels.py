"""What is said of a release's provenance, by itself and beside the release before it. Pure.

A label is for people who look: what has to hold is for the policy to say. Builders are told apart by whose certificate
or key signed, never by what a predicate claims.
Source: contract python-index section 4.1 (last point).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from shared.reading.provenance import GITHUB, GITHUB_ISSUER


class Label(StrEnum):
    """The one word; of several that fit, the one further down counts."""

    NONE = "none"
    FULL = "full"
    PARTIAL = "partial"
    CHANGED = "changed"
    LOST = "lost"


Identities = frozenset[str]
"""Who signed what is attested of one file; none of a file without an attestation."""

_TOLD = 3
"""Identities that words name."""


@dataclass(frozen=True, slots=True)
class ReleaseProvenance:
    """What is said of a release.

    Attributes:
        words: a sentence for people.
        files: of the release.
        attested: of these, those with an attestation.
        identities: who signed.
    """

    label: Label
    words: str
    files: int
    attested: int
    identities: tuple[str, ...]


def identity_of(facts: Mapping[str, Any]) -> str:
    """Return who signed a verified bundle: the workflow without its ref, the e-mail address, or the key.

    Args:
        facts: as `VerifiedBundle.to_document` has them.
    """
    if facts.get("key"):
        return f"key {facts['key']}"
    san, issuer = str(facts.get("san") or "nobody named"), facts.get("issuer")
    who = san.partition("@")[0] if facts.get("san_type") == "uri" else san
    # A forge's own workflows are known by their address; the same address in another issuer's words is somebody else.
    host = GITHUB if issuer == GITHUB_ISSUER else f"{issuer}/"
    own = facts.get("san_type") == "uri" and who.startswith("https://") and who.startswith(host)
    return who if issuer is None or own else f"{who} ({issuer})"


def provenance_label(files: Sequence[Identities], before: Sequence[Identities] | None) -> ReleaseProvenance:
    """Return what is said of a release.

    Args:
        files: of the release.
        before: files of the release before it; None where there is none.
    """
    attested = [one for one in files if one]
    who, earlier = _all(files), _all(before or ())
    new = sorted(who - earlier)
    if not attested and earlier:
        label, words = Label.LOST, f"the release before was attested by {_named(earlier)}, this one is by nobody"
    elif new and earlier:
        label, words = Label.CHANGED, f"signed by {_named(new)}; the release before was by {_named(earlier)}"
    elif not attested:
        label, words = Label.NONE, "no file is attested"
    elif len(attested) < len(files):
        label, words = Label.PARTIAL, f"{len(attested)} of {len(files)} files are attested, by {_named(who)}"
    else:
        label, words = Label.FULL, f"every file is attested, by {_named(who)}"
    return ReleaseProvenance(label, words, len(files), len(attested), tuple(sorted(who)))


def _all(files: Collection[Identities]) -> Identities:
    return frozenset().union(*files)


def _named(identities: Collection[str]) -> str:
    shown = sorted(identities)[:_TOLD]
    more = len(identities) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
