"""What we ask of the folder in which the TUF library keeps what it trusts, beyond what the library asks itself.

Source: trust contract sections 1.2 (key ids) and 2.3 (one repository per index on shared keys).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Delegations, Metadata, Targets

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


def copy_of_target(folder: Path, path: str) -> Path:
    """Return where the bytes of a target are kept once they were read: of any path, names have one length."""
    return folder / "targets" / hashlib.sha256(path.encode()).hexdigest()


def trust_targets(folder: Path) -> tuple[int | None, tuple[str, ...]]:
    """Return version and target paths of the role `trust` as it lies there, (None, ()) where none does."""
    try:
        signed = json.loads((folder / "trust.json").read_bytes())["signed"]
        return int(signed["version"]), tuple(map(str, signed["targets"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None, ()


def kept_files(folder: Path, paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of all that is needed to look at target paths again: roots, roles and the targets' copies.

    Raises:
        OSError: something is there and cannot be read.
    """
    asked = tuple(paths)
    roles = dict.fromkeys(["timestamp", "snapshot", "targets"])
    for path in asked:
        roles |= dict.fromkeys(_roles_towards(folder, path))
    names = [f"root_history/{file.name}" for file in sorted((folder / "root_history").glob("*.root.json"))]
    names += [f"{quote(role, '')}.json" for role in roles]
    names += [str(copy_of_target(folder, path).relative_to(folder)) for path in asked]
    for name in names:
        # Of a target that was looked for in vain, and of a role that was not reached, nothing lies there.
        if (folder / name).is_file():
            yield name, (folder / name).read_bytes()


def _roles_towards(folder: Path, path: str) -> Iterator[str]:
    """Yield the delegated roles that may list a target; more than the library visits, since no order is heeded."""
    seen, ahead = {"targets"}, ["targets"]
    while ahead:
        delegations = _delegating(folder, ahead.pop())
        for child, _terminating in delegations.get_roles_for_target(path) if delegations else ():
            if child not in seen:
                seen.add(child)
                ahead.append(child)
                yield child


def _delegating(folder: Path, role: str) -> Delegations | None:
    try:
        return Metadata[Targets].from_bytes((folder / f"{quote(role, '')}.json").read_bytes()).signed.delegations
    except (OSError, RepositoryError):
        return None
