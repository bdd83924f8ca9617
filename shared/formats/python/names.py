"""Reads the file names of wheels and source archives. Pure.

Source: binary distribution format, "File name convention"; PEP 625; python-index contract section 2.3 (rows 7, 11, 12).
"""

from __future__ import annotations

from packaging.utils import InvalidWheelFilename, canonicalize_version, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from countermark.core.names import FileName, InvalidName, NormalizedName, parse_file_name, parse_project_name
from shared.formats.interface import Coordinates, InvalidFile
from shared.formats.python.platforms import unknown_platforms

FORMAT = "python"
WHEEL = "bdist_wheel"
SDIST = "sdist"

_WHEEL_SUFFIX = ".whl"
_SDIST_SUFFIX = ".tar.gz"


def parse_name(file_name: str) -> Coordinates:
    """Read project, version and kind from a file name.

    Only the normalised spelling is taken, so that one release has one name for each of its files.

    Raises:
        InvalidFile: it is no wheel's or source archive's name; the message says the right one where there is one.
    """
    try:
        name = parse_file_name(file_name)
    except InvalidName as error:
        raise InvalidFile(_printable(file_name), [f"The file name cannot be used: {error.reason}."]) from error
    if name.endswith(_WHEEL_SUFFIX):
        return _parse_wheel(name)
    if name.endswith(_SDIST_SUFFIX):
        return _parse_sdist(name)
    raise InvalidFile(name, ["Only wheels (.whl) and source archives (.tar.gz) are taken."])


def file_stem(project: NormalizedName, version: str) -> str:
    """Return how file names begin: `{name with _}-{version}`."""
    return f"{project.replace('-', '_')}-{version}"


def release_key(version: Version | str) -> str:
    """Return what equal versions have in common: 1.0 and 1.0.0 are one release.

    Source: PEP 440, "Version specifiers" (release segments are compared as if padded with zeros).
    """
    return canonicalize_version(version, strip_trailing_zero=True)


def is_universal_wheel(file_name: str) -> bool:
    """Tell whether a wheel runs on every Python 3: its tags hold `py3`, and end with `none-any`."""
    parts = file_name.removesuffix(_WHEEL_SUFFIX).split("-")
    return file_name.endswith(_WHEEL_SUFFIX) and parts[-2:] == ["none", "any"] and "py3" in parts[-3].split(".")


def _parse_wheel(name: FileName) -> Coordinates:
    try:
        _, version, _, tags = parse_wheel_filename(name)
    except InvalidWheelFilename as error:
        raise InvalidFile(name, [f"The file name is not a wheel's: {_reason(error, name)}."]) from error
    written, _, rest = name.partition("-")
    project = _project(name, written)
    if written != project.replace("-", "_"):
        right = f"{project.replace('-', '_')}-{rest}"
        raise InvalidFile(name, [f"The file name must be {right}: the project's part is normalised."])
    unknown = unknown_platforms(tag.platform for tag in tags)
    if unknown:
        raise InvalidFile(name, [f"No installer looks for wheels of the platform {', '.join(unknown)[:200]}."])
    return Coordinates(FORMAT, project, str(version), release_key(version), name, WHEEL, written)


def _parse_sdist(name: FileName) -> Coordinates:
    written, dash, text = name.removesuffix(_SDIST_SUFFIX).rpartition("-")
    if not dash:
        raise InvalidFile(name, ["The file name is not a source archive's: it must be name-version.tar.gz."])
    project = _project(name, written)
    try:
        version = Version(text)
    except InvalidVersion as error:
        raise InvalidFile(name, [f"The file name is not a source archive's: {text!r} is no valid version."]) from error
    right = f"{file_stem(project, str(version))}{_SDIST_SUFFIX}"
    if name != right:
        raise InvalidFile(name, [f"The file name must be {right} (PEP 625)."])
    return Coordinates(FORMAT, project, str(version), release_key(version), name, SDIST, written)


def _project(name: FileName, written: str) -> NormalizedName:
    try:
        return parse_project_name(written)
    except InvalidName as error:
        raise InvalidFile(name, [f"The project name {written!r} cannot be used: {error.reason}."]) from error


def _reason(error: InvalidWheelFilename, name: FileName) -> str:
    """Return what packaging says is wrong, without its repetition of the file name."""
    text = str(error).replace(f": {name!r}", "").replace(f": {name.removesuffix(_WHEEL_SUFFIX)!r}", "")
    inner = text.partition("(")[2].removesuffix(")")
    return inner or text.removeprefix("Invalid ")


def _printable(file_name: str) -> str:
    return ascii(file_name[:100])[1:-1]
