"""Names of indexes, projects, files and targets, parsed once at the edge.

Source: packaging.python.org name normalisation (PEP 503); trust contract section 1.4 (target paths);
architecture section 3 (account names that would hide a face).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NewType

from packaging.utils import NormalizedName, canonicalize_name

FileName = NewType("FileName", str)
"""A file name that passed `parse_file_name`: one safe path segment."""

TargetPath = NewType("TargetPath", str)
"""The name of a target in TUF metadata, three segments below a role's delegated folder."""

MAX_FILE_NAME = 180
"""Characters. A target's last segment may hold 200 (trust contract section 1.4); `.pointer` and `.vsa.json` need
room."""

RESERVED_OWNERS = frozenset(
    ["simple", "legacy", "pypi", "api", "v1", "packages", "files", "indexes", "static", "healthz", "readyz", "metrics"]
)
"""Account names that would hide a face of the host. Source: architecture section 3."""

OWN_PROJECTS = frozenset(["countermark--audit", "countermark--log"])
"""Project segments that are the deployment's own: no normalised name holds `--`, so none of them can be a project's.
Source: trust contract section 1.4; architecture section 11.3."""

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._!+-]*\Z")
_PROJECT_NAME = re.compile(r"[A-Z0-9]([A-Z0-9._-]{0,126}[A-Z0-9])?\Z", re.ASCII | re.IGNORECASE)
_TARGET = re.compile(r"pointers/[a-z0-9]([a-z0-9-]*[a-z0-9])?/[A-Za-z0-9._~!-]{1,200}\.(pointer|json|note)\Z")


class InvalidName(ValueError):
    """A name that cannot be used; `kind` says of what, `value` is the text cut to 100 characters, `reason` says why."""

    def __init__(self, kind: str, value: str, reason: str) -> None:
        self.kind = kind
        self.value = value[:100]
        self.reason = reason
        super().__init__(f"invalid {kind} {self.value!r}: {reason}")


@dataclass(frozen=True, slots=True, order=True)
class IndexName:
    """The name of an index: `owner/name`, for example `root/stable`."""

    owner: str
    name: str

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}"


def parse_owner(text: str) -> str:
    """Return `text` as an account name.

    Raises:
        InvalidName: it is not a plain segment, or it would hide a face of the host.
    """
    if not _SEGMENT.match(text):
        raise InvalidName(
            "account name", text, "use 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit"
        )
    if text.lower() in RESERVED_OWNERS:
        raise InvalidName("account name", text, "it is reserved for a path of the host")
    return text


def parse_index_name(text: str) -> IndexName:
    """Return `owner/name` as an `IndexName`.

    Raises:
        InvalidName: there are not exactly two plain segments, or the owner is reserved.
    """
    owner, slash, name = text.partition("/")
    if not slash or not _SEGMENT.match(name):
        raise InvalidName("index name", text, "write it as owner/name, for example root/stable")
    return IndexName(parse_owner(owner), name)


def parse_project_name(text: str) -> NormalizedName:
    """Return the normalised form of a project's name as people write it.

    Raises:
        InvalidName: it does not begin and end with a letter or digit, or holds other characters than letters, digits,
        `.`, `_`, `-`.

    Source: PEP 508 names; Warehouse's rule, contract python-index section 2.3 row 3.
    """
    if not _PROJECT_NAME.match(text):
        raise InvalidName(
            "project name", text, "use letters, digits, '.', '_' and '-', beginning and ending with a letter or digit"
        )
    return canonicalize_name(text)


def parse_file_name(text: str) -> FileName:
    """Return `text` as a file name: one path segment that is safe in a key, a URL and a target path.

    Raises:
        InvalidName: it holds a slash, a control character or another character outside `[A-Za-z0-9._!+-]`,
            or is longer than `MAX_FILE_NAME` characters.
    """
    if len(text) <= MAX_FILE_NAME and _FILE_NAME.match(text):
        return FileName(text)
    if "/" in text or "\\" in text:
        raise InvalidName("file name", text, "it must not contain a path")
    if len(text) > MAX_FILE_NAME:
        raise InvalidName("file name", text, f"it is longer than {MAX_FILE_NAME} characters")
    raise InvalidName("file name", text, "use letters, digits and . _ ! + - only, beginning with a letter or digit")


def pointer_target(project: NormalizedName, file_name: FileName) -> TargetPath:
    """Return the target path of a file's pointer; `+` becomes `~`, one to one.

    Source: trust contract section 1.4 (stores read a raw `+` as a space; `~` cannot occur in names or versions).
    """
    return parse_target_path(f"pointers/{project}/{file_name.replace('+', '~')}.pointer")


def summary_target(project: NormalizedName, file_name: FileName) -> TargetPath:
    """Return the target path of a file's verification summary. Source: architecture section 11.8."""
    return parse_target_path(f"pointers/{project}/{file_name.replace('+', '~')}.vsa.json")


def page_target(project: NormalizedName) -> TargetPath:
    """Return the target path of a project's page document."""
    return TargetPath(f"pointers/{project}/_simple.json")


def latest_target(project: NormalizedName) -> TargetPath:
    """Return the target path of the pointer that names a project's latest release."""
    return TargetPath(f"pointers/{project}/_latest.pointer")


def parse_target_path(text: str) -> TargetPath:
    """Return `text` as a target path.

    Raises:
        InvalidName: it does not have the shape of trust contract section 1.4.
    """
    if not _TARGET.match(text):
        raise InvalidName("target path", text, "expected pointers/<project>/<file name>.pointer")
    if "--" in (project := text.split("/")[1]) and project not in OWN_PROJECTS:
        raise InvalidName("target path", text, "'--' is in no project's name")
    return TargetPath(text)


__all__ = [
    "MAX_FILE_NAME",
    "OWN_PROJECTS",
    "RESERVED_OWNERS",
    "FileName",
    "IndexName",
    "InvalidName",
    "NormalizedName",
    "TargetPath",
    "latest_target",
    "page_target",
    "parse_file_name",
    "parse_index_name",
    "parse_owner",
    "parse_project_name",
    "parse_target_path",
    "pointer_target",
]
