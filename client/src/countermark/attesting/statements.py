"""What is to be signed about a file: the statement beside it, one that is named, or a predicate that is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from countermark.attesting.beside import STATEMENT
from countermark.attesting.faults import AttestFailed
from countermark.core.attestations.making import (
    MAX_STATEMENT_BYTES,
    Prepared,
    Subject,
    is_predicate_type,
    prepare,
    statement,
)
from countermark.core.attestations.results import Failed
from countermark.core.digest import measure
from countermark.core.errors import LocalState, UsageFault
from countermark.core.names import InvalidName, parse_file_name
from countermark.core.strict_json import read_json
from countermark.transport import CHUNK


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person wants signed; at most one of `statement` and `predicate_type`.

    Attributes:
        statement: a file with a whole statement; None: the one that lies beside each file.
        predicate: a file with a predicate; None where the type has none.
        predicate_type: makes a new statement about each file.
    """

    statement: Path | None = None
    predicate: Path | None = None
    predicate_type: str | None = None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            UsageFault: it does.
        """
        if self.statement is not None and (self.predicate or self.predicate_type):
            raise UsageFault("a statement has its predicate in it", "Give --statement, or --predicate with its type.")
        if self.predicate is not None and self.predicate_type is None:
            raise UsageFault("a predicate is named without its type", "Add --predicate-type URI.")
        if self.predicate_type is not None and not is_predicate_type(self.predicate_type):
            raise UsageFault("--predicate-type is no URI", "Write one, as https://slsa.dev/provenance/v1.")


def subject_of(file: Path) -> Subject:
    """Return a file as statements name it.

    Raises:
        UsageFault: it cannot be read, or its name is none that an index takes.
    """
    try:
        with file.open("rb") as stream:
            found = measure(iter(lambda: stream.read(CHUNK), b""))
        return Subject(parse_file_name(file.name), found.sha256)
    except OSError as error:
        raise UsageFault(f"cannot read {file}: {error.strerror or error}") from error
    except InvalidName as error:
        raise UsageFault(str(error)) from error


def prepared_for(file: Path, subject: Subject, wanted: Wanted) -> Prepared:
    """Return what is to be signed about a file, checked.

    Raises:
        AttestFailed: there is no statement, or it is about something else.
        LocalState: a file cannot be read.
    """
    if wanted.predicate_type is not None:
        predicate = None if wanted.predicate is None else _predicate(wanted.predicate)
        return Prepared(statement([subject], wanted.predicate_type, predicate), wanted.predicate_type)
    path = wanted.statement or file.with_name(f"{file.name}{STATEMENT}")
    if wanted.statement is None and not path.exists():
        raise AttestFailed(
            f"nothing is said of {file.name}: there is no {path.name} beside it",
            "Build it with `countermark build`, or give --statement FILE, or --predicate FILE with --predicate-type.",
        )
    try:
        return prepare(_content(path), subject)
    except Failed as failed:
        raise AttestFailed(f"{path} cannot be signed for {file.name}: {failed.detail}") from failed


def _predicate(path: Path) -> Mapping[str, Any]:
    try:
        document = read_json(_content(path))
    except ValueError as error:
        raise AttestFailed(f"{path} is no predicate: {error}", "It is a JSON object.") from error
    if not isinstance(document, dict):
        raise AttestFailed(f"{path} is no predicate", "It is a JSON object.")
    return document


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_STATEMENT_BYTES + 1)
    except OSError as error:
        raise LocalState(f"cannot read {path}: {error.strerror or error}") from error
    if len(content) > MAX_STATEMENT_BYTES:
        raise AttestFailed(f"{path} has more than {MAX_STATEMENT_BYTES} bytes", "No index takes that much.")
    return content
