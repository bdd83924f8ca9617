"""The metadata that a wheel or sdist carries, read under limits and never unpacked to disk.

Source: packaging.python.org core metadata, binary and source distribution formats.
"""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from packaging.metadata import RawMetadata, parse_email

from countermark.core.errors import UsageFault
from countermark.core.filenames import Distribution, parse_distribution
from countermark.core.names import InvalidName

MAX_METADATA_BYTES = 16 * 1024 * 1024
"""Bytes; long readmes are part of the metadata."""

_MAX_MEMBERS = 100_000


def distribution_of(path: Path) -> Distribution:
    """Return what a file's name says.

    Raises:
        UsageFault: it is not the name of a wheel or sdist.
    """
    try:
        return parse_distribution(path.name)
    except InvalidName as error:
        raise UsageFault(str(error), "Only wheels and sdists can be uploaded.") from error


def read_metadata(path: Path) -> RawMetadata:
    """Return the fields of a wheel's METADATA or an sdist's PKG-INFO.

    Args:
        path: a file named as a wheel or sdist.

    Raises:
        UsageFault: it cannot be read, is damaged, or holds no metadata with a name and a version.
    """
    distribution = distribution_of(path)
    try:
        data = _from_wheel(path) if distribution.is_wheel else _from_sdist(path)
    except (OSError, zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError) as error:
        raise UsageFault(f"{path} cannot be read: {error}", "Build it again.") from error
    if data is None:
        raise UsageFault(f"{path} holds no readable metadata", "Build it again.")
    fields, _ = parse_email(data)
    if not fields.get("name") or not fields.get("version"):
        raise UsageFault(f"the metadata of {path} lacks a name or a version", "Build it again.")
    return fields


def _from_wheel(path: Path) -> bytes | None:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist()[:_MAX_MEMBERS]:
            folder, slash, name = member.filename.partition("/")
            if slash and folder.endswith(".dist-info") and name == "METADATA":
                if member.flag_bits & 1:
                    raise UsageFault(f"{path} is encrypted", "Build it again.")
                with archive.open(member) as file:
                    return _bounded(file.read(MAX_METADATA_BYTES + 1))
    return None


def _from_sdist(path: Path) -> bytes | None:
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist()[:_MAX_MEMBERS]:
                if _is_pkg_info(entry.filename):
                    with archive.open(entry) as file:
                        return _bounded(file.read(MAX_METADATA_BYTES + 1))
        return None
    with tarfile.open(path, "r:gz") as archive:
        for member in _first_members(archive):
            if member.isreg() and _is_pkg_info(member.name):
                extracted = archive.extractfile(member)
                return _bounded(extracted.read(MAX_METADATA_BYTES + 1)) if extracted else None
    return None


def _first_members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for count, member in enumerate(archive):
        if count == _MAX_MEMBERS:
            return
        yield member


def _is_pkg_info(name: str) -> bool:
    _, slash, rest = name.removeprefix("./").partition("/")
    return bool(slash) and rest == "PKG-INFO"


def _bounded(data: bytes) -> bytes | None:
    return data if len(data) <= MAX_METADATA_BYTES else None
