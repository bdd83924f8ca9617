"""A plain TUF client as conformance suites drive it: the TUF workflow as this client runs it, nothing of ours above it.

Transport, deadline, caps, the rule for the newest root, the start from an anchor and the lock are those of every other
command. What is not TUF (whose index it is, pointers, files, policy) is left out: a suite's repositories have none. The
folder holds the metadata under their plain names (`root.json`, `timestamp.json`, ...), beside the anchor.

Source: trust contract section 3.4.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.ngclient import FetcherInterface, Updater

from countermark.cache import locked
from countermark.core.errors import InvalidMetadata, LocalState, NetworkFailure, NoSuchTarget
from countermark.newest_root import NewestRoot
from countermark.roots import MAX_ROOT_BYTES

_ANCHOR = Path("anchor", "root.json")


@dataclass(frozen=True, slots=True)
class Plain:
    """A repository of a suite: where its metadata lie, and the folder of the client."""

    metadata_url: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Artifacts:
    """What to download: target paths in their order, where from, and the folder for them."""

    paths: Sequence[str]
    base_url: str
    folder: Path


def initialise(folder: Path, root: Path) -> None:
    """Trust a root file: copy it, look at nothing.

    Raises:
        LocalState: it cannot be copied.
    """
    with _as_local_state():
        with root.open("rb") as file:
            data = file.read(MAX_ROOT_BYTES)
        for path in (folder / "root.json", folder / _ANCHOR):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def refresh(where: Plain, source: FetcherInterface) -> None:
    """Bring the metadata up to date.

    Raises:
        ClientError: a check failed, or something could not be read or written.
    """
    with _updater(where, source) as updater:
        updater.refresh()


def download(where: Plain, artifacts: Artifacts, source: FetcherInterface) -> None:
    """Bring the metadata up to date and download targets, unless the folder has them; the first failure ends it.

    Raises:
        NoSuchTarget: the metadata list no such target.
        ClientError: as `refresh`.
    """
    with _updater(where, source, artifacts) as updater:
        for path in artifacts.paths:
            info = updater.get_targetinfo(path)
            if info is None:
                raise NoSuchTarget(f"the metadata list no {path}")
            if updater.find_cached_target(info) is None:
                updater.download_target(info)


@contextlib.contextmanager
def _updater(where: Plain, source: FetcherInterface, artifacts: Artifacts | None = None) -> Iterator[Updater]:
    with _as_local_state(), locked(where.folder):
        try:
            yield Updater(
                metadata_dir=str(where.folder),
                metadata_base_url=where.metadata_url,
                target_dir=str(artifacts.folder) if artifacts else None,
                target_base_url=artifacts.base_url if artifacts else None,
                fetcher=NewestRoot(source),
                bootstrap=(where.folder / _ANCHOR).read_bytes(),
            )
        except RepositoryError as error:
            raise InvalidMetadata(str(error).rstrip(".")) from error
        except DownloadError as error:
            raise NetworkFailure(str(error).rstrip(".")) from error


@contextlib.contextmanager
def _as_local_state() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalState(str(error), "Name folders that can be written.") from error
