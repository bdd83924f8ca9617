"""Copies files of this machine while hashing them, for imports: what is stored is what was hashed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from countermark.core.digest import Length, Sha256

_STEP = 1 << 20
"""Bytes copied at a time."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A copy, its length in bytes and its digests in lower-case hexadecimal."""

    path: Path
    sha256: Sha256
    blake2b_256: str
    md5: str
    length: Length


class Unreadable(Exception):
    """The source of a file cannot be read, or is not one that is taken; the message says why."""


def copied_to(source: Path, target: Path, most: int) -> Copied:
    """Copy a file while hashing it. Blocking.

    Raises:
        Unreadable: it cannot be read, is a link, is empty or has more than `most` bytes.
        OSError: the copy cannot be written.
    """
    sha256, blake2b = hashlib.sha256(), hashlib.blake2b(digest_size=32)
    md5 = hashlib.md5(usedforsecurity=False)
    length = 0
    with target.open("xb") as writing:
        for chunk in _chunks(source):
            length += len(chunk)
            if length > most:
                raise Unreadable(f"it is longer than {most} bytes (uploads.max_file_bytes).")
            for digest in (sha256, blake2b, md5):
                digest.update(chunk)
            writing.write(chunk)
    if length == 0:
        raise Unreadable("it is empty.")
    return Copied(target, Sha256(sha256.hexdigest()), blake2b.hexdigest(), md5.hexdigest(), Length(length))


def _chunks(source: Path) -> Iterator[bytes]:
    try:
        # A pipe that nobody writes to would hold us up for ever.
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb", buffering=0) as reading:
            while chunk := reading.read(_STEP):
                yield chunk
    except OSError as error:
        raise Unreadable(f"it cannot be read: {error.strerror or error}.") from error
