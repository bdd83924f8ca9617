"""The pointer document: the small YAML target that names one file, and `_latest`, which names a project's newest.

A pointer is never evidence by itself: it counts only as a target whose bytes TUF metadata vouch for.
Source: trust contract section 3.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from countermark.core.digest import InvalidDigest, Length, Sha256, parse_sha256
from countermark.core.names import (
    FileName,
    IndexName,
    InvalidName,
    NormalizedName,
    parse_file_name,
    parse_index_name,
    parse_project_name,
)
from countermark.core.plain_yaml import Ambiguous, NotPlain, read_plain

MAX_POINTER_BYTES = 4096
"""Bytes. Source: trust contract section 3.2."""

MAX_FILE_LENGTH = 1 << 40
"""Bytes (1 TiB): the largest length a pointer may state; callers set a lower limit of their own."""

_DIGITS = re.compile(r"[0-9]{1,13}\Z")
_URI_SEGMENT = re.compile(r"[A-Za-z0-9._!+~-]+\Z")


class MalformedPointer(ValueError):
    """The bytes are not a pointer document; the message says which rule they break."""


@dataclass(frozen=True, slots=True)
class Resource:
    """Stored bytes as a pointer names them: `uri` is the plain object key with a leading slash."""

    uri: str
    digest: Sha256
    length: Length


@dataclass(frozen=True, slots=True)
class Pointer:
    """One file of one release in one index; `attestation` is the build-provenance bundle, when there is one."""

    name: NormalizedName
    version: str
    index: IndexName
    file: Resource
    attestation: Resource | None = None

    @property
    def file_name(self) -> FileName:
        """The last segment of the file's `uri`."""
        return FileName(self.file.uri.rpartition("/")[2])

    def to_bytes(self) -> bytes:
        """Return the canonical bytes: fixed key order, every string double-quoted, LF, no comments."""
        lines = [
            "pointer:",
            f'  name: "{self.name}"',
            f'  version: "{self.version}"',
            f'  index: "{self.index}"',
            f'  uri: "{self.file.uri}"',
            f'  digest: "{self.file.digest}"',
            f"  length: {self.file.length}",
        ]
        if self.attestation is not None:
            lines += [
                "  attestation:",
                f'    uri: "{self.attestation.uri}"',
                f'    digest: "{self.attestation.digest}"',
                f"    length: {self.attestation.length}",
            ]
        return ("\n".join(lines) + "\n").encode()


@dataclass(frozen=True, slots=True)
class Latest:
    """What `_latest.pointer` says: the newest release of a project and the file a plain download takes."""

    name: NormalizedName
    version: str
    index: IndexName
    file: FileName

    def to_bytes(self) -> bytes:
        """Return the canonical bytes, in the manner of a pointer."""
        return (
            f'pointer:\n  name: "{self.name}"\n  version: "{self.version}"\n'
            f'  index: "{self.index}"\n  file: "{self.file}"\n'
        ).encode()


def parse_pointer(data: bytes) -> Pointer:
    """Parse a pointer document.

    Args:
        data: the document, at most `MAX_POINTER_BYTES` bytes.

    Raises:
        MalformedPointer: size, encoding, YAML features (anchors, aliases, tags, duplicate keys, several documents),
            a missing key, or a value of the wrong form.

    Source: trust contract section 3.2.
    """
    fields = _document(data)
    attestation = fields.get("attestation")
    if attestation is not None and not isinstance(attestation, dict):
        raise MalformedPointer("attestation must be a mapping")
    name, version, index = _identity(fields)
    return Pointer(
        name=name,
        version=version,
        index=index,
        file=_resource(fields),
        attestation=None if attestation is None else _resource(attestation),
    )


def parse_latest(data: bytes) -> Latest:
    """Parse a `_latest.pointer` document; see `parse_pointer` for limits and errors."""
    fields = _document(data)
    name, version, index = _identity(fields)
    try:
        return Latest(name=name, version=version, index=index, file=parse_file_name(_text(fields, "file")))
    except InvalidName as error:
        raise MalformedPointer(str(error)) from error


_Fields = Mapping[str, object]


def _identity(fields: _Fields) -> tuple[NormalizedName, str, IndexName]:
    try:
        name = parse_project_name(_text(fields, "name"))
        if name != fields["name"]:
            raise MalformedPointer("name is not normalised")
        return name, _text(fields, "version"), parse_index_name(_text(fields, "index"))
    except InvalidName as error:
        raise MalformedPointer(str(error)) from error


def _resource(fields: _Fields) -> Resource:
    try:
        digest = parse_sha256(_text(fields, "digest"))
    except InvalidDigest as error:
        raise MalformedPointer(str(error)) from error
    length = _text(fields, "length", is_number=True)
    if not _DIGITS.match(length) or not 1 <= int(length) <= MAX_FILE_LENGTH:
        raise MalformedPointer(f"length must be 1 to {MAX_FILE_LENGTH} in digits")
    return Resource(parse_uri(_text(fields, "uri")), digest, Length(int(length)))


def parse_uri(uri: str) -> str:
    """Return the plain object key that says where a resource lies, with its leading slash.

    Raises:
        MalformedPointer: it is none.
    """
    if not uri.startswith("/") or len(uri) > 1024:
        raise MalformedPointer("uri must be path-absolute")
    for segment in uri[1:].split("/"):
        if segment in {".", ".."} or not _URI_SEGMENT.match(segment):
            raise MalformedPointer(f"uri is not normalised: {uri[:200]!r}")
    return uri


def _text(fields: _Fields, key: str, *, is_number: bool = False) -> str:
    """Return a value as it is written.

    What other readers would take for a number or a date is refused in the place of text: such a pointer means one
    thing here and another there (trust contract section 6, row 27).
    """
    value = fields.get(key)
    if not isinstance(value, str) or not value:
        raise MalformedPointer(f"{key} is missing or not a plain value")
    if isinstance(value, Ambiguous) and not is_number:
        raise MalformedPointer(
            f"{key} stands without quotes, and many readers of YAML do not take {value[:80]} for text"
        )
    if len(value) > 1024 or any(ord(character) < 32 or character in '"\\' for character in value):
        raise MalformedPointer(f"{key} holds characters that are not allowed")
    return value


def _document(data: bytes) -> _Fields:
    """Compose the one YAML document with every scalar as text and return the mapping below `pointer`."""
    try:
        root = read_plain(data, MAX_POINTER_BYTES, max_depth=4)
    except NotPlain as error:
        raise MalformedPointer(str(error)) from error
    fields = root.get("pointer") if isinstance(root, dict) else None
    if not isinstance(fields, dict):
        raise MalformedPointer("expected a mapping below the key 'pointer'")
    return fields
