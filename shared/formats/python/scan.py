"""Looks through the Python members of an archive for the ways in which code is hidden: rules of our own, in `scan.yar`.

What is found is advice. The archive was inspected before: its members are known to be few enough and safe to read.
Source: python-index contract sections 2.4 ("YARA rules") and 6 ("Scan at upload").
"""

from __future__ import annotations

import functools
import tarfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import IO, TYPE_CHECKING

from shared.formats.archive import MEBIBYTE, Issues, quoted
from shared.formats.python.names import WHEEL

if TYPE_CHECKING:
    import yara_x

_SCANNED = (".py", ".pyw", ".pth")
"""Endings of members that Python runs by itself or on import."""


_SLICE_SECONDS = 2

_SLICE, _OVERLAP = 32 << 10, 4 << 10
"""Bytes looked at in one go, and how many of them are looked at again with the next ones: no rule matches more.

YARA-X holds the interpreter while it looks, so nothing else of the process runs meanwhile: what one go takes is what
the event loop waits at the most, and a member made of beginnings of matches takes a thousand times as long as others.
"""


@dataclass(frozen=True, slots=True)
class ScanLimits:
    """How much of an archive is looked through.

    Attributes:
        member_bytes: of one member; the rest of it is left out.
        total_bytes: of all members together.
        seconds: of the thread's CPU time in all, looked at between two slices of a member.
    """

    member_bytes: int = 4 * MEBIBYTE
    total_bytes: int = 16 * MEBIBYTE
    seconds: float = 1.0


DEFAULT_SCAN = ScanLimits()


class _Stopped(Exception):
    """A limit was reached; the message says which, as the middle of a sentence."""


def scan(path: Path, package_type: str, limits: ScanLimits = DEFAULT_SCAN) -> tuple[str, ...]:
    """Return one sentence for each rule that a member matches, and one if something was left out. Blocking.

    Args:
        path: an archive that was inspected without a fault.
        package_type: `bdist_wheel` or `sdist`.
        limits: how much is looked through.
    """
    # Twenty megabytes of memory, for processes that take uploads alone.
    import yara_x  # noqa: PLC0415

    found = Issues()
    scanner = yara_x.Scanner(_rules())
    # Far above what a slice takes: the last resort, in seconds of the clock on the wall, which a busy machine eats up.
    scanner.set_timeout(_SLICE_SECONDS)
    ends, left = time.thread_time() + limits.seconds, limits.total_bytes
    try:
        for name, member, length in _members(path, package_type):
            if left < min(length, limits.member_bytes):
                raise _Stopped(f"after {limits.total_bytes} bytes")
            data = member.read(limits.member_bytes)
            left -= len(data)
            if length > len(data):
                found.add(f"scan: of {quoted(name)} the first {limits.member_bytes} bytes alone were looked at.")
            for piece in slices(data):
                if time.thread_time() > ends:
                    raise _Stopped(f"after {limits.seconds:g} seconds")
                for rule in scanner.scan(piece).matching_rules:
                    about = dict(rule.metadata)["about"]
                    found.add(f"scan: {quoted(name)} looks like hidden code ({rule.identifier}): {about}.")
                # Gives the interpreter away, which the scanner held.
                time.sleep(0)
    except (_Stopped, yara_x.TimeoutError) as error:
        reason = str(error) if isinstance(error, _Stopped) else "at a member that took too long"
        found.add(f"scan: it was stopped {reason}; the rest was not looked at.")
    return found.sentences()


def slices(data: bytes) -> Iterator[bytes]:
    """Yield `data` in pieces of at most `_SLICE` bytes, each with the last `_OVERLAP` bytes of the one before.

    The first byte of a later piece is a letter instead: a word that is cut there must not look like one that begins,
    and what does begin there is whole in the piece before.
    """
    yield data[:_SLICE]
    for start in range(_SLICE - _OVERLAP, len(data) - _OVERLAP, _SLICE - _OVERLAP):
        yield b"x" + data[start + 1 : start + _SLICE]


@functools.cache
def _rules() -> yara_x.Rules:
    import yara_x  # noqa: PLC0415

    return yara_x.compile(resources.files(__package__).joinpath("scan.yar").read_text("utf-8"))


def _members(path: Path, package_type: str) -> Iterator[tuple[str, IO[bytes], int]]:
    """Yield name, content and length of each Python member, in archive order."""
    if package_type == WHEEL:
        with zipfile.ZipFile(path) as wheel:
            for info in wheel.infolist():
                if info.filename.endswith(_SCANNED):
                    with wheel.open(info) as member:
                        yield info.filename, member, info.file_size
        return
    with tarfile.open(path, "r:gz") as archive:
        for entry in archive:
            if entry.isreg() and entry.name.endswith(_SCANNED):
                content = archive.extractfile(entry)
                assert content is not None
                yield entry.name, content, entry.size
