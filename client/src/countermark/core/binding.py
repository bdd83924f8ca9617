"""Binding: what was signed must be about what was asked. Pure.

All stage indexes of a deployment share their root, so another index's tree verifies under the same keys. Only these
comparisons keep one index, project, version or file from being served as another.

Source: trust contract sections 2.3 (last paragraph) and 3.2 ("Binding"); architecture section 11.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from packaging.utils import NormalizedName
from packaging.version import InvalidVersion, Version

from countermark.core.errors import PointerMismatch, PointerUnreadable
from countermark.core.filenames import Distribution, parse_distribution
from countermark.core.names import (
    FileName,
    IndexName,
    InvalidName,
    TargetPath,
    latest_target,
    page_target,
    pointer_target,
)
from countermark.core.page import Page
from countermark.core.pointer import Latest, Pointer

INDEX_FIELD = "x-countermark-index"
"""What a snapshot says of its index, a field of ours beside those of TUF. The snapshot decides what the whole tree
holds, so with it also what an index does *not* list is bound to the index."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a pointer must be about."""

    index: IndexName
    distribution: Distribution

    @property
    def file_name(self) -> FileName:
        """The file that was asked for."""
        return self.distribution.file_name

    @property
    def target(self) -> TargetPath:
        """The target path below which its pointer was found."""
        return pointer_target(self.distribution.project, self.file_name)


def check_pointer(pointer: Pointer, asked: Asked) -> None:
    """Refuse a pointer that is not about the file that was asked for.

    Raises:
        PointerMismatch: its index, name, version or file name is another, or it belongs under another target path.
        PointerUnreadable: its `uri` does not end in the name of a wheel or sdist, or its version is not one.
    """
    where = asked.target
    _same(where, "index", str(pointer.index), str(asked.index))
    _same(where, "project", pointer.name, asked.distribution.project)
    try:
        named = parse_distribution(pointer.file_name)
        target = pointer_target(pointer.name, named.file_name)
        version = Version(pointer.version)
    except (InvalidName, InvalidVersion) as error:
        raise PointerUnreadable(f"the pointer {where} names no usable file: {error}") from error
    _same(where, "target path", target, where)
    if version != asked.distribution.version:
        _same(where, "version", pointer.version, str(asked.distribution.version))


def check_page(page: Page, index: IndexName, project: NormalizedName) -> None:
    """Refuse a page document of another index or project.

    Raises:
        PointerMismatch: it names another one.
    """
    where = page_target(project)
    _same(where, "index", str(page.index), str(index))
    _same(where, "project", page.name, project)


def check_latest(latest: Latest, index: IndexName, project: NormalizedName) -> Distribution:
    """Refuse a `_latest` of another index or project, or whose file is of another release; return its file.

    Raises:
        PointerMismatch: it names another index, project or version.
        PointerUnreadable: it names no wheel or sdist, or no version.
    """
    where = latest_target(project)
    _same(where, "index", str(latest.index), str(index))
    _same(where, "project", latest.name, project)
    try:
        distribution = parse_distribution(latest.file)
        version = Version(latest.version)
    except (InvalidName, InvalidVersion) as error:
        raise PointerUnreadable(f"{where} names no usable file: {error}") from error
    _same(where, "project of the file", distribution.project, project)
    if version != distribution.version:
        _same(where, "version", latest.version, str(distribution.version))
    return distribution


def check_snapshot(fields: Mapping[str, object], index: IndexName) -> bool:
    """Refuse the snapshot of another index; return whether it names its index at all.

    Args:
        fields: what the snapshot signs beside TUF's own fields.
        index: the one that was asked.

    Raises:
        PointerMismatch: it names another one.
    """
    named = fields.get(INDEX_FIELD)
    if named is not None:
        _same("the snapshot", "index", str(named), str(index))
    return named is not None


def _same(where: str, what: str, found: str, expected: str) -> None:
    if found != expected:
        raise PointerMismatch(f"{where} is signed for {what} {found!r}, but {expected!r} was asked for")
