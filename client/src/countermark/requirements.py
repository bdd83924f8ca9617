"""What people ask for: `NAME`, `NAME==1.0`, `NAME>=1,<2`, and requirements files with digests.

Dependencies are not resolved: what is written is what is meant. What cannot be honoured here (another index, an
editable folder, an address) is refused rather than passed over.

Source: PEP 508 (requirements), PEP 440 (specifiers); pip's requirements file format and its hash-checking mode.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from countermark.choosing import Wanted
from countermark.core.digest import InvalidDigest, Sha256, parse_sha256
from countermark.core.errors import UsageFault
from countermark.core.names import InvalidName, parse_project_name
from countermark.credentials import Notify

MAX_FILE_BYTES = 4 * 1024 * 1024
"""Bytes of a requirements file."""

MAX_LINES = 100_000
"""Lines of a requirements file."""

_COMMENT = re.compile(r"(^|\s+)#.*$")
_HASH = re.compile(r"--hash[= ]\s*(\S+)\Z")


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    text: str


def parse_requirement(text: str, notify: Notify) -> Wanted | None:
    """Return what a requirement asks for, None when its marker excludes this machine.

    Raises:
        UsageFault: it is no requirement, or names an address instead of a version.
    """
    try:
        requirement = Requirement(text)
        project = parse_project_name(requirement.name)
        version = _exact(requirement)
    except (InvalidRequirement, InvalidName, InvalidVersion) as error:
        reason = " ".join(str(error).split("\n", 1)[0].split())
        raise UsageFault(
            f"cannot read {text!r}: {reason}".rstrip("."), "Write NAME, NAME==VERSION or NAME>=VERSION."
        ) from error
    if requirement.url:
        raise UsageFault(f"{text!r} names an address", "Only files of the index can be proven: name a version.")
    if not _applies(requirement):
        notify(f"left out {text}: its marker excludes this machine")
        return None
    if requirement.extras:
        notify(f"{requirement.name}: extras only add dependencies, which are not resolved; list them too")
    if version is not None:
        return Wanted(project, version)
    return Wanted(project, versions=requirement.specifier)


def read_requirements(path: Path, notify: Notify) -> list[Wanted]:
    """Return what a requirements file asks for, in its order.

    Args:
        path: the file: one requirement a line, each with any number of `--hash=sha256:...`; comments, `\\` at the end
            of a line and environment markers as pip reads them.
        notify: is told of what is left out.

    Raises:
        UsageFault: the file cannot be read; a line is none; some lines have digests and others have none.
    """
    wanted = []
    for line in _lines(path):
        try:
            found = _parse_line(line.text, notify)
        except UsageFault as error:
            raise UsageFault(f"{path}, line {line.number}: {error.problem}", error.remedy) from error
        if found is not None:
            wanted.append(found)
    if any(each.hashes for each in wanted):
        bare = next((each for each in wanted if not each.hashes), None)
        if bare is not None:
            raise UsageFault(
                f"{path}: {bare} has no --hash and others have one", "With one digest, each requirement needs one."
            )
    return wanted


def _parse_line(text: str, notify: Notify) -> Wanted | None:
    if text.startswith("-"):
        option = text.split(maxsplit=1)[0].partition("=")[0]
        raise UsageFault(
            f"{option} is not read here", "Take the line out; give the index with --repository, files each with -r."
        )
    requirement, *options = re.split(r"\s+(?=--)", text)
    wanted = parse_requirement(requirement, notify)
    hashes = frozenset(map(_digest, options))
    return None if wanted is None else replace(wanted, hashes=hashes)


def _digest(option: str) -> Sha256:
    found = _HASH.match(option)
    if found is None:
        raise UsageFault(
            f"{option.split('=', maxsplit=1)[0]} is not read here", "Of options only --hash=sha256:... is read."
        )
    try:
        if not found[1].startswith("sha256:"):
            raise InvalidDigest(found[1])
        return parse_sha256(found[1])
    except InvalidDigest as error:
        raise UsageFault(f"{option!r} is no sha256 digest", "Write --hash=sha256: and 64 hex characters.") from error


def _lines(path: Path) -> Iterator[_Line]:
    """Yield the lines that say something, joined where they end in a backslash, without comments."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageFault(f"cannot read {path}: {reason or error}") from error
    lines = text.splitlines()
    if len(data) > MAX_FILE_BYTES or len(lines) > MAX_LINES:
        raise UsageFault(f"{path} has more than {MAX_FILE_BYTES} bytes or {MAX_LINES} lines")
    begun, joined = 1, ""
    for number, line in enumerate(lines, 1):
        begun = begun if joined else number
        # A comment ends the joining, also behind a backslash, as pip reads it.
        bare = _COMMENT.sub("", line)
        if bare == line and line.endswith("\\"):
            joined += line[:-1].rstrip() + " "
            continue
        whole, joined = (joined + bare).strip(), ""
        if whole:
            yield _Line(begun, whole)
    if joined.strip():
        yield _Line(begun, joined.strip())


def _applies(requirement: Requirement) -> bool:
    try:
        return requirement.marker is None or requirement.marker.evaluate()
    except (UndefinedComparison, UndefinedEnvironmentName) as error:
        raise UsageFault(f"the marker of {requirement.name} cannot be evaluated: {error}".rstrip(".")) from error


def _exact(requirement: Requirement) -> Version | None:
    """Return the version of `NAME==V`, which also takes what is yanked; None for a range."""
    only = next(iter(requirement.specifier)) if len(requirement.specifier) == 1 else None
    if only is None or only.operator != "==" or only.version.endswith(".*"):
        return None
    return Version(only.version)
