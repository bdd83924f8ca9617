"""Parses core metadata (METADATA, PKG-INFO) and checks it against the file's name. Pure.

The file's own metadata is the only truth about a release.
Source: core metadata specifications; python-index contract sections 2.3 ("Metadata rules") and 2.5 (points 1, 2 and 6).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.parser import HeaderParser
from typing import Any

from packaging.metadata import Metadata, RawMetadata, parse_email
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from shared.formats.archive import MEBIBYTE, Issues, quoted
from shared.formats.interface import Coordinates, Inspected
from shared.formats.python.advice import advice

MAX_METADATA_BYTES = 8 * MEBIBYTE
"""Bytes of METADATA or PKG-INFO, the description included."""

MAX_SUMMARY = 512
"""Characters. Source: python-index contract section 2.3."""

_MIME_HEADERS = ("content-type", "content-transfer-encoding", "mime-version")
_WEB_URL = re.compile(r"https?://[^\s/]+", re.IGNORECASE)
_NUL = "\x00"
_MAX_FIELDS = 20_000

_REQUIRED = {"metadata_version": "Metadata-Version", "name": "Name", "version": "Version"}
_WITHOUT_LICENSE_FILES = frozenset(["1.0", "1.1", "1.2", "2.1", "2.2", "2.3"])
_PLURAL = {
    "classifier": "classifiers",
    "import-name": "import_names",
    "import-namespace": "import_namespaces",
    "license-file": "license_files",
    "platform": "platforms",
    "project-url": "project_urls",
    "supported-platform": "supported_platforms",
}
"""Header -> name of its field, where the two differ in more than dashes."""

_PARSED = frozenset(
    {
        *("name", "version", "requires_python", "requires_dist", "provides_extra", "license_expression", "dynamic"),
        *("description_content_type", "import_names", "import_namespaces", "license_files"),
    }
)
_MAX_PARSED = 8192
"""Characters of one value that is parsed further: the parsers behind `packaging` are not made for long ones."""


@dataclass(frozen=True, slots=True)
class CoreMetadata:
    """What core metadata say.

    Attributes:
        fields: `packaging.metadata.RawMetadata` keys -> text, lists of text, or label -> URL; JSON-ready.
        requires_python: the specifier as written, None when absent or empty.
        license_files: paths that must be in the file; empty when the metadata are older than version 2.4.
        issues: the faults, one sentence each.
        warnings: what is admitted all the same, one sentence each.
    """

    fields: Mapping[str, Any]
    requires_python: str | None
    license_files: tuple[str, ...]
    issues: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def inspected(self, data: bytes, *, serves: bool) -> Inspected:
        """Return what a file without faults says of itself.

        Args:
            data: the metadata's bytes.
            serves: whether they may be served as `.metadata`.
        """
        return Inspected(data, serves, self.fields, self.requires_python, self.warnings)


def parse_core_metadata(data: bytes, source: str, coordinates: Coordinates) -> CoreMetadata:
    """Parse core metadata and gather all faults.

    Unknown fields are left out. A field newer than the stated metadata version is taken (setuptools wrote
    `License-File` under 2.1 for years).

    Args:
        data: at most `MAX_METADATA_BYTES` bytes.
        source: the file's name for messages, `METADATA` or `PKG-INFO`.
        coordinates: what the file name says.
    """
    try:
        raw, unparsed = _parsed(data)
    except _Unreadable as error:
        return _fault(f"{source} {error}.")
    issues = Issues()
    modern = _check_fields(raw, unparsed, source, issues)
    _check_coordinates(raw, source, coordinates, issues)
    _check_values(raw, source, issues)
    return CoreMetadata(
        fields=dict(sorted(raw.items())),
        requires_python=raw.get("requires_python", "").strip() or None,
        license_files=tuple(raw.get("license_files", ())) if modern else (),
        issues=issues.sentences(),
        warnings=advice(raw, source),
    )


def fields_of(data: bytes) -> dict[str, Any] | None:
    """Return the fields of core metadata whatever faults they have, None when they cannot be read in one way only.

    Args:
        data: at most `MAX_METADATA_BYTES` bytes.

    Returns:
        `packaging.metadata.RawMetadata` keys -> text, lists of text, or label -> URL; JSON-ready.
    """
    try:
        raw, _ = _parsed(data)
    except _Unreadable:
        return None
    return dict(sorted(raw.items()))


class _Unreadable(Exception):
    """The bytes are no core metadata; the message goes on after the name of their source."""


def _parsed(data: bytes) -> tuple[RawMetadata, Mapping[str, object]]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Unreadable("is not UTF-8") from error
    if _NUL in text:
        raise _Unreadable("holds a NUL character")
    headers = HeaderParser().parsestr(text)
    if any(header in headers for header in _MIME_HEADERS):
        # The e-mail parser behind `packaging` would decode or split the body as these say; others would not.
        raise _Unreadable("has MIME headers (Content-Type or the like), which core metadata do not have")
    if len(headers) > _MAX_FIELDS:
        raise _Unreadable(f"has more than {_MAX_FIELDS} fields")
    return parse_email(text)


def _fault(sentence: str) -> CoreMetadata:
    return CoreMetadata({}, None, (), (sentence,))


def _check_fields(raw: RawMetadata, unparsed: Mapping[str, object], source: str, issues: Issues) -> bool:
    """Check every field for itself; tells whether the metadata are of version 2.4 or later."""
    version = raw.get("metadata_version")
    modern = version is not None and version not in _WITHOUT_LICENSE_FILES
    metadata = Metadata.from_raw(raw, validate=False)
    broken = {name for name in map(_field, unparsed) if name in RawMetadata.__annotations__}
    skipped = broken if modern else broken | {"license_files"}
    for name in (*_REQUIRED, *sorted(raw.keys() - set(_REQUIRED))):
        if name in skipped or (name == "requires_python" and not raw["requires_python"].strip()):
            continue
        if name not in raw:
            issues.add(f"{source} does not say {_REQUIRED[name]}.")
            continue
        fault = _fault_of(metadata, name, raw)
        if fault is not None:
            issues.add(f"{source}: {fault}.")
    for name in sorted(broken):
        issues.add(f"{source}: the field {name!r} is not well-formed, or there more than once.")
    return modern


def _fault_of(metadata: Metadata, name: str, raw: Mapping[str, Any]) -> str | None:
    """Return what is wrong with one field, None when it is fine."""
    values = raw[name] if isinstance(raw[name], list) else [raw[name]]
    if name in _PARSED and any(len(value) > _MAX_PARSED for value in values):
        return f"a value of {name!r} is longer than {_MAX_PARSED} characters"
    try:
        getattr(metadata, name)
    except Exception as error:  # Whatever a parser trips over, nested brackets or huge numbers, is no valid value.
        return ascii(str(error) or f"{name!r} is not valid")[1:-1][:300]
    return None


def _field(header: str) -> str:
    return _PLURAL.get(header, header.replace("-", "_"))


def _check_coordinates(raw: RawMetadata, source: str, coordinates: Coordinates, issues: Issues) -> None:
    name = raw.get("name")
    if name is not None and canonicalize_name(name) != coordinates.project:
        issues.add(f"{source} is of the project {quoted(name)}, the file name of {quoted(coordinates.project)}.")
    version = raw.get("version")
    if version is not None and normalised_version(version) not in {None, coordinates.version}:
        issues.add(f"{source} is of version {quoted(version)}, the file name of {quoted(coordinates.version)}.")


def normalised_version(text: str) -> str | None:
    """Return a version in its normal form (PEP 440), None when it is none."""
    try:
        return str(Version(text))
    except ValueError:  # `InvalidVersion`, or a number of more digits than Python converts.
        return None


def comparable(specifiers: str) -> bool:
    """Tell whether specifiers can be evaluated; those that cannot be parsed are reported elsewhere."""
    try:
        parsed = SpecifierSet(specifiers)
    except InvalidSpecifier:
        return True
    try:
        parsed.contains("3.11")
    except ValueError:  # A number of more digits than Python converts.
        return False
    return True


def _check_values(raw: RawMetadata, source: str, issues: Issues) -> None:
    """Check what core metadata allow and an index does not."""
    if len(raw.get("summary", "")) > MAX_SUMMARY:
        issues.add(f"{source}: the summary is longer than {MAX_SUMMARY} characters.")
    requires_python = raw.get("requires_python", "")
    if len(requires_python) <= _MAX_PARSED and not comparable(requires_python):
        # pip compares it for every file of a page, and would fail on the whole page.
        issues.add(f"{source}: no installer can compare the versions in Requires-Python.")
    for label, url in raw.get("project_urls", {}).items():
        if not 1 <= len(label) <= 32 or not _WEB_URL.match(url):
            rule = "needs a label of 1 to 32 characters and an http(s) URL"
            issues.add(f"{source}: the project URL {quoted(label)} {rule}.")
    # Licence classifiers beside an expression are let through: widely used builders write them, and no index refuses.
    if raw.get("license") and "license_expression" in raw:
        issues.add(f"{source} has both License and License-Expression: use the expression alone.")
