"""What a download's path means, who gets the file it names, and which bytes of it. Pure.

Source: architecture sections 3 and 11.5; contract python-index section 1.5; RFC 9110 sections 13.1.5 and 14.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from countermark.core.digest import Sha256
from countermark.core.names import FileName, InvalidName, NormalizedName, parse_file_name, parse_project_name
from shared.errors import ErrorKind, ServiceError
from shared.faces import Face, FaceKind
from shared.formats.python.pages import PROVENANCE_SUFFIX
from shared.objects.keys import BUNDLE_LIST, PROVENANCE_DOCUMENT
from shared.reading.facts import FileFacts
from shared.reading.headers import MAX_HEADER, Asked, parse_http_date

METADATA_SUFFIX = ".metadata"
"""What a wheel's address ends with to mean its METADATA. Source: PEP 658."""

BUNDLE_SUFFIX = ".sigstore.json"
"""What follows a file's name in the name of a bundle's object. Source: trust contract section 3.2."""

MAX_VERSION = 200
"""Characters of a version that is looked for."""

_TEST_RESULT = re.compile(r"\.toxresult-[0-9]{14}-[0-9]{1,9}\Z")
"""What the names of test results have behind that of their file. Source: contract devpi section 10."""

_DOCUMENTATION = ".doc.zip"
_DEVPI_PATH = re.compile(r"([0-9a-f]{3})/([0-9a-f]{13})/([^/]+)\Z")
_POINTER_PATH = re.compile(r"files/([0-9a-f]{2})/([0-9a-f]{62})/([^/]+)\Z")
_INTEGRITY_PATH = re.compile(r"([^/]{1,200})/([^/]{1,200})/([^/]{1,255})/provenance\Z")
_ATTESTED_PATH = re.compile(r"attestations/([^/]{1,200})/([^/]{1,255})\Z")
_SPAN = re.compile(r"([0-9]{0,18})-([0-9]{0,18})\Z")


class FileWanted(NamedTuple):
    """A file of an index, or its `.metadata`, or its provenance object, or the list of its other bundles, or a bundle
    about it.

    A tuple, since it is part of what files are kept under: a dozen of its hashes are taken for each that is fetched.

    Attributes:
        path_key: the first 16 hex digits of the file's sha256; of a bundle's own where that is wanted.
        sha256: all of them, when the path held them.
        bundle: whether a Sigstore bundle about the file is wanted.
        others: whether the list of the bundles is wanted that stand in no provenance object.
    """

    path_key: str
    file_name: FileName
    metadata: bool
    sha256: Sha256 | None = None
    provenance: bool = False
    bundle: bool = False
    others: bool = False

    @property
    def beside(self) -> bool:
        """Whether it is not the file itself that is wanted."""
        return self.metadata or self.provenance or self.bundle or self.others

    @property
    def own(self) -> bool:
        """Whether the file is the index's own: `uri`s of pointers are, since bases have repositories of their own."""
        return self.sha256 is not None


@dataclass(frozen=True, slots=True)
class Named:
    """A file as the integrity API names it: the version as written."""

    project: NormalizedName
    version: str
    file_name: FileName


@dataclass(frozen=True, slots=True)
class AttestedAt:
    """A document about the attestations of an index's own file, as the tree names it.

    Attributes:
        ending: `PROVENANCE_DOCUMENT` or `BUNDLE_LIST`.
    """

    project: NormalizedName
    file_name: FileName
    ending: str

    def of(self, path_key: str, sha256: Sha256) -> FileWanted:
        """Return what is wanted of the file that has the name."""
        listed = self.ending == BUNDLE_LIST
        return FileWanted(path_key, self.file_name, False, sha256, provenance=not listed, others=listed)


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `start` to `stop` of a file, `stop` not included; never empty."""

    start: int
    stop: int


PROVENANCE_TYPES = (b"application/vnd.pypi.integrity.v1+json", b"application/json")
"""Content-Types of provenance objects, the first unless the other is asked for."""

_MOST_RANGES = 64
"""Media ranges of one Accept that are read."""

_QUALITY = re.compile(rb"(?i)(?:\A|;)\s*q\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*(?:;|\Z)")


class Extent(Enum):
    """How much of a file is answered when it is not one span."""

    WHOLE = "whole"
    NOTHING = "nothing"
    """The range lies outside the file: 416."""


def wanted_at(face: Face) -> FileWanted | None:
    """Return which file a path means, None when it can mean none.

    `+f/` holds 64 bits of the digest (devpi's form), `+tuf/files/` all of it (the `uri` of pointers).
    """
    match face.kind:
        case FaceKind.FILE:
            found = _DEVPI_PATH.match(face.rest)
        case FaceKind.TUF:
            found = _POINTER_PATH.match(face.rest)
        case _:
            return None
    if found is None:
        return None
    digest, name = found[1] + found[2], found[3]
    bundle = face.kind is FaceKind.TUF and name.endswith(BUNDLE_SUFFIX)
    metadata, provenance = name.endswith(METADATA_SUFFIX), name.endswith(PROVENANCE_SUFFIX)
    result = _TEST_RESULT.search(name)
    try:
        if result is not None:
            # Longer than any file's name by its ending.
            file_name = FileName(parse_file_name(name[: result.start()]) + result[0])
        else:
            suffix = METADATA_SUFFIX if metadata else BUNDLE_SUFFIX if bundle else PROVENANCE_SUFFIX
            file_name = parse_file_name(name.removesuffix(suffix))
    except InvalidName:
        return None
    sha256 = Sha256(digest) if face.kind is FaceKind.TUF else None
    return FileWanted(digest[:16], file_name, metadata, sha256, provenance, bundle)


def named_at(face: Face) -> Named | None:
    """Return which file's provenance object a path of the integrity API means, None when it can mean none."""
    found = _INTEGRITY_PATH.match(face.rest) if face.kind is FaceKind.INTEGRITY else None
    return None if found is None else named_by(found[1], found[2], found[3])


def attested_at(face: Face) -> AttestedAt | None:
    """Return which document about attestations a path below `+tuf/` means, None when it can mean none."""
    found = _ATTESTED_PATH.match(face.rest) if face.kind is FaceKind.TUF else None
    for ending in (PROVENANCE_DOCUMENT, BUNDLE_LIST) if found is not None else ():
        if found is not None and found[2].endswith(ending):
            try:
                project, name = parse_project_name(found[1]), parse_file_name(found[2].removesuffix(ending))
            except InvalidName:
                return None
            return AttestedAt(project, name, ending) if found[1] == project else None
    return None


def named_by(project: str, version: str, file_name: str) -> Named | None:
    """Return the file that three names mean, None where they can mean none."""
    if len(version) > MAX_VERSION:
        return None
    try:
        return Named(parse_project_name(project), version, parse_file_name(file_name))
    except InvalidName:
        return None


def provenance_type(accept: bytes | None) -> bytes | None:
    """Return the Content-Type in which a provenance object is answered, None when the client takes neither.

    Source: contract python-index section 1.8.
    """
    if accept is None or not accept.strip():
        return PROVENANCE_TYPES[0]
    best: tuple[float, int] | None = None
    for part in accept[:MAX_HEADER].split(b",")[:_MOST_RANGES]:
        name, _, parameters = part.partition(b";")
        quality = _quality(parameters)
        for rank, offered in enumerate(PROVENANCE_TYPES):
            if quality > 0 and name.strip().lower() in (offered, b"application/*", b"*/*"):
                best = max(best or (0.0, 0), (quality, -rank))
    return None if best is None else PROVENANCE_TYPES[-best[1]]


def _quality(parameters: bytes) -> float:
    found = _QUALITY.search(parameters)
    return 1.0 if found is None else float(found[1])


def names_attachment(wanted: FileWanted) -> bool:
    """Return whether a name may be that of documentation or of a test result; pointers name neither."""
    name = wanted.file_name
    return (
        not wanted.beside
        and wanted.sha256 is None
        and (name.endswith(_DOCUMENTATION) or _TEST_RESULT.search(name) is not None)
    )


def refusal(wanted: FileWanted, facts: FileFacts | None) -> ServiceError | None:
    """Return why a file is not served, None when it is.

    Only what a publication shows is served, and all of that: marks show with the next publication.
    Source: architecture sections 5.1, 11.1 and 11.5.
    """
    missing = ServiceError(ErrorKind.NOT_FOUND, f"This index has no file {wanted.file_name} with this digest.")
    if facts is None or wanted.sha256 not in (None, facts.sha256):
        return missing
    if facts.visible:
        if wanted.metadata and facts.core_metadata_sha256 is None:
            return ServiceError(
                ErrorKind.NOT_FOUND, f"There is no metadata for {wanted.file_name}; take the file itself."
            )
        return None
    if facts.removed:
        return ServiceError(ErrorKind.GONE, f"{wanted.file_name} was removed from this index.")
    if facts.held_reason is not None:
        reason = f": {facts.held_reason}" if facts.held_reason else ""
        return ServiceError(ErrorKind.FORBIDDEN, f"{wanted.file_name} is held for review{reason}")
    if facts.was_visible:
        return ServiceError(ErrorKind.GONE, f"{wanted.file_name} is no longer part of this index.")
    return missing


def extent(asked: Asked, etag: bytes, modified: bytes, length: int) -> Span | Extent:
    """Return which bytes of a file a GET asks for.

    Several ranges at once are answered with the whole file, which RFC 9110 section 14.2 allows, and so is what cannot
    be read. With If-Range the whole file is answered unless the client's part is of exactly these bytes.

    Args:
        etag: the file's entity tag, with quotes.
        modified: the file's Last-Modified as sent.
        length: the file's length in bytes.
    """
    if asked.range is None or (asked.if_range is not None and not _same_bytes(asked.if_range, etag, modified)):
        return Extent.WHOLE
    unit, _, spec = asked.range.decode("latin-1").partition("=")
    found = _SPAN.match(spec.strip())
    if unit.strip().lower() != "bytes" or found is None:
        return Extent.WHOLE
    first, last = found[1], found[2]
    if first:
        start, stop = int(first), min(int(last) + 1, length) if last else length
        if last and int(last) < start:
            return Extent.WHOLE
    elif last:
        start, stop = max(0, length - int(last)), length
    else:
        return Extent.WHOLE
    return Span(start, stop) if start < stop else Extent.NOTHING


def _same_bytes(if_range: bytes, etag: bytes, modified: bytes) -> bool:
    """Compare strongly: weak tags never match, dates only exactly (RFC 9110 section 13.1.5)."""
    return if_range == etag or (parse_http_date(if_range) is not None and if_range == modified)
