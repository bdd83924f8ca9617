"""Statements about files: from the facts of a build, from a predicate, or from a statement of an old pipeline. Pure.

What is made here is signed byte for byte by whoever signs: the bytes follow from the facts alone.
Source: in-toto attestation framework, "Statement" v1; SLSA, "Build provenance" v1; trust contract section 4.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from countermark.core.attestations.results import Failed, Step
from countermark.core.attestations.statement import (
    MAX_TYPE,
    SLSA_PROVENANCE_V1,
    STATEMENT_V1,
    find_subject,
    read_any_statement,
)
from countermark.core.digest import Sha256
from countermark.core.strict_json import read_json

MAX_STATEMENT_BYTES = 512 << 10
"""Bytes of a statement: no verifier of ours takes a larger payload."""

_STRONG = ("sha256", "sha384", "sha512")
"""Digests that are taken over from old statements: libraries that sign refuse statements with weaker ones."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A file that a statement is about."""

    name: str
    sha256: Sha256

    def to_document(self) -> dict[str, Any]:
        """Return this in JSON."""
        return {"name": self.name, "digest": {"sha256": self.sha256}}


@dataclass(frozen=True, slots=True)
class Material:
    """Something that a build took in: sources, or a distribution that it was made with.

    Attributes:
        digest: algorithm -> hex; empty where none is known.
        notes: what else is to be said of it.
    """

    uri: str
    digest: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)

    def to_document(self) -> dict[str, Any]:
        """Return this in JSON, as a resource descriptor."""
        document: dict[str, Any] = {"uri": self.uri}
        if self.digest:
            document["digest"] = dict(self.digest)
        if self.notes:
            document["annotations"] = dict(self.notes)
        return document


@dataclass(frozen=True, slots=True)
class Build:
    """What is known of a build before it begins.

    Attributes:
        build_type: URI that says how the parameters are to be read.
        builder: URI of who builds, as its identity says it.
        external: parameters that whoever started the build has chosen.
        internal: those that the builder has set.
        source: where the sources come from; None where nobody knows.
        invocation: URI of this very run; None where there is none.
        versions: of the programs that build.
    """

    build_type: str
    builder: str
    external: Mapping[str, Any]
    internal: Mapping[str, Any]
    source: Material | None
    invocation: str | None
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Course:
    """How a build went: when, and which distributions were there to build with (name -> version)."""

    began: datetime
    ended: datetime
    tools: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement that may be signed.

    Attributes:
        payload: the bytes to sign.
        is_rewritten: whether it came as Statement v0.1, and was written anew as v1.
    """

    payload: bytes
    predicate_type: str
    is_rewritten: bool = False


def provenance_statement(subject: Subject, build: Build, course: Course) -> bytes:
    """Return the SLSA provenance of a built file, unsigned."""
    materials = [] if build.source is None else [build.source]
    # A package URL has no digest here: what an installed distribution was unpacked from is gone.
    materials += [Material(f"pkg:pypi/{name}@{version}") for name, version in sorted(course.tools.items())]
    metadata = {} if build.invocation is None else {"invocationId": build.invocation}
    predicate = {
        "buildDefinition": {
            "buildType": build.build_type,
            "externalParameters": dict(build.external),
            "internalParameters": dict(build.internal),
            "resolvedDependencies": [material.to_document() for material in materials],
        },
        "runDetails": {
            "builder": {"id": build.builder, "version": dict(build.versions)},
            "metadata": metadata | {"startedOn": _instant(course.began), "finishedOn": _instant(course.ended)},
        },
    }
    return statement([subject], SLSA_PROVENANCE_V1, predicate)


def statement(subjects: Sequence[Subject], predicate_type: str, predicate: Mapping[str, Any] | None) -> bytes:
    """Return a Statement v1: compact, its keys in order.

    Args:
        subjects: at least one.
        predicate: None for types whose predicate says nothing.
    """
    return _written([subject.to_document() for subject in subjects], predicate_type, predicate)


def prepare(payload: bytes, subject: Subject) -> Prepared:
    """Check that a statement is about a file and return what is to be signed of it.

    A Statement v1 is signed as it is, byte for byte. A v0.1 is written anew as v1, with the predicate it has and all
    its subjects: what signs takes v1 alone (trust contract section 4, "Accept both, emit v1").

    Raises:
        Failed: STATEMENT, it is none or one that nobody would accept; SUBJECT, it is about another file.
    """
    if len(payload) > MAX_STATEMENT_BYTES:
        raise Failed(Step.STATEMENT, f"it has more than {MAX_STATEMENT_BYTES} bytes")
    found = read_any_statement(payload)
    if not is_predicate_type(found.predicate_type):
        raise Failed(Step.STATEMENT, "its predicate type is no URI")
    find_subject(found, subject.name, subject.sha256)
    if read_json(payload)["_type"] == STATEMENT_V1:
        return Prepared(payload, found.predicate_type)
    subjects = [one for one in map(_strong, found.subjects) if one["digest"]]
    return Prepared(_written(subjects, found.predicate_type, found.predicate), found.predicate_type, is_rewritten=True)


def is_predicate_type(text: str) -> bool:
    """Return whether a text may be the type of a predicate: a URI in characters that everybody sees."""
    return len(text) <= MAX_TYPE and text.isascii() and text.isprintable() and " " not in text and ":" in text


def _written(subjects: Sequence[Any], predicate_type: str, predicate: Any) -> bytes:
    document = {
        "_type": STATEMENT_V1,
        "subject": list(subjects),
        "predicateType": predicate_type,
        "predicate": predicate,
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _strong(subject: Mapping[str, Any]) -> dict[str, Any]:
    """Return a subject with those of its digests that may still prove something."""
    digests = {name: value for name, value in subject["digest"].items() if name in _STRONG}
    return {"name": subject.get("name"), "digest": digests}


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
