"""A page as it stood at a moment in the past: what is shown now, without what came later. Pure.

A page is cut after it was put together, not its members' before: what it lists is then always part of what the plain
page lists, and each file is found at the plain page's address. Removals, yanks, holds and rules count as of now.
Source: architecture section 3; ADR 0030.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from countermark.core.digest import Sha256
from countermark.core.names import FileName, IndexName, NormalizedName
from shared.formats.python.foreign import version_named
from shared.formats.python.merged import entries, only, origin_of

FORM = "YYYY-MM-DDThh:mm:ssZ (RFC 3339, UTC), or YYYY-MM-DD for the beginning of that day"
"""How a moment is written, for those who wrote it otherwise."""

_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z)?\Z")


@dataclass(frozen=True, slots=True)
class Dated:
    """A listed file: the version it is of, and since when it is there, None when that is not known."""

    version: str
    since: datetime | None


Published = Mapping[tuple[IndexName, Sha256, FileName], Dated]
"""Files that stages published: the index, and the file's digest and name."""


def parse_moment(text: str) -> datetime | None:
    """Read a moment, to the microsecond; None for any text that is not of the form `FORM`, and for no real moment."""
    if _MOMENT.match(text) is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def dated_files(
    document: bytes, index: IndexName, project: NormalizedName, mirrors: Collection[IndexName], published: Published
) -> dict[FileName, Dated]:
    """Return since when each file of a page document is there. Blocking: some 10 us for each.

    Hosted files are since the first publication that listed them, mirrored ones since their upstream has them.

    Args:
        index: the one whose page it is.
        mirrors: among the members of its view.
    """
    found = {}
    for name, entry in entries(document):
        file = orjson.loads(entry)
        owner = origin_of(file, index)
        if owner in mirrors:
            said = file.get("upload-time")
            version = version_named(name, project)
            since = datetime.fromisoformat(said) if isinstance(said, str) and version is not None else None
            found[name] = Dated(version or "", since)
        elif (dated := published.get((owner, Sha256(file["hashes"]["sha256"]), name))) is not None:
            found[name] = dated
    return found


def cut(document: bytes, files: Mapping[FileName, Dated], at: datetime) -> bytes:
    """Return a page document with the files alone that were there at a moment, and their versions. Blocking.

    A file of which it is not known since when it is there was not.

    Args:
        files: as `dated_files` returns them.
    """
    return only(document, {name: file.version for name, file in files.items() if _was_there(file, at)})


def _was_there(file: Dated, at: datetime) -> bool:
    return file.since is not None and file.since <= at
