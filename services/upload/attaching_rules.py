"""What documentation and test results are called, and whether documentation may take the place of what is there. Pure.

Source: contract devpi sections 9 (`doc_upload`), 12 and 23; architecture section 11.8.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from countermark.core.digest import Sha256
from countermark.core.names import FileName, InvalidName, NormalizedName, parse_file_name, parse_project_name
from services.upload.rules import Fields, value_of
from shared.auth.directory import IndexRecord
from shared.catalogue.attachments import Attached, ReleaseLine
from shared.errors import ErrorKind, ServiceError
from shared.formats.python.names import release_key
from shared.formats.python.versions import parsed, version_order

_MAX_VERSION = 200
_OVERWRITE = "overwrite"
_ADDRESS = re.compile(r"([0-9a-f]{3})/([0-9a-f]{13})/([^/]+)\Z")


@dataclass(frozen=True, slots=True)
class Documented:
    """What a form says its documentation is about; `version` is None when it does not say."""

    name: str
    project: NormalizedName
    version: str | None


@dataclass(frozen=True, slots=True)
class FileAddress:
    """What follows `+f/` in the address of a file."""

    path_key: str
    file_name: FileName

    @property
    def path(self) -> str:
        """The address again."""
        return f"{self.path_key[:3]}/{self.path_key[3:]}/{self.file_name}"


@dataclass(frozen=True, slots=True)
class Standing:
    """How documentation that arrives stands to what is there.

    Attributes:
        version: of its release, as that is spelled.
        key: what equal versions have in common.
        living: the documentation that the release has now.
        settled: whether that has the same bytes: nothing is to be done.
    """

    version: str
    key: str
    file_name: FileName
    living: Attached | None
    settled: bool


def documented(fields: Fields) -> Documented:
    """Read what the documentation is about.

    Raises:
        ServiceError: INVALID; the name is missing, or name or version cannot be any.
    """
    name, version = value_of(fields, "name"), value_of(fields, "version")
    if name is None:
        raise _invalid("The field name is missing: it says which project is documented.")
    try:
        project = parse_project_name(name)
    except InvalidName as error:
        raise _invalid(f"invalid metadata: {error}") from error
    if version is not None and len(version) > _MAX_VERSION:
        raise _invalid(f"invalid metadata: the version is longer than {_MAX_VERSION} characters")
    return Documented(name, project, version)


def named(about: Documented) -> tuple[str, str] | None:
    """Return the version that a form names, as releases spell it, and what equal versions have in common."""
    if about.version is None:
        return None
    version = parsed(about.version)
    written = about.version if version is None else str(version)
    return written, release_key(written)


def release_meant(about: Documented, found: Sequence[ReleaseLine]) -> ReleaseLine | None:
    """Return the release that is documented; None when it is to be made.

    Args:
        found: the project's releases that the form's version may mean, the likeliest first; all of them without one.

    Raises:
        ServiceError: INVALID; no version is named, and there is no release to take it from.
    """
    if about.version is not None:
        return found[0] if found else None
    living = [release for release in found if release.living]
    if not living:
        words = f"doczip has no version and '{about.project}' has no releases to derive one from"
        raise _invalid(words)
    return max(living, key=lambda release: version_order(release.version))


def standing_of(
    index: IndexRecord, about: Documented, found: tuple[ReleaseLine | None, Attached | None], sent: tuple[str, Sha256]
) -> Standing:
    """Return how documentation stands to what an index has.

    Args:
        found: the release that is documented, and the documentation it has, or had last.
        sent: the name under which the documentation was sent, and its digest.

    Raises:
        ServiceError: INVALID, the version gives no file name; CONFLICT, the index keeps what it has, or the name was
            removed from it for good.
    """
    (release, doc), (sent_as, sha256) = found, sent
    asked = named(about)
    if release is not None:
        version = release.version
    else:
        assert asked is not None, "without a version there is a release"
        version = asked[0]
    name = doc_name(about.project, version)
    living = None if doc is None or doc.removed else doc
    settled = living is not None and living.sha256 == sha256
    if living is not None and not settled and not index.volatile:
        raise ServiceError(ErrorKind.CONFLICT, f"{sent_as} already exists in non-volatile index")
    if doc is not None and doc.removed and not index.volatile and index.admission == "strict":
        words = f"{name} was removed from {index.name}: its name cannot be used again."
        raise ServiceError(ErrorKind.CONFLICT, words)
    return Standing(version, release_key(version), name, living, settled)


def doc_name(project: NormalizedName, version: str) -> FileName:
    """Return the name under which documentation is kept.

    Raises:
        ServiceError: INVALID; the version holds what no file name may.
    """
    try:
        return parse_file_name(f"{project}-{version}.doc.zip")
    except InvalidName as error:
        raise _invalid(f"invalid metadata: {error}") from error


def result_name(file_name: FileName, at: datetime, number: int) -> FileName:
    """Return the name of a test result about a file.

    Args:
        at: when it came (aware, UTC).
        number: how many the file had before.
    """
    return FileName(f"{file_name}.toxresult-{at:%Y%m%d%H%M%S}-{number}")


def address_of(rest: str) -> FileAddress | None:
    """Return the file that a path below `+f/` may mean; None when it can mean none."""
    found = _ADDRESS.match(rest)
    if found is None:
        return None
    try:
        return FileAddress(found[1] + found[2], parse_file_name(found[3]))
    except InvalidName:
        return None


def overwritten(history: Sequence[Mapping[str, Any]], at: datetime) -> list[dict[str, Any]]:
    """Return the history of what takes the place of something: how often that happened.

    Source: contract devpi section 4.5.
    """
    before = next((entry.get("count", 0) for entry in history if entry.get("what") == _OVERWRITE), 0)
    when = [at.year, at.month, at.day, at.hour, at.minute, at.second]
    return [{"what": _OVERWRITE, "who": None, "when": when, "count": int(before) + 1}]


def _invalid(detail: str) -> ServiceError:
    return ServiceError(ErrorKind.INVALID, detail.encode("ascii", "backslashreplace").decode("ascii"))
