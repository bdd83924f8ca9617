"""Asks, with the stock TUF client, whether what was uploaded is signed."""

from __future__ import annotations

import http
from pathlib import Path

from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.ngclient import Updater

from bench.errors import NotMeasured
from bench.registry import Registry
from bench.running import HOST
from bench.wheels import Wheel


class Proof:
    """The TUF repository of an index. Its first root is trusted as it is served: the server is ours.

    Args:
        registry: the index of a running Countermark.
        folder: empty folder for the client's metadata.
    """

    def __init__(self, registry: Registry, folder: Path) -> None:
        answer = registry.request("GET", f"{registry.index}/+tuf/metadata/1.root.json", {})
        if answer.status != http.HTTPStatus.OK:
            raise NotMeasured(f"Countermark answers {answer.status} to its first root")
        self._root = answer.body
        self._folder = folder
        self._url = f"http://{HOST}:{registry.server.port}{registry.index}/+tuf"

    def check(self, wheel: Wheel) -> None:
        """Return if the signed metadata of this moment lists the wheel's pointer.

        Raises:
            NotMeasured: it does not, or does not verify.
        """
        path = f"pointers/{wheel.project}/{wheel.filename}.pointer"
        try:
            updater = Updater(
                metadata_dir=str(self._folder),
                metadata_base_url=f"{self._url}/metadata/",
                target_base_url=f"{self._url}/targets/",
                bootstrap=self._root,
            )
            found = updater.get_targetinfo(path)
        except (RepositoryError, DownloadError) as error:
            raise NotMeasured(f"the signed metadata does not verify after {wheel.filename}: {error}") from error
        if found is None:
            raise NotMeasured(f"{wheel.filename} was answered with 200 and is not signed")
