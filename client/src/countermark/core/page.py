"""The page document: a project's signed listing in one index, the JSON answer of its simple page. Pure.

Source: PEP 691 and its successors (contract python-index section 1); architecture sections 11.3 (`meta._index`) and
11.4.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag
from packaging.utils import NormalizedName
from packaging.version import Version

from countermark.core.digest import InvalidDigest, Sha256, parse_sha256
from countermark.core.filenames import Distribution, parse_distribution
from countermark.core.names import IndexName, InvalidName, parse_index_name, parse_project_name

MAX_PAGE_BYTES = 64 * 1024 * 1024
"""Bytes: room for a project of 100,000 files; a longer page is refused before it is read."""


_QUARANTINED = "quarantined"


class MalformedPage(ValueError):
    """The bytes are not a page document; the message says which rule they break."""


@dataclass(frozen=True, slots=True)
class PageFile:
    """One listed wheel or sdist.

    `requires_python`, `uploaded` and `yanked_reason` are as written, `length` is in bytes; None where nothing is said.
    """

    distribution: Distribution
    sha256: Sha256
    requires_python: str | None = None
    yanked: bool = False
    yanked_reason: str | None = None
    length: int | None = None
    uploaded: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """What a page document says: whose it is, in which index, and its wheels and sdists in listed order.

    `quarantined` is the status of that name (PEP 792): nothing is listed then, nor anywhere behind this index.
    """

    name: NormalizedName
    index: IndexName
    files: tuple[PageFile, ...]
    quarantined: bool = False

    def of_version(self, version: Version) -> tuple[PageFile, ...]:
        """Return the files of one release; versions are compared as PEP 440 does (1.0 equals 1.0.0)."""
        return tuple(file for file in self.files if file.distribution.version == version)


def parse_page(data: bytes) -> Page:
    """Parse a page document.

    Args:
        data: the document, at most `MAX_PAGE_BYTES` bytes.

    Raises:
        MalformedPage: it is too long, not JSON, or lacks `meta._index`, `name`, or a file's name or sha256.
            Listed files that are neither wheel nor sdist are left out.
    """
    if len(data) > MAX_PAGE_BYTES:
        raise MalformedPage(f"longer than {MAX_PAGE_BYTES} bytes")
    try:
        document = json.loads(data, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise MalformedPage(f"not JSON: {type(error).__name__}") from error
    page = _mapping(document, "the page")
    meta = _mapping(page.get("meta"), "meta")
    try:
        index = parse_index_name(_text(meta, "_index"))
        name = parse_project_name(_text(page, "name"))
    except InvalidName as error:
        raise MalformedPage(str(error)) from error
    files = page.get("files")
    if not isinstance(files, list):
        raise MalformedPage("files is missing or not a list")
    parsed = (_file(_mapping(entry, "a file")) for entry in files)
    status = _mapping(page.get("project-status", {}), "project-status").get("status")
    return Page(name, index, tuple(file for file in parsed if file is not None), status == _QUARANTINED)


def choose(files: Sequence[PageFile], tags: Sequence[Tag], python: Version | None) -> PageFile | None:
    """Return the file an installer would take: the best wheel for `tags`, else an sdist, else None.

    Args:
        files: the files of one release.
        tags: what the interpreter can run, best first.
        python: the interpreter's version; a file whose `requires_python` excludes it is left out. None: whatever a file
            says of Pythons does not count, and behind what runs here come wheels of other Pythons for this platform.

    Yanked files count only where no other fits. Source: PEP 425, PEP 592.
    """
    rank = {tag: position for position, tag in enumerate(tags)}
    platforms = frozenset() if python else frozenset(tag.platform for tag in tags)

    def order(file: PageFile) -> tuple[bool, int, int, str] | None:
        distribution = file.distribution
        if python and not _runs_on(file, python):
            return None
        if not distribution.is_wheel:
            return (file.yanked, len(rank) + 1, 0, "")
        fitting = [rank.get(tag, len(rank)) for tag in distribution.tags if tag in rank or tag.platform in platforms]
        if not fitting:
            return None
        # Within one tag the highest build number wins, so it counts downwards.
        number, suffix = distribution.build or (-1, "")
        return (file.yanked, min(fitting), -number, suffix)

    ordered = [(key, position) for position, file in enumerate(files) if (key := order(file)) is not None]
    return files[min(ordered)[1]] if ordered else None


def _runs_on(file: PageFile, python: Version) -> bool:
    if not file.requires_python:
        return True
    try:
        return SpecifierSet(file.requires_python).contains(python, prereleases=True)
    except InvalidSpecifier:
        # Installers ignore what they cannot parse; the choice is convenience, the checks that follow are not.
        return True


def _file(entry: Mapping[str, object]) -> PageFile | None:
    try:
        sha256 = parse_sha256(_text(_mapping(entry.get("hashes"), "hashes"), "sha256"))
    except InvalidDigest as error:
        raise MalformedPage(str(error)) from error
    try:
        distribution = parse_distribution(_text(entry, "filename"))
    except InvalidName:
        return None
    yanked, size = entry.get("yanked", False), entry.get("size")
    return PageFile(
        distribution=distribution,
        sha256=sha256,
        requires_python=_text_or_none(entry.get("requires-python")),
        yanked=yanked is True or isinstance(yanked, str),
        yanked_reason=_text_or_none(yanked) or None,
        length=size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None,
        uploaded=_text_or_none(entry.get("upload-time")),
    )


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _mapping(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise MalformedPage(f"{what} is not an object")
    return value


def _text(fields: Mapping[str, object], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str) or not value:
        raise MalformedPage(f"{key} is missing or not text")
    return value


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise MalformedPage("a key occurs twice")
    return fields
