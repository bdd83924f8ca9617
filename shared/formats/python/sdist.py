"""Inspects source archives: PKG-INFO in the one top folder, true to the file name.

Source: source distribution format; PEP 625; python-index contract section 2.3 (row 11).
"""

from __future__ import annotations

from pathlib import Path

from shared.formats.archive import Issues, quoted
from shared.formats.interface import Coordinates, Inspected, InvalidFile
from shared.formats.python.metadata import MAX_METADATA_BYTES, parse_core_metadata
from shared.formats.tar_archive import read_tar_gz


def inspect_sdist(path: Path, coordinates: Coordinates) -> Inspected:
    """Read a source archive once and check it.

    Its metadata are not served beside it: they may differ from what an installation computes (contract section 1.5).

    Raises:
        InvalidFile: with every fault found.
    """
    contents = read_tar_gz(path, _wanted)
    issues = Issues()
    issues.extend(contents.issues)
    found = [member for member in contents.members if _wanted(member)]
    metadata = contents.kept.get(found[0]) if len(found) == 1 else None
    if metadata is None:
        if contents.complete and not found:
            issues.add("The source archive has no PKG-INFO in its top folder.")
        raise InvalidFile(coordinates.file_name, issues.sentences())
    core = parse_core_metadata(metadata, "PKG-INFO", coordinates)
    issues.extend(core.issues)
    top = found[0].partition("/")[0]
    for license_file in core.license_files if contents.complete else ():
        if f"{top}/{license_file}" not in contents.members:
            issues.add(f"The licence file {quoted(license_file)} of PKG-INFO is not in the archive.")
    if issues:
        raise InvalidFile(coordinates.file_name, issues.sentences())
    return core.inspected(metadata, serves=False)


def _wanted(path: str) -> int:
    return MAX_METADATA_BYTES if path.count("/") == 1 and path.endswith("/PKG-INFO") else 0
