"""The checks of an upload under admission `devpi`, which takes the form's word and does not look into the file. Pure.

Stricter than devpi in three things: a version is one of PEP 440, a wheel's name is a wheel's, and of the project and
version that the form names (see docs/adr/0023-admission-devpi.md).

Source: contract devpi sections 4.4 and 9.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from packaging.utils import InvalidWheelFilename, NormalizedName, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from countermark.core.names import FileName, InvalidName, parse_project_name
from services.upload.rules import Fields, value_of
from shared.formats.interface import Coordinates, InvalidFile
from shared.formats.python.metadata import comparable
from shared.formats.python.names import FORMAT, SDIST, WHEEL, release_key

MAX_VERSION = 200
"""Characters."""

MAX_REQUIRES_PYTHON = 8192
"""Characters. The parsers of installers are not made for longer ones."""

DUMB = "bdist_dumb"

_ARCHIVE = re.compile(r".+?\.(exe|tar\.gz|bz2|rpm|deb|zip|tgz|egg|dmg|msi|whl)\Z", re.IGNORECASE)
_TYPES = {
    "whl": WHEEL, "egg": "bdist_egg", "exe": "bdist_wininst", "msi": "bdist_msi", "rpm": "bdist_rpm",
    "deb": "bdist_deb", "dmg": "bdist_dmg",
}  # fmt: skip
"""Extension -> word of the upload form; the others are source archives, or what `bdist_dumb` made."""

_NOT_IN_URLS = re.compile(r'[<>%#"]')
_SEPARATORS = re.compile(r"[^A-Za-z0-9]+")
_ESCAPED = re.compile(r"[^\w.]+")

_TEXTS = (
    "name", "version", "metadata_version", "summary", "home_page", "author", "author_email", "maintainer",
    "maintainer_email", "license", "license_expression", "description", "description_content_type", "download_url",
    "requires_python", "comment",
)  # fmt: skip
_LISTS = {
    "platform": "platforms", "supported_platform": "supported_platforms", "classifiers": "classifiers",
    "provides": "provides", "requires": "requires", "obsoletes": "obsoletes", "provides_dist": "provides_dist",
    "obsoletes_dist": "obsoletes_dist", "requires_dist": "requires_dist", "requires_external": "requires_external",
    "provides_extra": "provides_extra", "dynamic": "dynamic", "license_file": "license_files",
    "import_name": "import_names", "import_namespace": "import_namespaces",
}  # fmt: skip
"""Field of the form -> key of `packaging.metadata.RawMetadata`."""
_OTHER_SPELLINGS = {
    "platform": "platforms", "supported_platform": "supported_platforms", "provides_extra": "provides_extras",
    "license_file": "license_files", "import_name": "import_names", "import_namespace": "import_namespaces",
}  # fmt: skip
"""What some uploaders call them; the devpi client sends the names that its metadata reader has."""


@dataclass(frozen=True, slots=True)
class Named:
    """The release that a form names; `version` is normalised, `written` as it was sent."""

    project: NormalizedName
    display_name: str
    version: str
    written: str


def named_in(fields: Fields) -> Named:
    """Return the release that a form names.

    Raises:
        InvalidFile: with every reason.
    """
    name, version = value_of(fields, "name"), value_of(fields, "version")
    issues = list(_issues_of_names(name, version))
    parsed = None if version is None or len(version) > MAX_VERSION else _version(version)
    if version is not None and parsed is None and not issues:
        shown = ascii(version[:100])
        issues.append(f"invalid metadata: {shown} is no version (PEP 440); installers would pass over the file.")
    if issues or name is None or version is None or parsed is None:
        raise InvalidFile(name or "", issues)
    return Named(parse_project_name(name), name, str(parsed), version)


def coordinates_in(fields: Fields, file_name: FileName) -> Coordinates:
    """Return where a file belongs, from its form and its name.

    Raises:
        InvalidFile: with every reason, in devpi's words where it has some.
    """
    issues = list(_issues_of_file(fields, file_name))
    try:
        named = named_in(fields)
    except InvalidFile as error:
        raise InvalidFile(file_name, [*issues, *error.issues]) from error
    archive = _ARCHIVE.match(file_name)
    if archive is None or issues:
        raise InvalidFile(file_name, issues)
    given = value_of(fields, "filetype")
    kind = _TYPES.get(archive[1].lower()) or (DUMB if given == DUMB else SDIST)
    if kind == WHEEL:
        _check_wheel(file_name, named)
    key = release_key(named.version)
    return Coordinates(FORMAT, named.project, named.version, key, file_name, kind, named.display_name)


def metadata_in(fields: Fields) -> dict[str, Any]:
    """Return the metadata that a form says, with the keys of `packaging.metadata.RawMetadata`: what a form does not
    have is not there either."""
    found: dict[str, Any] = {name: fields[name][0] for name in _TEXTS if fields.get(name)}
    for name, key in _LISTS.items():
        sent = fields.get(name, fields.get(_OTHER_SPELLINGS.get(name, name)))
        if sent is not None:
            found[key] = [value for value in sent if value]
    if fields.get("keywords"):
        found["keywords"] = [word.strip() for word in ",".join(fields["keywords"]).split(",") if word.strip()]
    if "project_urls" in fields:
        pairs = (value.partition(",") for value in fields["project_urls"] if value)
        found["project_urls"] = {label.strip(): url.strip() for label, _, url in pairs}
    return found


def requires_python_in(fields: Fields) -> str | None:
    """Return the versions of Python that a form names, None without any.

    Raises:
        InvalidFile: no installer could compare them.
    """
    given = value_of(fields, "requires_python")
    if given is None:
        return None
    if len(given) > MAX_REQUIRES_PYTHON or not comparable(given):
        raise InvalidFile("", ["invalid metadata: no installer can compare the versions in requires_python."])
    return given


def _issues_of_file(fields: Fields, file_name: FileName) -> Iterator[str]:
    """Say what is wrong with a file's name. Source: contract devpi section 9."""
    version, name = value_of(fields, "version"), value_of(fields, "name")
    if version is not None and version not in file_name and _ESCAPED.sub("_", version) not in file_name:
        yield f"filename {file_name!r} does not contain version {version[:MAX_VERSION]!r}"
    if _ARCHIVE.match(file_name) is None:
        yield f"{file_name!r} is not a valid archive name"
    if name is not None and not _plain(file_name).startswith(_plain(name)):
        yield f"filename {file_name!r} does not match project name {name[:100]!r}"


def _issues_of_names(name: str | None, version: str | None) -> Iterator[str]:
    missing: Sequence[str] = [key for key, value in (("name", name), ("version", version)) if value is None]
    if missing:
        yield f"invalid metadata: {' and '.join(missing)} missing in the form."
    if name is not None:
        try:
            parse_project_name(name)
        except InvalidName as error:
            yield f"invalid metadata: the project name {name[:100]!a} cannot be used: {error.reason}."
    if version is not None and _NOT_IN_URLS.search(version):
        yield f'invalid metadata: the version {version[:100]!a} holds one of < > % # ".'


def _check_wheel(file_name: FileName, named: Named) -> None:
    try:
        project, version, _, _ = parse_wheel_filename(file_name)
    except (InvalidWheelFilename, ValueError) as error:
        raise InvalidFile(file_name, [f"invalid metadata: {file_name!r} is not the name of a wheel."]) from error
    if (canonicalize_name(project), version) != (named.project, Version(named.version)):
        words = (
            f"invalid metadata: {file_name!r} is of {project} {version}, the form of {named.project} {named.version}."
        )
        raise InvalidFile(file_name, [words])


def _plain(name: str) -> str:
    return _SEPARATORS.sub("-", name).lower()


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except ValueError:  # `InvalidVersion`, or a number of more digits than Python converts.
        return None
