"""Files of a ceremony on this machine: read within bounds, and never written over."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from countermark.core.ceremony.documents import MAX_DOCUMENT_BYTES
from countermark.core.ceremony.faults import CeremonyFault
from countermark.core.errors import LocalState, UsageFault

_Read = TypeVar("_Read")


def read_document(path: Path, parse: Callable[[bytes], _Read]) -> _Read:
    """Read a document that a person names.

    Raises:
        UsageFault: the file cannot be read, or is no such document.
    """
    content = read_file(path, MAX_DOCUMENT_BYTES)
    try:
        return parse(content)
    except CeremonyFault as error:
        raise UsageFault(f"{path}: {error}", "Ask for the file again.") from error


def read_file(path: Path, limit: int) -> bytes:
    """Return the bytes of a file that a person names.

    Raises:
        UsageFault: it cannot be read, or is longer than `limit` bytes.
    """
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise UsageFault(f"cannot read {path}: {error.strerror or error}") from error
    if len(content) > limit:
        raise UsageFault(f"{path} is longer than {limit} bytes")
    return content


def write_new(path: Path, content: bytes) -> None:
    """Write a file that was not there, readable by its owner; the same content once more is fine.

    Raises:
        LocalState: it is there with another content, or cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError as error:
        if _holds(path, content):
            return
        raise LocalState(f"{path} is there already, with another content", "Name another file with --out.") from error
    except OSError as error:
        raise LocalState(f"cannot write {path}: {error.strerror or error}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise LocalState(
            f"cannot write {path}: {error.strerror or error}", "Make room, or name another file."
        ) from error


def _holds(path: Path, content: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(content) + 1) == content
    except OSError:
        return False
