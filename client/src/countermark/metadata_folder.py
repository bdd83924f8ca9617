"""What we ask of the folder in which the TUF library keeps what it trusts, beyond what the library asks itself.

Source: trust contract sections 1.2 (key ids) and 2.3 (one repository per index on shared keys).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from countermark.core.binding import INDEX_FIELD
from countermark.core.names import IndexName
from countermark.roots import read_root


def check_roots(folder: Path, after: int, to: int) -> None:
    """Refuse the run if one of the roots it walked is one that nobody may trust, however many keys signed it.

    Args:
        folder: of the metadata.
        after: version of the root that trust started from.
        to: version of the root that is trusted now.

    Raises:
        MetadataRefused: as `read_root`.
        OSError: a root cannot be read.
    """
    for version in range(after + 1, to + 1):
        read_root((folder / "root_history" / f"{version}.root.json").read_bytes())


def forget_other_index(folder: Path, index: IndexName) -> None:
    """Remove timestamp and snapshot if they say that they are another index's.

    The same keys signed them, so the library would hold this index's numbers against theirs and see a rollback.

    Raises:
        OSError: they cannot be removed.
    """
    try:
        named = json.loads((folder / "snapshot.json").read_bytes())["signed"][INDEX_FIELD]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return  # None there, or damaged, or it does not say: the library sees to that.
    if named != str(index):
        for role in ("timestamp", "snapshot"):
            (folder / f"{role}.json").unlink(missing_ok=True)


def kept_root(folder: Path, version: int) -> bytes | None:
    """Return a root that earlier runs walked, None when there is none."""
    try:
        return (folder / "root_history" / f"{version}.root.json").read_bytes()
    except OSError:
        return None


def kept_versions(folder: Path, roles: Iterable[str]) -> dict[str, int]:
    """Return role -> its version, of those that earlier runs verified and kept."""
    found = {}
    for role in roles:
        try:
            found[role] = int(json.loads((folder / f"{role}.json").read_bytes())["signed"]["version"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue  # None there, or damaged.
    return found
