"""Files that appear at their destination complete and checked, or not at all.

Source: trust contract section 3.3 ("Nothing appears at the destination before the last step").
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tuf.api.exceptions import DownloadError

from countermark.core.digest import Length, Measured, Sha256, measure
from countermark.core.errors import LocalState, NetworkFailure, WrongDigest, WrongLength
from countermark.core.names import FileName
from countermark.core.pointer import Resource
from countermark.progress import Advance, ignore
from countermark.transport import CHUNK, ByteSource


@dataclass(frozen=True, slots=True)
class Part:
    """A temporary file in the destination folder; `place` gives it its name."""

    path: Path
    file: BinaryIO

    def clear(self) -> None:
        """Forget what was written, to begin anew.

        Raises:
            LocalState: the folder does not take it.
        """
        with _as_local_state(self.path):
            self.file.seek(0)
            self.file.truncate()

    def place(self, name: FileName) -> Path:
        """Put the file under its name, durably and in one step; an older file of that name is replaced.

        Raises:
            LocalState: the folder does not take it.
        """
        destination = self.path.with_name(name)
        with _as_local_state(destination):
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()
            self.path.replace(destination)
        return destination


@contextlib.contextmanager
def part_in(folder: Path) -> Iterator[Part]:
    """Yield a temporary file in `folder`, which is made when missing; unless it is placed, nothing of it stays.

    Raises:
        LocalState: the folder is not writable.
    """
    with _as_local_state(folder):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f".countermark-{secrets.token_hex(8)}.part"
        # Made anew or not at all, with the permissions that the person's umask gives new files.
        file = path.open("xb")
    try:
        yield Part(path, file)
    finally:
        with contextlib.suppress(OSError):
            file.close()
        path.unlink(missing_ok=True)


def fetch_resource(resource: Resource, url: str, source: ByteSource, into: BinaryIO, advance: Advance = ignore) -> None:
    """Stream a resource into a file, at most one byte more than its length, hashing while reading.

    Args:
        resource: digest and length to hold to.
        url: where it lies.
        source: reads it.
        into: takes the bytes.
        advance: is told how many bytes came.

    Raises:
        NetworkFailure: it could not be read in time.
        WrongLength: it is longer or shorter.
        WrongDigest: it has other bytes.
        LocalState: the bytes could not be written.
    """
    digest = hashlib.sha256()
    received = 0
    with contextlib.closing(_chunks(source.stream(url, resource.length))) as chunks:
        for chunk in chunks:
            received += len(chunk)
            if received > resource.length:
                raise WrongLength(f"{url} is longer than the {resource.length} bytes that were signed")
            digest.update(chunk)
            with _as_local_state(into.name):
                into.write(chunk)
            advance(len(chunk))
    compare(resource, Measured(Sha256(digest.hexdigest()), Length(received)), url)


def measure_file(path: Path, at_most: int) -> Measured:
    """Return digest and length of a local file, reading at most one byte more than `at_most`.

    Raises:
        LocalState: it cannot be read.
    """
    with _as_local_state(path, "Check its path, and that this account may read it."), path.open("rb") as file:
        return measure(_bounded(file, at_most + 1))


def holds(path: Path, resource: Resource) -> bool:
    """Return whether a file lies there with the bytes of a resource.

    Raises:
        LocalState: it cannot be read.
    """
    return path.is_file() and measure_file(path, resource.length) == Measured(resource.digest, resource.length)


def compare(resource: Resource, found: Measured, what: str) -> None:
    """Compare what was found with what was signed: length first, then digest.

    Raises:
        WrongLength: the lengths differ.
        WrongDigest: the digests differ.
    """
    if found.length != resource.length:
        more = "longer" if found.length > resource.length else f"{found.length} bytes long"
        raise WrongLength(f"{what} is {more}, and {resource.length} bytes were signed")
    if found.sha256 != resource.digest:
        raise WrongDigest(f"{what} has sha256 {found.sha256}, and {resource.digest} was signed")


def _bounded(file: BinaryIO, most: int) -> Iterator[bytes]:
    while most > 0 and (chunk := file.read(min(CHUNK, most))):
        most -= len(chunk)
        yield chunk


def _chunks(stream: Iterator[bytes]) -> Generator[bytes, None, None]:
    try:
        yield from stream
    except DownloadError as error:
        raise NetworkFailure(str(error)) from error


@contextlib.contextmanager
def _as_local_state(what: Path | str | int, remedy: str = "Make room, or name another folder.") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalState(f"{what}: {error.strerror or error}", remedy) from error


def write_over(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, in place of what was there.

    Raises:
        LocalState: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.part")
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        raise LocalState(f"cannot write {path}: {error.strerror or error}", "Choose another place.") from error
