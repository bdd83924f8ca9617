"""A stock TUF client that counts what it fetches, as bytes on the wire: with gzip, as our own client asks for it."""

from __future__ import annotations

import gzip
import http
import http.client
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.ngclient import FetcherInterface, Updater

from bench.errors import NotMeasured
from bench.registry import Registry
from bench.running import HOST

_PATIENCE = 60.0
"""Seconds to wait for an answer."""


class CountingClient:
    """A client of one index with a cache of its own; trusts the first root as it is served.

    Args:
        folder: empty folder for its cache.
    """

    def __init__(self, registry: Registry, folder: Path) -> None:
        self._url = f"http://{HOST}:{registry.server.port}{registry.index}/+tuf"
        self._root = registry.request("GET", f"{registry.index}/+tuf/metadata/1.root.json", {}).body
        self._folder = folder

    def bytes_for(self, target: str) -> int:
        """Return the bytes fetched for the verified bytes of a target, from what the cache holds on.

        Raises:
            NotMeasured: the repository does not verify, or has no such target.
        """
        fetcher = _Counting()
        with tempfile.TemporaryDirectory(prefix="cm-targets-") as targets:
            try:
                updater = Updater(
                    metadata_dir=str(self._folder),
                    metadata_base_url=f"{self._url}/metadata/",
                    target_dir=targets,
                    target_base_url=f"{self._url}/targets/",
                    fetcher=fetcher,
                    bootstrap=self._root,
                )
                found = updater.get_targetinfo(target)
                if found is None:
                    raise NotMeasured(f"no signed metadata list {target}")
                updater.download_target(found)
            except (RepositoryError, DownloadError) as error:
                raise NotMeasured(f"{target} does not verify: {error}") from error
        return fetcher.received


class _Counting(FetcherInterface):
    """Fetches with gzip and counts bodies as they come."""

    def __init__(self) -> None:
        self.received = 0

    def _fetch(self, url: str) -> Iterator[bytes]:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=_PATIENCE)
        try:
            connection.request("GET", parts.path, headers={"Accept-Encoding": "gzip"})
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise DownloadError(f"no answer to {url}: {error}") from error
        finally:
            connection.close()
        if answer.status != http.HTTPStatus.OK:
            raise DownloadHTTPError(f"{answer.status} for {url}", answer.status)
        self.received += len(body)
        yield gzip.decompress(body) if answer.headers.get("Content-Encoding") == "gzip" else body
