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


@dataclass(frozen=True, slots=True)
class ScanLimits:
    """How much of an archive is looked through.

    Attributes:
        member_bytes: of one member; the rest of it is left out.
        total_bytes: of all members together.
        seconds: in all, looked at between two members.
        member_seconds: for one member.
    """

    member_bytes: int = 4 * MEBIBYTE
    total_bytes: int = 128 * MEBIBYTE
    seconds: float = 10.0
    member_seconds: int = 2


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
    scanner.set_timeout(limits.member_seconds)
    ends, left = time.monotonic() + limits.seconds, limits.total_bytes
    try:
        for name, member, length in _members(path, package_type):
            if time.monotonic() > ends:
                raise _Stopped(f"after {limits.seconds:g} seconds")
            if left < min(length, limits.member_bytes):
                raise _Stopped(f"after {limits.total_bytes} bytes")
            data = member.read(limits.member_bytes)
            left -= len(data)
            if length > len(data):
                found.add(f"scan: of {quoted(name)} the first {limits.member_bytes} bytes alone were looked at.")
            for rule in _matches(scanner, data):
                about = dict(rule.metadata)["about"]
                found.add(f"scan: {quoted(name)} looks like hidden code ({rule.identifier}): {about}.")
    except (_Stopped, yara_x.TimeoutError) as error:
        reason = str(error) if isinstance(error, _Stopped) else "at a member that took too long"
        found.add(f"scan: it was stopped {reason}; the rest was not looked at.")
    return found.sentences()


def _matches(scanner: yara_x.Scanner, data: bytes) -> tuple[yara_x.Rule, ...]:
    return tuple(scanner.scan(data).matching_rules)


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
