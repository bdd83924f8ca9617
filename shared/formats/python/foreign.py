"""Files of other registries, which were admitted by other rules: where they belong, and what they say of themselves.

Admission `devpi` takes the word of whoever uploaded a file for its project and version, and does not look inside. What
can be read of its metadata is read all the same, so that installers get `.metadata` and `requires-python`.
Source: contract devpi sections 9 and 23.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from countermark.core.names import FileName, InvalidName, NormalizedName, parse_file_name, parse_project_name
from shared.formats.archive import Contents
from shared.formats.interface import Coordinates, Inspected, InvalidFile
from shared.formats.python.metadata import MAX_METADATA_BYTES, comparable, fields_of, normalised_version
from shared.formats.python.names import FORMAT, SDIST, WHEEL, release_key
from shared.formats.tar_archive import read_tar_gz
from shared.formats.zip_archive import read_zip

_SDIST_TAR = ".tar.gz"

_MAX_REQUIRES_PYTHON = 8192
"""Characters: the parsers of installers are not made for longer ones."""

_KINDS = {
    ".whl": WHEEL,
    _SDIST_TAR: SDIST,
    ".zip": SDIST,
    ".tgz": SDIST,
    ".bz2": SDIST,
    ".egg": "bdist_egg",
    ".exe": "bdist_wininst",
    ".msi": "bdist_msi",
    ".rpm": "bdist_rpm",
    ".deb": "bdist_deb",
    ".dmg": "bdist_dmg",
}
"""Ending of a file name -> the upload form's word for what it is. Source: contract devpi section 9 (extensions)."""

_WHEEL_DASHES = 4
"""Dashes in a wheel's name at the least: after name, version, Python and ABI."""

_RENAMED = {
    "platform": "platforms",
    "supported_platform": "supported_platforms",
    "provides_extras": "provides_extra",
    "license_file": "license_files",
}
"""devpi's name of a field -> key of `packaging.metadata.RawMetadata`, where they differ."""

_UNKNOWN = "UNKNOWN"
"""What old builders wrote where they had nothing to say; devpi keeps the empty text for it."""


def coordinates_of(project: str, version: str, file_name: str) -> Coordinates:
    """Return where a file belongs that another registry kept under a project and a version.

    Raises:
        InvalidFile: the file, the project or the version has a name that cannot be used here, with every reason.
    """
    issues = []
    normalised, name = NormalizedName(""), FileName("")
    try:
        name = parse_file_name(file_name)
    except InvalidName as error:
        issues.append(f"The file name cannot be used: {error.reason}.")
    try:
        normalised = parse_project_name(project)
    except InvalidName as error:
        issues.append(f"The project name {project[:100]!r} cannot be used: {error.reason}.")
    kind = kind_of(file_name)
    if kind is None:
        issues.append(f"Only files that end with {', '.join(_KINDS)} are taken.")
    written = normalised_version(version)
    if written is None:
        issues.append(f"{version[:100]!r} is no version (PEP 440), so that no page can say where it stands.")
    if kind == WHEEL and not issues:
        issues += _wheel_faults(name, normalised, str(written))
    if issues:
        raise InvalidFile(ascii(file_name[:100])[1:-1], issues)
    assert kind is not None
    assert written is not None
    return Coordinates(FORMAT, normalised, written, release_key(Version(written)), name, kind, project)


def guessed_coordinates(file_name: str, project: NormalizedName | None = None) -> Coordinates:
    """Return where a file belongs of which nothing is known but its name, which may be spelled in any way.

    Args:
        project: which it is known to be of.

    Raises:
        InvalidFile: the name does not tell, or tells of another project.
    """
    for named, version in _splits(file_name):
        if normalised_version(version) is not None and project in (None, canonicalize_name(named)):
            return coordinates_of(named, version, file_name)
    whose = "project and version" if project is None else f"a version of {project}"
    reason = f"The file name does not tell {whose}: it would be name-version and one of {', '.join(_KINDS)}."
    raise InvalidFile(ascii(file_name[:100])[1:-1], [reason])


def version_named(file_name: str, project: NormalizedName) -> str | None:
    """Return the version, normalised, of a project's file by its name, None for a name that no file of it has.

    For pages of many thousand files: names are taken apart and not judged further.
    """
    if file_name.endswith(".whl"):
        # As `_splits` has it, in half the time: nearly all files of large pages are wheels.
        parts = file_name.split("-", _WHEEL_DASHES)
        return _version_of(parts[0], parts[1], project) if len(parts) > _WHEEL_DASHES else None
    for named, version in _splits(file_name):
        if (written := _version_of(named, version, project)) is not None:
            return written
    return None


def _version_of(named: str, version: str, project: NormalizedName) -> str | None:
    """Return a version, normalised, if it is one and what stands before it in a file's name names the project."""
    return _normalised(version) if _canonical(named) == project else None


@lru_cache(maxsize=4096)
def projects_named(file_name: str) -> tuple[NormalizedName, ...]:
    """Return the projects that a file may be of by its name, the likeliest first; names were spelled in many ways."""
    found = (canonicalize_name(named) for named, version in _splits(file_name) if normalised_version(version))
    return tuple(dict.fromkeys(found))


_canonical = lru_cache(maxsize=4096)(canonicalize_name)
_normalised = lru_cache(maxsize=16_384)(normalised_version)


def _splits(file_name: str) -> Iterator[tuple[str, str]]:
    """Yield what a file's name may say of project and version."""
    end = _end_of(file_name)
    if end is None:
        return
    parts = file_name[: -len(end)].split("-")
    if end in (".whl", ".egg"):
        if len(parts) > (_WHEEL_DASHES if end == ".whl" else 1):
            yield parts[0], parts[1]
        return
    # The last dash first, as names that are normalised mean it.
    for middle in range(len(parts) - 1, 0, -1):
        yield "-".join(parts[:middle]), "-".join(parts[middle:])


def kind_of(file_name: str) -> str | None:
    """Return the upload form's word for a file, None when it is of no kind that any registry keeps."""
    end = _end_of(file_name)
    return None if end is None else _KINDS[end]


def _end_of(file_name: str) -> str | None:
    """Return which of the known endings a file's name has."""
    if file_name.endswith(".whl"):
        return ".whl"
    lower = file_name.lower()
    for end in _KINDS:
        if lower.endswith(end):
            return end
    return None


def read_metadata(path: Path, coordinates: Coordinates) -> Inspected | None:
    """Return what a wheel or a source archive says of itself, None when that cannot be read. Blocking.

    Nothing is refused: a file whose metadata are of another project, or not well-formed, has none.
    """
    file_name = coordinates.file_name
    if file_name.endswith(".whl"):
        return _found(read_zip(path, _wanted_in_wheel), coordinates, serves=True)
    if file_name.endswith(".zip"):
        return _found(read_zip(path, _wanted_in_source), coordinates, serves=False)
    if file_name.endswith((_SDIST_TAR, ".tgz")):
        return _found(read_tar_gz(path, _wanted_in_source), coordinates, serves=False)
    return None


def fields_of_form(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a version's metadata as devpi keeps them as those of a release: absent fields are left out.

    Args:
        fields: devpi's names -> text, or list of texts (contract devpi section 4.4); others are dropped.

    Returns:
        Keys of `packaging.metadata.RawMetadata`, and `comment`, JSON-ready.
    """
    found: dict[str, Any] = {}
    for name, value in fields.items():
        key = _RENAMED.get(name, name)
        if not value or value == _UNKNOWN or name.startswith(("+", ":")):
            continue
        if key in _LISTS and isinstance(value, list):
            texts = [text for text in value if isinstance(text, str) and text and "\0" not in text]
            if texts:
                found[key] = _labelled(texts) if key == "project_urls" else texts
        elif key in _TEXTS and isinstance(value, str) and "\0" not in value:
            found[key] = [word.strip() for word in value.split(",")] if key == "keywords" else value
    return found


_TEXTS = frozenset(
    {
        *("name", "version", "metadata_version", "summary", "home_page", "author", "author_email", "maintainer"),
        *("maintainer_email", "license", "description", "keywords", "download_url", "comment", "requires_python"),
        *("description_content_type", "license_expression"),
    }
)
_LISTS = frozenset(
    {
        *("platforms", "classifiers", "supported_platforms", "provides", "requires", "obsoletes", "project_urls"),
        *("provides_dist", "obsoletes_dist", "requires_dist", "requires_external", "provides_extra", "dynamic"),
        "license_files",
    }
)


def _wheel_faults(name: FileName, project: NormalizedName, version: str) -> list[str]:
    """Return why no installer would take a wheel of this name for the release, one sentence at the most."""
    try:
        named, of_version, _, _ = parse_wheel_filename(name)
    except (InvalidWheelFilename, ValueError):
        return ["The file name is not a wheel's, so that no installer would look at it."]
    if (canonicalize_name(named), of_version) != (project, Version(version)):
        return [f"The file name is of {named} {of_version}, the record of {project} {version}."]
    return []


def _labelled(texts: list[str]) -> dict[str, str]:
    pairs = (text.partition(",") for text in texts)
    return {label.strip(): url.strip() for label, comma, url in pairs if comma}


def _found(contents: Contents, coordinates: Coordinates, *, serves: bool) -> Inspected | None:
    """Return what the one metadata file of an archive says, when it is of the release that the file is of."""
    if len(contents.kept) != 1:
        return None
    data = next(iter(contents.kept.values()))
    fields = fields_of(data)
    if fields is None or not _is_of(fields, coordinates):
        return None
    said = fields.get("requires_python")
    requires_python = said.strip() if isinstance(said, str) and said.strip() else None
    # pip compares it for every file of a page, and would fail on the whole page.
    return Inspected(data, serves, fields, requires_python if comparable_text(requires_python) else None)


def comparable_text(requires_python: str | None) -> bool:
    """Tell whether installers can compare the versions of a `requires-python`, or there is none."""
    return requires_python is None or (
        len(requires_python) <= _MAX_REQUIRES_PYTHON and _parses(requires_python) and comparable(requires_python)
    )


def _parses(specifiers: str) -> bool:
    try:
        SpecifierSet(specifiers)
    except ValueError:
        return False
    return True


def _is_of(fields: Mapping[str, Any], coordinates: Coordinates) -> bool:
    named, version = fields.get("name"), normalised_version(str(fields.get("version")))
    if named is None or version is None:
        return False
    return canonicalize_name(str(named)) == coordinates.project and release_key(version) == coordinates.release_key


def _wanted_in_wheel(path: str) -> int:
    folder, _, name = path.partition("/")
    return MAX_METADATA_BYTES if folder.endswith(".dist-info") and name == "METADATA" else 0


def _wanted_in_source(path: str) -> int:
    return MAX_METADATA_BYTES if path.count("/") == 1 and path.endswith("/PKG-INFO") else 0
