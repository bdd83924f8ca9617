"""A policy, read: who may have built what, and what a file must show before it is taken. Pure.

Source: trust contract section 4 ("Policy file"); ADR 0038.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from countermark.core.attestations.facts import LogKind
from countermark.core.attestations.summary import OWN_RESOURCE, SUMMARY
from countermark.core.digest import Sha256

USUAL_LOGS = (LogKind.V1, LogKind.V2)
"""What may have recorded a signature where a rule says nothing of it."""

SLSA_V1 = "https://slsa.dev/provenance/v1"
SLSA_V02 = "https://slsa.dev/provenance/v0.2"
SLSA = (SLSA_V1, SLSA_V02)
"""Predicate types of build provenance that are read here."""

MAX_LEVEL = 4


@dataclass(frozen=True, slots=True)
class San:
    """The subject that a certificate must name; exactly one of the three.

    Attributes:
        workflow: the part before the first `@` of a URI; what follows must fit one of `refs`.
        uri: a whole URI.
        email: an e-mail address.
    """

    workflow: str | None = None
    refs: tuple[str, ...] = ()
    uri: str | None = None
    email: str | None = None


@dataclass(frozen=True, slots=True)
class Signer:
    """Whose signature counts.

    Attributes:
        root: the name in `Policy.roots` of what the certificate must chain to; None with `key`.
        issuer: of the identity in the certificate; None only where the root is a company's CA, which is its own.
        key: the name in `Policy.keys` of a bare key, instead of a certificate.
        level: the SLSA build level that it is trusted with.
    """

    name: str
    root: str | None = None
    issuer: str | None = None
    san: San | None = None
    key: str | None = None
    level: int = 0


@dataclass(frozen=True, slots=True)
class Builder(Signer):
    """Whose build provenance counts; `level` is what it counts for.

    Attributes:
        builder_ids: what build provenance may say that built it, as it is or with `@` and the certificate's ref
            behind it. Nothing fits an empty list.
        build_types: how it may say it was built. Nothing fits an empty list.
    """

    builder_ids: tuple[str, ...] = ()
    build_types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verifier(Signer):
    """Whose verification summaries count in place of build provenance; what they claim counts up to `level`.

    Attributes:
        verifier_id: what the summaries of this signer must say that verified.
        resource_uris: how they may name the file; see `resource_uri`.
        policies: sha256 of the policies that they must have been verified by; empty: of any.
    """

    verifier_id: str = ""
    resource_uris: tuple[str, ...] = (OWN_RESOURCE,)
    policies: tuple[Sha256, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """What is demanded of the files it matches.

    Attributes:
        match: a normalised project name, `PREFIX-*` or `*`.
        indexes: `owner/name` each; empty for all.
        deny: nothing is taken.
        attested: whether evidence is demanded of every file.
        continuity: evidence is demanded once the project had some, even where `attested` is false.
        builders: names in `Policy.builders`, one of which must have signed.
        verifiers: names in `Policy.verifiers`, one of which may have signed instead that the file passed there.
        predicates: types, one of which the statement must have.
        log_kinds: what may have recorded it; `none` is to say that nothing need have.
        max_age_days: since it was signed.
    """

    match: str
    indexes: tuple[str, ...] = ()
    deny: bool = False
    attested: bool = True
    continuity: bool = False
    builders: tuple[str, ...] = ()
    verifiers: tuple[str, ...] = ()
    source: str | None = None
    source_refs: tuple[str, ...] = ()
    predicates: tuple[str, ...] = SLSA
    min_level: int = 0
    log_kinds: tuple[LogKind, ...] = USUAL_LOGS
    max_age_days: int | None = None

    @property
    def types(self) -> tuple[str, ...]:
        """The types of statements that are looked at: builders' of `predicates`, verifiers' summaries."""
        if not self.verifiers:
            return self.predicates
        return (*self.predicates, SUMMARY) if self.builders else (SUMMARY,)

    @property
    def words(self) -> str:
        """How people name the rule."""
        return f"{self.match!r}" + (f" in {', '.join(self.indexes)}" if self.indexes else "")

    def covers(self, index: str, project: str) -> bool:
        """Return whether the rule is about a project of an index."""
        if self.indexes and index not in self.indexes:
            return False
        if self.match.endswith("*"):
            return project.startswith(self.match[:-1])
        return project == self.match

    @property
    def weight(self) -> tuple[bool, int, bool]:
        """What orders rules: exact before prefix, long prefix before short, named indexes before all."""
        return not self.match.endswith("*"), len(self.match), bool(self.indexes)


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy file.

    Attributes:
        roots: name -> the target path of a trusted root: `trusted_root.json` or below `trust/`.
        test_roots: the names among them that may be a test instance's.
        keys: name -> public key, PEM.
        key_ids: name -> sha256 of the key's SubjectPublicKeyInfo, hexadecimal.
        builders: by name.
        verifiers: by name.
        rules: most specific first.
    """

    roots: Mapping[str, str]
    test_roots: frozenset[str]
    keys: Mapping[str, str]
    key_ids: Mapping[str, str]
    builders: Mapping[str, Builder]
    verifiers: Mapping[str, Verifier]
    rules: tuple[Rule, ...]

    def rule_for(self, index: str, project: str) -> Rule | None:
        """Return the most specific rule about a project of an index."""
        return next((rule for rule in self.rules if rule.covers(index, project)), None)
