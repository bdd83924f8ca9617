"""What the zip and tar readers share: limits, member paths, and faults gathered as sentences.

The readers (`shared.formats.zip_archive`, `shared.formats.tar_archive`) walk an archive once from its first byte to its
last, never unpack to disk, and refuse whatever two programs could read in two ways.
Source: python-index contract sections 2.4 and 2.5 (points 3 and 4); architecture section 11.3.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from countermark.core.digest import Sha256

MEBIBYTE = 1 << 20
READ_BYTES = 256 * 1024
"""Bytes read from an archive, and inflated from it, in one step."""

MAX_ISSUES = 20
"""Sentences in one answer; the rest is counted."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_DRIVE = re.compile(r"[A-Za-z]:")
_MAX_PATH = 1024
_MAX_SEGMENT = 255


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of an archive is read.

    Attributes:
        entries: members, folders and links included.
        unpacked_bytes: bytes that all members have when unpacked.
        ratio: unpacked bytes for each byte of the archive, minded only above `ratio_floor_bytes` unpacked bytes.
        ratio_floor_bytes: unpacked bytes below which any ratio is taken.
        header_bytes: bytes of one extended header of a tar (long names, pax records).
        kept_bytes: bytes of all wanted members together, which is what a reader holds in memory.

    Source: python-index contract section 2.4 (64 MiB and 50 are Warehouse's numbers).
    """

    entries: int = 100_000
    unpacked_bytes: int = 8 << 30
    ratio: int = 50
    ratio_floor_bytes: int = 64 * MEBIBYTE
    header_bytes: int = 64 * 1024
    kept_bytes: int = 64 * MEBIBYTE


DEFAULT_LIMITS = Limits()

Wanted = Callable[[str], int]
"""Says for a member's path how many of its bytes to keep: 0 to keep none. A wanted member that is longer is a fault."""


@dataclass(frozen=True, slots=True)
class Member:
    """One regular file of an archive: its length in bytes and, in a zip, its digest (tar readers do not hash)."""

    path: str
    length: int
    sha256: Sha256 | None


@dataclass(frozen=True, slots=True)
class Contents:
    """What a reader found.

    Attributes:
        members: path -> member; regular files only, in archive order.
        folders: the folders that have an entry of their own, without a trailing slash.
        kept: path -> the bytes of a wanted member.
        issues: the faults found, one sentence each.
        complete: whether the whole archive was read; when not, a missing member means nothing.
    """

    members: Mapping[str, Member]
    folders: frozenset[str]
    kept: Mapping[str, bytes]
    issues: tuple[str, ...]
    complete: bool


class StopReading(Exception):
    """The rest of an archive cannot be read, or is not worth it. Raised and caught by readers only."""


@dataclass(slots=True)
class Issues:
    """Gathers faults: equal sentences once, at most `MAX_ISSUES`, the rest counted."""

    _sentences: dict[str, None] = field(default_factory=dict)
    _more: int = 0

    def add(self, sentence: str) -> None:
        """Note one fault."""
        if sentence in self._sentences:
            return
        if len(self._sentences) >= MAX_ISSUES:
            self._more += 1
        else:
            self._sentences[sentence] = None

    def extend(self, sentences: Iterable[str]) -> None:
        """Note several faults."""
        for sentence in sentences:
            self.add(sentence)

    def __bool__(self) -> bool:
        return bool(self._sentences)

    def sentences(self) -> tuple[str, ...]:
        """Return what was noted, in order."""
        more = (f"There are {self._more} more faults of this file.",) if self._more else ()
        return (*self._sentences, *more)


def quoted(text: str) -> str:
    """Return `text` in quotes for a message: printable ASCII, cut to 120 characters."""
    return ascii(text if len(text) <= 120 else text[:117] + "...")


def shown(raw: bytes) -> str:
    """Return a name that may not be UTF-8 in quotes for a message, in the manner of `quoted`."""
    return quoted(raw[:200].decode("utf-8", "backslashreplace"))


@dataclass(slots=True)
class Budget:
    """Counts entries and unpacked bytes against limits.

    Attributes:
        packed_bytes: the archive's own length, which the ratio refers to.
    """

    limits: Limits
    packed_bytes: int
    entries: int = 0
    unpacked: int = 0
    kept: int = 0

    def entry(self) -> None:
        """Count one more member.

        Raises:
            StopReading: there are too many.
        """
        self.entries += 1
        if self.entries > self.limits.entries:
            raise StopReading(f"The archive has more than {self.limits.entries} members.")

    def unpack(self, length: int) -> None:
        """Count `length` more unpacked bytes, before they are made.

        Raises:
            StopReading: that is too many, or far more than the archive's own size explains.
        """
        self.unpacked += length
        if self.unpacked > self.limits.unpacked_bytes:
            raise StopReading(f"The archive unpacks to more than {self.limits.unpacked_bytes} bytes.")
        floor = self.limits.ratio_floor_bytes
        if self.unpacked > floor and self.unpacked > self.limits.ratio * self.packed_bytes:
            raise StopReading(
                f"The archive unpacks to more than {floor} bytes and more than {self.limits.ratio} times its size."
            )

    def keep(self, length: int) -> None:
        """Count `length` bytes that are to be held in memory, before they are read.

        Raises:
            StopReading: all wanted members together are too long.
        """
        self.kept += length
        if self.kept > self.limits.kept_bytes:
            raise StopReading(f"The metadata in the archive are longer than {self.limits.kept_bytes} bytes.")


class Paths:
    """The paths of an archive's members so far: each is safe to unpack, and no two meet in one place.

    Source: python-index contract section 2.5 (point 3).
    """

    def __init__(self, issues: Issues) -> None:
        self._issues = issues
        self._files: dict[str, str] = {}
        self._folders: dict[str, str] = {}

    def decode(self, raw: bytes) -> str | None:
        """Return a member's path as text, None (and a fault) when it is not UTF-8."""
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            self._issues.add(f"The member name {shown(raw)} is not UTF-8.")
            return None

    def safe(self, path: str) -> bool:
        """Tell whether a path without trailing slash is relative and plain; if not, the reason is noted."""
        reason = path_fault(path)
        if reason is not None:
            self._issues.add(f"The member name {quoted(path)} {reason}.")
        return reason is None

    def add(self, path: str, *, folder: bool) -> bool:
        """Take a safe path; tells whether it is new. A second member of that name, or of one that differs in case or
        Unicode form only, is noted, and so is a file where others need a folder."""
        key = folded(path)
        known = self._files.get(key)
        if known is None and not folder:
            known = self._folders.get(key)
        if known is not None:
            self._issues.add(
                f"The member {quoted(path)} is there twice."
                if known == path
                else f"The members {quoted(known)} and {quoted(path)} fall on each other on many file systems."
            )
            return False
        return self._add_parents(path) and self._place(path, key, folder=folder)

    def _place(self, path: str, key: str, *, folder: bool) -> bool:
        if not folder:
            self._files[key] = path
            return True
        known = self._folders.setdefault(key, path)
        if known != path:
            self._issues.add(f"The folders {quoted(known)} and {quoted(path)} differ in case only.")
        return known == path

    def _add_parents(self, path: str) -> bool:
        cut = path.rfind("/")
        while cut > 0:
            parent = path[:cut]
            key = folded(parent)
            known = self._folders.get(key)
            if known == parent:
                return True
            if known is not None:
                self._issues.add(f"The folders {quoted(known)} and {quoted(parent)} differ in case only.")
                return False
            if key in self._files:
                self._issues.add(f"The member {quoted(path)} lies below {quoted(parent)}, which is no folder.")
                return False
            self._folders[key] = parent
            cut = path.rfind("/", 0, cut)
        return True


def folded(path: str) -> str:
    """Return the form under which case-blind and Unicode-normalising file systems know a path."""
    return path.lower() if path.isascii() else unicodedata.normalize("NFC", path).casefold()


def path_fault(path: str) -> str | None:
    """Return why a member's path is not taken, as the end of a sentence; None when it is fine."""
    if not path or len(path) > _MAX_PATH:
        return f"is not 1 to {_MAX_PATH} characters long"
    if _CONTROL.search(path):
        return "holds a control character"
    if "\\" in path:
        return "holds a backslash"
    if path.startswith("/") or _DRIVE.match(path):
        return "is an absolute path"
    segments = path.split("/")
    if ".." in segments:
        return "leads outside with '..'"
    if "" in segments or "." in segments:
        return "is not written in its shortest form"
    if any(len(segment.encode()) > _MAX_SEGMENT for segment in segments):
        return f"has a part of more than {_MAX_SEGMENT} bytes"
    return None
