"""Bytes of an upstream: where they are, what they must be, and under what they are kept. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from countermark.core.digest import Length, Sha256, sha256_of
from countermark.core.names import FileName, NormalizedName
from shared.auth.directory import IndexRecord
from shared.formats.python.metadata import MAX_METADATA_BYTES
from shared.formats.python.upstream import Origin
from shared.objects.interface import Key
from shared.objects.keys import mirrored_key

MAX_PROVENANCE_BYTES = 4 << 20
"""Bytes of a provenance object; real ones have some 10,000 for each bundle."""

_END_OF_PATH = re.compile(r"[?#]|\Z")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Bytes of an upstream.

    Attributes:
        mirror: whose upstream.
        key: in the store, on its private side.
        sha256: what they must have; None where nobody says, which is so for provenance alone.
        length: in bytes as the page says; None when it does not.
        most: bytes read at the most.
    """

    mirror: IndexRecord
    project: NormalizedName
    file_name: FileName
    key: Key
    url: str
    sha256: Sha256 | None
    length: Length | None
    most: int

    @property
    def host(self) -> str:
        """Where it comes from, for people."""
        return urlsplit(self.url).netloc


def wanted_file(mirror: IndexRecord, project: NormalizedName, file_name: FileName, origin: Origin, most: int) -> Wanted:
    """Return a file of a mirror.

    Args:
        most: bytes of a file whose length the page does not say.
    """
    key = mirrored_key(mirror.id, mirror.life, origin.sha256, file_name)
    bound = most if origin.length is None else origin.length
    return Wanted(mirror, project, file_name, key, origin.url, origin.sha256, origin.length, bound)


def wanted_metadata(mirror: IndexRecord, project: NormalizedName, file_name: FileName, origin: Origin) -> Wanted | None:
    """Return the core metadata file of a mirrored file, None when its page tells of none."""
    sha256 = origin.metadata_sha256
    if sha256 is None:
        return None
    key = mirrored_key(mirror.id, mirror.life, sha256, f"{file_name}.metadata")
    url = _END_OF_PATH.sub(lambda end: f".metadata{end[0]}", origin.url, count=1)
    return Wanted(mirror, project, file_name, key, url, sha256, None, MAX_METADATA_BYTES)


def wanted_provenance(
    mirror: IndexRecord, project: NormalizedName, file_name: FileName, origin: Origin
) -> Wanted | None:
    """Return the provenance object of a mirrored file, None when its page tells of none."""
    url = origin.provenance
    if url is None:
        return None
    key = mirrored_key(mirror.id, mirror.life, sha256_of(url.encode()), f"{file_name}.provenance")
    return Wanted(mirror, project, file_name, key, url, None, None, MAX_PROVENANCE_BYTES)
