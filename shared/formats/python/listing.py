"""A project's listed files, sorted and encoded: what its signed targets are rendered from.

Kept from one publication to the next, it makes a page that changes by one file cost one file. Its bytes depend on the
files it holds alone, not on how they came and went. Pure.
Source: trust contract sections 1.4 and 3.2; architecture sections 5.6 and 11.2 to 11.4.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from packaging.version import Version

from countermark.core.names import (
    FileName,
    IndexName,
    NormalizedName,
    TargetPath,
    latest_target,
    page_target,
    pointer_target,
)
from countermark.core.pointer import Latest, Pointer, Resource
from shared.formats.interface import PageFile, ProjectPage
from shared.formats.python.names import SDIST, WHEEL, is_universal_wheel
from shared.formats.python.pages import QUARANTINED, encode_file, page_document
from shared.objects.keys import file_key

_FINAL, _PRE_RELEASE, _YANKED = range(3)
"""What a plain download prefers, best first."""

_RANKS = {WHEEL: 1, SDIST: 2}
"""What a plain download prefers of one release, beside a wheel for every Python 3."""

_OVERHEAD = 600
"""Bytes that an entry's objects weigh beside its encoded form, measured with one version for each file."""

_Place = tuple[Version, str, FileName]
"""What orders a page: the text decides between equal versions that are written differently (1.0 and 1.0.0)."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One file of the page: where it stands, how it is printed, and what `_latest` is chosen by."""

    place: _Place
    encoded: bytes
    package_type: str
    rank: int


class Listing:
    """The files of a project's page; the `Listing` of Python packages."""

    def __init__(self, files: Iterable[PageFile] = ()) -> None:
        versions: dict[str, Version] = {}
        entries = {file.file_name: _entry(file, versions) for file in files}
        self._by_name = entries
        self._entries = sorted(entries.values(), key=_place)
        self._encoded = sum(len(entry.encoded) for entry in self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, file_name: object) -> bool:
        return file_name in self._by_name

    @property
    def weight(self) -> int:
        """Bytes of memory it takes, about."""
        return self._encoded + _OVERHEAD * len(self._entries)

    def set(self, file: PageFile) -> None:
        """List a file, in place of the one that has its name."""
        self.drop(file.file_name)
        entry = _entry(file, {})
        insort(self._entries, entry, key=_place)
        self._by_name[file.file_name] = entry
        self._encoded += len(entry.encoded)

    def drop(self, file_name: FileName) -> None:
        """List a file no more; nothing happens when it is not listed."""
        entry = self._by_name.pop(file_name, None)
        if entry is not None:
            del self._entries[bisect_left(self._entries, entry.place, key=_place)]
            self._encoded -= len(entry.encoded)

    def entry(self, file_name: FileName) -> bytes | None:
        """Return how a file is listed, as its page document prints it; None when it is not listed."""
        entry = self._by_name.get(file_name)
        return None if entry is None else entry.encoded

    def render(self, page: ProjectPage, new: Collection[FileName]) -> dict[TargetPath, bytes]:
        """Return what a publication signs for a project: target path -> bytes, the page document first.

        A quarantined project has its page document only: what is not served has no pointer either.

        Args:
            page: what the page says beside its files; of these, it need only have those named in `new`.
            new: names of the files whose pointers are wanted: a publication costs what it changes, not what there is.
        """
        entries = [] if page.status == QUARANTINED else self._entries
        versions = dict.fromkeys(entry.place[1] for entry in reversed(entries))
        targets = {page_target(page.project): page_document(page, versions, [entry.encoded for entry in entries])}
        if not entries:
            return targets
        pointed = [file for file in page.files if file.file_name in new]
        for file in sorted(pointed, key=lambda file: self._by_name[file.file_name].place):
            targets[pointer_target(page.project, file.file_name)] = pointer_of(
                page.index, page.project, file
            ).to_bytes()
        targets[latest_target(page.project)] = _latest(page, entries).to_bytes()
        return targets


def _entry(file: PageFile, versions: dict[str, Version]) -> _Entry:
    """Return a file as the listing keeps it.

    Args:
        versions: what was parsed already; one more is added.
    """
    version = versions.get(file.version) or versions.setdefault(file.version, Version(file.version))
    rank = _YANKED if file.yanked is not None else _PRE_RELEASE if version.is_prerelease else _FINAL
    return _Entry((version, file.version, file.file_name), encode_file(file), file.package_type, rank)


def _place(entry: _Entry) -> _Place:
    return entry.place


def pointer_of(index: IndexName, project: NormalizedName, file: PageFile) -> Pointer:
    """Return the pointer of a file: what is signed for it, and what people approve beforehand."""
    uri = f"/{file_key(file.sha256, file.file_name)}"
    return Pointer(project, file.version, index, Resource(uri, file.sha256, file.length), file.attestation)


def _latest(page: ProjectPage, entries: Sequence[_Entry]) -> Latest:
    """Return the newest release that is neither yanked nor a pre-release; else not yanked; else the newest.

    Args:
        page: the project.
        entries: in the page's order, at least one.

    Source: python-index contract section 1.9 (point 5).
    """
    best, version = _YANKED + 1, ""
    for entry in reversed(entries):
        if entry.rank < best:
            best, version = entry.rank, entry.place[1]
        if entry.rank == _FINAL:
            # The newest that could be chosen: what is older is not looked at, however many there are.
            break
    candidates = (entry for entry in reversed(entries) if entry.place[1] == version and entry.rank == best)
    return Latest(page.project, version, page.index, min(map(_preference, candidates))[1])


def _preference(entry: _Entry) -> tuple[int, FileName]:
    """Return what orders the files of a release for a plain download: wheel for every Python 3, other wheel, sdist,
    anything else."""
    file_name = entry.place[2]
    if is_universal_wheel(file_name):
        return 0, file_name
    return _RANKS.get(entry.package_type, 3), file_name
