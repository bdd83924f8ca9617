"""Digests and lengths: how stored bytes are named.

Source: TUF specification 1.0.34 section 4.5 (hashes and length of a target); architecture section 2.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NewType

Sha256 = NewType("Sha256", str)
"""A sha256 digest: 64 lower-case hexadecimal characters, without an algorithm prefix."""

Length = NewType("Length", int)
"""A size in bytes, never negative."""

_HEX64 = re.compile(r"[0-9a-f]{64}\Z")


class InvalidDigest(ValueError):
    """The text is not a sha256 digest; `value` is the text, cut to 100 characters."""

    def __init__(self, value: str) -> None:
        self.value = value[:100]
        super().__init__(f"not a sha256 digest (64 lower-case hex characters): {self.value!r}")


@dataclass(frozen=True, slots=True)
class Measured:
    """What hashing a stream of bytes found: its digest and its length in bytes."""

    sha256: Sha256
    length: Length


def parse_sha256(text: str) -> Sha256:
    """Return `text` as a digest; a leading `sha256:` is accepted and dropped.

    Raises:
        InvalidDigest: anything but 64 lower-case hexadecimal characters follows.

    Source: trust contract section 3.2 ("Accept bare hex and `sha256:` for digests").
    """
    bare = text.removeprefix("sha256:")
    if not _HEX64.match(bare):
        raise InvalidDigest(text)
    return Sha256(bare)


def sha256_of(data: bytes) -> Sha256:
    """Return the digest of `data`."""
    return Sha256(hashlib.sha256(data).hexdigest())


def measure(chunks: Iterable[bytes]) -> Measured:
    """Hash an iterable of chunks without keeping them; returns digest and total length in bytes."""
    digest = hashlib.sha256()
    length = 0
    for chunk in chunks:
        digest.update(chunk)
        length += len(chunk)
    return Measured(Sha256(digest.hexdigest()), Length(length))
