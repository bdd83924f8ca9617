"""Inspects wheels: one dist-info of the right name, METADATA, WHEEL, and a RECORD that is true of every member.

Source: binary distribution format; python-index contract sections 2.3 (row 13) and 2.5 (point 2).
"""

from __future__ import annotations

import base64
import binascii
import configparser
import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

from packaging.utils import canonicalize_name

from countermark.core.digest import Sha256
from shared.formats.archive import MEBIBYTE, Contents, Issues, quoted
from shared.formats.interface import Coordinates, Inspected, InvalidFile
from shared.formats.python.metadata import MAX_METADATA_BYTES, normalised_version, parse_core_metadata
from shared.formats.zip_archive import read_zip

_DIST_INFO = ".dist-info"
_KEPT = {
    "METADATA": MAX_METADATA_BYTES,
    "RECORD": 32 * MEBIBYTE,
    "WHEEL": 64 * 1024,
    "entry_points.txt": MEBIBYTE,
}
"""Bytes kept of a dist-info member, by its name."""

_UNRECORDED = ("RECORD", "RECORD.jws", "RECORD.p7s")
"""Members of dist-info that RECORD need not list. Source: binary distribution format, "Signed wheel files"."""

_ENTRY_POINT = re.compile(r"[\w.-]+\Z", re.ASCII)
_WHEEL_VERSION = re.compile(r"1\.[0-9]+\Z")


def inspect_wheel(path: Path, coordinates: Coordinates) -> Inspected:
    """Read a wheel once and check it.

    Raises:
        InvalidFile: with every fault found.
    """
    contents = read_zip(path, _wanted)
    issues = Issues()
    issues.extend(contents.issues)
    folder = _dist_info(contents, coordinates, issues)
    metadata = contents.kept.get(f"{folder}/METADATA")
    if folder is None or metadata is None:
        raise InvalidFile(coordinates.file_name, issues.sentences())
    core = parse_core_metadata(metadata, "METADATA", coordinates)
    issues.extend(core.issues)
    _check_wheel_file(contents.kept.get(f"{folder}/WHEEL"), issues)
    _check_entry_points(contents.kept.get(f"{folder}/entry_points.txt"), issues)
    if contents.complete:
        for license_file in core.license_files:
            if f"{folder}/licenses/{license_file}" not in contents.members:
                issues.add(f"The licence file {quoted(license_file)} of METADATA is not in {folder}/licenses.")
        _check_record(contents, folder, issues)
    if issues:
        raise InvalidFile(coordinates.file_name, issues.sentences())
    return core.inspected(metadata, serves=True)


def _wanted(path: str) -> int:
    folder, _, name = path.partition("/")
    return _KEPT.get(name, 0) if folder.endswith(_DIST_INFO) else 0


def _dist_info(contents: Contents, coordinates: Coordinates, issues: Issues) -> str | None:
    """Return the one dist-info folder; notes what is wrong with it."""
    tops = {path.partition("/")[0] for path in (*contents.members, *contents.folders)}
    found = sorted(top for top in tops if top.lower().endswith(_DIST_INFO))
    if len(found) != 1:
        if found:
            issues.add(f"The wheel has several dist-info folders: {', '.join(map(quoted, found[:3]))}.")
        elif contents.complete:
            issues.add("The wheel has no dist-info folder.")
        return None
    folder = found[0]
    name, _, version = folder.removesuffix(_DIST_INFO).rpartition("-")
    if canonicalize_name(name) != coordinates.project or normalised_version(version) != coordinates.version:
        issues.add(f"The folder {quoted(folder)} does not fit the file name.")
    for required in ("METADATA", "WHEEL", "RECORD"):
        if contents.complete and f"{folder}/{required}" not in contents.members:
            issues.add(f"The wheel has no {required} in its dist-info folder.")
    return folder


def _check_wheel_file(data: bytes | None, issues: Issues) -> None:
    if data is None:
        return
    version = HeaderParser().parsestr(data.decode("utf-8", "replace")).get_all("Wheel-Version") or []
    if len(version) != 1 or not _WHEEL_VERSION.match(version[0].strip()):
        issues.add("WHEEL does not say one Wheel-Version 1.x.")


class _EntryPoints(configparser.RawConfigParser):
    """The INI dialect of entry points: names keep their case, only `=` separates."""

    def __init__(self) -> None:
        super().__init__(delimiters=("=",), strict=True)

    def optionxform(self, optionstr: str) -> str:
        """Return the option's name as it is written."""
        return optionstr


def _check_entry_points(data: bytes | None, issues: Issues) -> None:
    """Source: entry points specification, "File format"; python-index contract section 2.3 (row 13)."""
    if data is None:
        return
    parser = _EntryPoints()
    try:
        parser.read_string(data.decode("utf-8"))
    except (UnicodeDecodeError, configparser.Error):
        issues.add("entry_points.txt is not a valid INI file.")
        return
    for section in ("console_scripts", "gui_scripts"):
        for name in parser[section] if parser.has_section(section) else ():
            if not _ENTRY_POINT.match(name):
                issues.add(f"entry_points.txt names a script {quoted(name)}: use letters, digits, '.', '_' and '-'.")


@dataclass(frozen=True, slots=True)
class _Recorded:
    """One row of RECORD."""

    digest: str
    length: str


def _check_record(contents: Contents, folder: str, issues: Issues) -> None:
    """Compare RECORD with the members, both ways."""
    data = contents.kept.get(f"{folder}/RECORD")
    if data is None:
        return
    exempt = {f"{folder}/{name}" for name in _UNRECORDED}
    rows = _rows(data, issues)
    if rows is None:
        return
    for path, member in contents.members.items():
        if path in exempt:
            continue
        row = rows.get(path)
        if row is None:
            issues.add(f"RECORD does not list {quoted(path)}.")
        elif member.sha256 is None or row.digest != _record_digest(member.sha256):
            issues.add(f"RECORD does not give the sha256 digest of {quoted(path)}.")
        elif row.length != str(member.length):
            issues.add(f"RECORD does not give the size of {quoted(path)}.")
    # Members with faults of their own are not among `members`: without that knowledge the other way proves nothing.
    missing = [] if contents.issues else sorted(rows.keys() - contents.members.keys() - exempt)
    for path in missing:
        issues.add(f"RECORD lists {quoted(path)}, which is not in the wheel.")


def _record_digest(sha256: Sha256) -> str:
    return "sha256=" + base64.urlsafe_b64encode(binascii.unhexlify(sha256)).decode().rstrip("=")


def _rows(data: bytes, issues: Issues) -> Mapping[str, _Recorded] | None:
    rows: dict[str, _Recorded] = {}
    try:
        for fields in _csv(data.decode("utf-8")):
            if len(fields) != 3:
                issues.add("RECORD has a line that is not path,digest,size.")
                return None
            # Some builders on Windows write backslashes here, while the members' names have slashes.
            path = fields[0].replace("\\", "/")
            if path in rows:
                issues.add(f"RECORD lists {quoted(path)} twice.")
            rows[path] = _Recorded(fields[1], fields[2])
    except (UnicodeDecodeError, csv.Error):
        issues.add("RECORD cannot be read: it must be CSV in UTF-8.")
        return None
    return rows


def _csv(text: str) -> Iterator[list[str]]:
    return (fields for fields in csv.reader(io.StringIO(text, newline=""), strict=True) if fields)
