"""Reads what a project locked: requirements files, `uv.lock`, `pylock.toml`, `poetry.lock`. Pure.

All four become the same: which releases, and which of their files with which digest, as far as the file says.
Source: pip's requirements file format; PEP 751 (`pylock.toml`, read by `packaging`); uv's and poetry's own lock files.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.pylock import PackageSdist, PackageWheel, Pylock, PylockValidationError
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from countermark.core.digest import InvalidDigest, Sha256, parse_sha256
from countermark.core.names import FileName, InvalidName, NormalizedName, parse_file_name, parse_project_name

MAX_LOCK = 64 << 20
"""Bytes of one file."""

MOST_RELEASES = 50_000

_CONTINUED = re.compile(r"\\\r?\n")
_COMMENT = re.compile(r"(^|\s)#.*$")


class UnreadableLock(ValueError):
    """A file locks nothing that is understood; the message says why."""


@dataclass(frozen=True, slots=True)
class Locked:
    """A release that is wanted.

    Attributes:
        version: None when the file leaves a choice: then the newest of `allowed`.
        allowed: versions that may be chosen.
        files: those that are locked, None when the file names none: then any of the release.
        digests: one of these a file must have, empty when the file names none.
        requirement: of a requirements file, with its extras and its marker.
    """

    project: NormalizedName
    version: Version | None
    allowed: SpecifierSet
    files: Mapping[FileName, Sha256 | None] | None
    digests: frozenset[Sha256]
    requirement: Requirement | None = None


@dataclass(frozen=True, slots=True)
class Lock:
    """What a file locks, and which of its lines were left out, with the reason."""

    releases: tuple[Locked, ...]
    left_out: tuple[str, ...]


def read_lock(name: str, content: bytes) -> Lock:
    """Return what a file locks.

    Args:
        name: of the file; it says which kind it is.

    Raises:
        UnreadableLock: it is none, or too large.
    """
    if len(content) > MAX_LOCK:
        raise UnreadableLock(f"it has more than {MAX_LOCK} bytes")
    base = PurePath(name).name
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableLock("it is not UTF-8") from error
    lock = _of_document(base, _toml(text)) if base.endswith((".toml", ".lock")) else _requirements(text)
    if len(lock.releases) > MOST_RELEASES:
        raise UnreadableLock(f"it names more than {MOST_RELEASES} releases")
    return lock


def _toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UnreadableLock(f"it is no TOML: {str(error)[:200]}") from error


def _of_document(base: str, document: dict[str, Any]) -> Lock:
    if "lock-version" in document:
        return _pylock(document)
    if base == "poetry.lock" or "content-hash" in document.get("metadata", {}):
        return _poetry(document)
    if "package" in document and "version" in document:
        return _uv(document)
    raise UnreadableLock("it is neither uv.lock, pylock.toml nor poetry.lock")


def _pylock(document: dict[str, Any]) -> Lock:
    try:
        lock = Pylock.from_dict(document)
    except PylockValidationError as error:
        raise UnreadableLock(f"it is no pylock.toml: {str(error)[:300]}") from error
    releases, left_out = [], []
    for package in lock.packages:
        archives: list[PackageWheel | PackageSdist] = [*(package.wheels or ())]
        archives += [package.sdist] if package.sdist is not None else []
        if package.version is None or not archives:
            left_out.append(f"{package.name}: it comes from a folder, an archive or a repository, and no index")
            continue
        named = [(archive.filename, archive.hashes) for archive in archives]
        releases.append(_locked(str(package.name), str(package.version), named))
    return Lock(tuple(releases), tuple(left_out))


def _uv(document: dict[str, Any]) -> Lock:
    releases, left_out = [], []
    for package in _tables(document):
        name, source = str(package.get("name")), package.get("source")
        if not isinstance(source, dict) or "registry" not in source:
            left_out.append(f"{name[:100]}: it comes from a folder, an archive or a repository, and no index")
            continue
        archives = [*(package.get("wheels") or ()), package.get("sdist")]
        named = [
            (str(one.get("filename") or _last(str(one.get("url") or one.get("path") or ""))), _hashes(one.get("hash")))
            for one in archives
            if isinstance(one, dict)
        ]
        releases.append(_locked(name, str(package.get("version")), named))
    return Lock(tuple(releases), tuple(left_out))


def _poetry(document: dict[str, Any]) -> Lock:
    releases, left_out = [], []
    # Before poetry 1.3 the files stood apart.
    apart = document.get("metadata", {}).get("files", {})
    for package in _tables(document):
        name, source = str(package.get("name")), package.get("source")
        if isinstance(source, dict) and source.get("type") not in (None, "legacy"):
            left_out.append(f"{name[:100]}: it comes from a folder, an archive or a repository, and no index")
            continue
        files = package.get("files") or apart.get(name) or ()
        named = [(str(one.get("file")), _hashes(one.get("hash"))) for one in files if isinstance(one, dict)]
        releases.append(_locked(name, str(package.get("version")), named))
    return Lock(tuple(releases), tuple(left_out))


def _requirements(text: str) -> Lock:
    releases, left_out = [], []
    for line in _lines(text):
        if line.startswith("-"):
            left_out.append(f"{line[:100]}: options are not followed")
            continue
        text_of, digests = _split(line)
        try:
            requirement = Requirement(text_of)
            project = parse_project_name(requirement.name)
        except (InvalidRequirement, InvalidName) as error:
            raise UnreadableLock(f"{line[:100]!r} is no requirement: {str(error).splitlines()[0][:200]}") from error
        if requirement.url is not None:
            left_out.append(f"{requirement.name}: it comes from a URL, and no index")
            continue
        releases.append(
            Locked(project, _exact(requirement.specifier), requirement.specifier, None, digests, requirement)
        )
    return Lock(tuple(releases), tuple(left_out))


def _lines(text: str) -> Iterator[str]:
    for line in _CONTINUED.sub(" ", text).splitlines():
        if stripped := _COMMENT.sub("", line).strip():
            yield stripped


def _split(line: str) -> tuple[str, frozenset[Sha256]]:
    """Return a requirement without the options that follow it, and the digests among these."""
    words, found = line.split(" --"), []
    for option in words[1:]:
        try:
            parts = shlex.split(option.replace("hash=", "hash ", 1))
        except ValueError:
            continue
        if parts[:1] == ["hash"] and len(parts) == 2 and parts[1].startswith("sha256:"):
            found += _digest(parts[1])
    return words[0].strip(), frozenset(found)


def _exact(specifier: SpecifierSet) -> Version | None:
    """Return the one version that a specifier allows, if it says so plainly."""
    exact = [one for one in specifier if one.operator in ("==", "===") and not one.version.endswith(".*")]
    try:
        return Version(exact[0].version) if len(exact) == 1 else None
    except InvalidVersion:
        return None


def _locked(name: str, version: str, named: Iterable[tuple[str, Mapping[str, str]]]) -> Locked:
    """Return a release whose version and files are known.

    Raises:
        UnreadableLock: its name, its version or that of a file cannot be used.
    """
    try:
        project, exact = parse_project_name(name), Version(version)
        files = {
            parse_file_name(file_name): next(iter(_digest(f"sha256:{hashes.get('sha256', '')}")), None)
            for file_name, hashes in named
        }
    except (InvalidName, InvalidVersion) as error:
        raise UnreadableLock(f"{name[:100]} {version[:100]} cannot be used: {str(error)[:200]}") from error
    return Locked(project, exact, SpecifierSet(f"=={exact}"), files or None, frozenset())


def _tables(document: dict[str, Any]) -> list[dict[str, Any]]:
    packages = document.get("package", [])
    if not isinstance(packages, list) or not all(isinstance(package, dict) for package in packages):
        raise UnreadableLock("it has no list of packages")
    return packages


def _hashes(text: object) -> dict[str, str]:
    algorithm, _, value = str(text).partition(":")
    return {algorithm: value}


def _digest(text: str) -> list[Sha256]:
    try:
        return [parse_sha256(text.lower())]
    except InvalidDigest:
        return []


def _last(url: str) -> str:
    try:
        return unquote(urlsplit(url).path.rpartition("/")[2])
    except ValueError:
        return ""
