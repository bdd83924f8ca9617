"""What an attestation states, and of which file. Pure.

Source: in-toto attestation framework, "Statement" v1; PEP 740, "Attestation statements"; contract python-index
section 4.1; trust contract sections 5.2 and 6 (20, 21).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename

from countermark.core.attestations.results import Failed, Step
from countermark.core.attestations.summary import SUMMARY, UnreadableSummary, read_summary
from countermark.core.digest import InvalidDigest, Sha256, parse_sha256
from countermark.core.strict_json import read_json

PAYLOAD_TYPE = "application/vnd.in-toto+json"
"""Of the DSSE envelopes that hold statements."""

STATEMENT_V1 = "https://in-toto.io/Statement/v1"
STATEMENT_V0_1 = "https://in-toto.io/Statement/v0.1"
SLSA_PROVENANCE_V1 = "https://slsa.dev/provenance/v1"

_PUBLISH_V1 = "/attestations/publish/v1"
"""How the type of the predicate ends that says no more than "I published this file"; an index names its own."""

MAX_SUBJECTS, MAX_TYPE = 1024, 300
"""Subjects of a statement, and characters of a predicate's type."""

_OLD_PREDICATE = re.compile(r"/v0(\.[0-9]+)?\Z")
"""How the types of predicates end that were there before statements had a first version."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What was signed, read.

    Attributes:
        subjects: what it is about, as it came.
    """

    predicate_type: str
    predicate: Mapping[str, Any] | None
    subjects: Sequence[Any]


def read_statement(payload: bytes) -> Statement:
    """Read a statement as PEP 740 takes them, whatever it is about.

    Raises:
        Failed: STATEMENT.
    """
    document = _read(payload)
    if document.get("_type") != STATEMENT_V1:
        raise _bad("it is no in-toto Statement v1")
    kind, predicate, subjects = document.get("predicateType"), document.get("predicate"), document.get("subject")
    if not isinstance(kind, str):
        raise _bad("it has no predicate type")
    if kind == SLSA_PROVENANCE_V1:
        if not isinstance(predicate, dict):
            raise _bad("its predicate is no object")
    elif not (kind.startswith("https://") and kind.endswith(_PUBLISH_V1)):
        raise _bad(f"its predicate type is not known here: {kind[:100]!r}")
    elif predicate not in (None, {}):
        raise _bad("a predicate of this type is null or empty")
    if not isinstance(subjects, list):
        raise _bad("it has no list of subjects")
    return Statement(kind, predicate, subjects)


def read_any_statement(payload: bytes) -> Statement:
    """Read a statement of a Sigstore bundle: v1, or v0.1 as old pipelines make them, with any predicate.

    A statement of the old version with a predicate of the first version or later is refused: nobody makes that, so it
    is there to be read as something else.

    Raises:
        Failed: STATEMENT.

    Source: trust contract sections 4 and 6 (21).
    """
    document = _read(payload)
    version, kind, predicate = document.get("_type"), document.get("predicateType"), document.get("predicate")
    if version not in (STATEMENT_V1, STATEMENT_V0_1):
        raise _bad("it is no in-toto Statement, neither v1 nor v0.1")
    if not isinstance(kind, str) or not 0 < len(kind) <= MAX_TYPE or not kind.isprintable():
        raise _bad(f"its predicate type is not a printable text of up to {MAX_TYPE} characters")
    if version == STATEMENT_V0_1 and not _OLD_PREDICATE.search(kind):
        raise _bad(f"a Statement v0.1 has no predicate of the type {kind[:100]!r}")
    if predicate is not None and not isinstance(predicate, dict):
        raise _bad("its predicate is no object")
    if kind == SUMMARY:
        try:
            read_summary(predicate)
        except UnreadableSummary as error:
            raise _bad(f"its verification summary cannot be read: {error}") from error
    subjects = document.get("subject")
    if not isinstance(subjects, list) or not 1 <= len(subjects) <= MAX_SUBJECTS:
        raise _bad(f"it has no list of 1 to {MAX_SUBJECTS} subjects")
    for subject in subjects:
        if not isinstance(subject, dict) or not isinstance(subject.get("digest"), dict):
            raise _bad("a subject has no digests")
    return Statement(kind, predicate, subjects)


def _read(payload: bytes) -> Mapping[str, Any]:
    try:
        document = read_json(payload)
    except ValueError as error:
        raise _bad(f"it cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise _bad("it is no object")
    return document


def find_subject(statement: Statement, file_name: str, sha256: Sha256) -> str:
    """Return the name of the subject that is a file: one with this name, exactly, and this sha256.

    Other digests than sha256 do not count, nor do a name and a digest of two subjects.

    Raises:
        Failed: SUBJECT.

    Source: trust contract sections 4 ("Subject match (ours)") and 6 (19, 20).
    """
    named = [one for one in statement.subjects if one.get("name") == file_name]
    if any(one["digest"].get("sha256") == sha256 for one in named):
        return file_name
    if named:
        found = named[0]["digest"].get("sha256")
        raise Failed(Step.SUBJECT, f"it is about other bytes of {file_name}: {str(found)[:80]!r}")
    names = ", ".join(repr(str(one.get("name"))[:100]) for one in statement.subjects[:2])
    raise Failed(Step.SUBJECT, f"it is about {names}, not about {file_name}")


def check_subject(statement: Statement, file_name: str, sha256: Sha256) -> None:
    """Check that a statement is about a file, and about nothing else.

    Names are compared as wheel and sdist names are: spellings that mean the same distribution are equal.

    Raises:
        Failed: SUBJECT.
    """
    if len(statement.subjects) != 1:
        raise Failed(Step.SUBJECT, f"it has {len(statement.subjects)} subjects; exactly one is taken")
    [subject] = statement.subjects
    name = subject.get("name") if isinstance(subject, dict) else None
    digests = subject.get("digest") if isinstance(subject, dict) else None
    if not isinstance(name, str) or not isinstance(digests, dict):
        raise Failed(Step.SUBJECT, "its subject has no name or no digests")
    meant, wanted = _parsed(name), _parsed(file_name)
    if meant is None or wanted is None or meant != wanted:
        raise Failed(Step.SUBJECT, f"it is about {name[:100]!r}, not about {file_name}")
    found = digests.get("sha256")
    try:
        same = isinstance(found, str) and len(found) == len(sha256) and parse_sha256(found) == sha256
    except InvalidDigest:
        same = False
    if not same:
        raise Failed(Step.SUBJECT, f"it is about other bytes of {file_name}: {str(found)[:80]!r}")


def _bad(detail: str) -> Failed:
    return Failed(Step.STATEMENT, detail)


def _parsed(name: str) -> tuple[object, ...] | None:
    """Return what a file's name means, None for what is neither a wheel nor an sdist."""
    try:
        if name.endswith(".whl"):
            return parse_wheel_filename(name)
        # The format counts as well: foo-1.zip is another file than foo-1.tar.gz.
        return (*parse_sdist_filename(name), name.rpartition(".")[2])
    except (InvalidSdistFilename, InvalidWheelFilename):
        return None
