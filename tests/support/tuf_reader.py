"""An independent reader of a published tree: stock python-tuf, which knows nothing of us, on the folder as it lies."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig


class FolderFetcher(FetcherInterface):
    """Reads `folder:<path>` URLs from the disk; what is not there is a 404."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = Path(url.removeprefix("folder:"))
        if not path.is_file():
            raise DownloadHTTPError(f"no {path}", 404)
        yield path.read_bytes()


class TreeReader:
    """A TUF client of one index's tree, with a cache that it keeps.

    Args:
        root: the version of the root that it pins, as it lies in the tree now.
    """

    def __init__(self, tree: Path, cache: Path, *, root: int = 1) -> None:
        self.tree = tree
        self.cache = cache
        self._root = (tree / "metadata" / f"{root}.root.json").read_bytes()

    def refreshed(self, at: datetime | None = None) -> Updater:
        """Return a client that has just gone through the whole workflow; raises when anything does not hold.

        Args:
            at: what its clock says; that of this machine where it is not given.
        """
        (self.cache / "targets").mkdir(parents=True, exist_ok=True)
        updater = Updater(
            str(self.cache / "metadata"),
            f"folder:{self.tree}/metadata/",
            str(self.cache / "targets"),
            f"folder:{self.tree}/targets/",
            fetcher=FolderFetcher(),
            config=UpdaterConfig(),
            bootstrap=self._root,
        )
        if at is not None:
            # There is no public way to set a client's clock; it is read once, when the client is made.
            updater._trusted_set.reference_time = at
        updater.refresh()
        return updater

    def target(self, path: str) -> bytes | None:
        """Return the verified bytes of a target, None when no metadata name it."""
        updater = self.refreshed()
        info = updater.get_targetinfo(path)
        return None if info is None else Path(updater.download_target(info)).read_bytes()

    def versions(self) -> dict[str, int]:
        """Return the versions a fresh workflow ends with: timestamp and snapshot."""
        trusted = self.refreshed()._trusted_set  # there is no public way to ask a client what it trusts
        return {"timestamp": trusted.timestamp.version, "snapshot": trusted.snapshot.version}
