"""Renders what is signed for a project: its page document, the pointer of every file, and `_latest`. Pure.

Source: trust contract sections 1.4 and 3.2; architecture sections 11.2 to 11.4.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from packaging.version import Version

from countermark.core.names import FileName, TargetPath, latest_target, page_target, pointer_target
from countermark.core.pointer import Latest, Pointer, Resource
from shared.formats.interface import PageFile, ProjectPage
from shared.formats.python.names import WHEEL, is_universal_wheel
from shared.formats.python.pages import listed_files, page_document
from shared.objects.keys import file_key

_FINAL, _PRE_RELEASE, _YANKED = range(3)
"""What a plain download prefers, best first."""


def render(page: ProjectPage, new: Collection[FileName]) -> dict[TargetPath, bytes]:
    """Return what a publication signs for a project: target path -> bytes, the page document first.

    The bytes of each target depend on `page` alone, whatever the order of its files. A quarantined project has its page
    document only: what is not served has no pointer either.

    Args:
        page: the project with all its files.
        new: names of the files whose pointers are wanted: a publication costs what it changes, not what there is.
    """
    files = listed_files(page)
    targets = {page_target(page.project): page_document(page)}
    for file in files:
        if file.file_name in new:
            targets[pointer_target(page.project, file.file_name)] = _pointer(page, file).to_bytes()
    if files:
        targets[latest_target(page.project)] = _latest(page, files).to_bytes()
    return targets


def _pointer(page: ProjectPage, file: PageFile) -> Pointer:
    uri = f"/{file_key(file.sha256, file.file_name)}"
    return Pointer(page.project, file.version, page.index, Resource(uri, file.sha256, file.length))


def _latest(page: ProjectPage, files: Sequence[PageFile]) -> Latest:
    """Return the newest release that is neither yanked nor a pre-release; else not yanked; else the newest.

    Args:
        page: the project.
        files: in the page's order, at least one.

    Source: python-index contract section 1.9 (point 5).
    """
    best, version = _YANKED + 1, ""
    for file in reversed(files):
        rank = _rank(file)
        if rank < best:
            best, version = rank, file.version
        if rank == _FINAL:
            # The newest that could be chosen: what is older is not looked at, however many there are.
            break
    candidates = (file for file in files if file.version == version and _rank(file) == best)
    chosen = min(candidates, key=_preference)
    return Latest(page.project, version, page.index, chosen.file_name)


def _rank(file: PageFile) -> int:
    if file.yanked is not None:
        return _YANKED
    return _PRE_RELEASE if Version(file.version).is_prerelease else _FINAL


def _preference(file: PageFile) -> tuple[int, str]:
    """Return what orders the files of a release for a plain download: wheel for every Python 3, other wheel, sdist."""
    if is_universal_wheel(file.file_name):
        return 0, file.file_name
    return (1 if file.package_type == WHEEL else 2), file.file_name
