"""A repository as its metadata folder keeps it: answers as the server did, and nothing else; no connection is opened.

For runs without the network. The TUF library checks what it gets here as it checks what a server sends: signatures,
versions, digests, and expiry at the time of the run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient import FetcherInterface

from countermark.core.digest import sha256_of
from countermark.location import Location
from countermark.metadata_folder import copy_of_target
from countermark.transport import CHUNK, ByteSource

_VERSIONED = re.compile(r"([1-9][0-9]*)\.(.+\.json)")
_ROOT = re.compile(r"[1-9][0-9]*\.root\.json")
_TARGET = re.compile(r"(.*/|)([0-9a-f]{64})\.([^/]+)")


class NotKept(DownloadError):
    """It is not there, or not as the newest metadata that is there lists it."""


class KeptSource(FetcherInterface):
    """Reads what is kept of one index.

    Args:
        folder: its metadata folder.
        location: the index; its URLs are what is asked for.
        as_evidence: it was kept at one moment and is complete, so what does not fit together is handed on as it is: to
            be refused as altered. In a cache, of other moments, it is just not there any more.
    """

    def __init__(self, folder: Path, location: Location, *, as_evidence: bool = False) -> None:
        self._folder = folder
        self._location = location
        self._as_evidence = as_evidence

    def _fetch(self, url: str) -> Iterator[bytes]:
        data = self._read(url)
        for start in range(0, len(data), CHUNK):
            yield data[start : start + CHUNK]

    def _read(self, url: str) -> bytes:
        """Return what lies there under the name of a URL.

        Raises:
            NotKept: nothing does, or something older or newer.
            DownloadHTTPError: it is a root that nobody has seen: the end of their chain.
        """
        targets, metadata = f"{self._location.targets_url}/", f"{self._location.metadata_url}/"
        if url.startswith(targets) and (named := _TARGET.fullmatch(url.removeprefix(targets))):
            folder, digest, name = named.groups()
            data = self._bytes(copy_of_target(self._folder, folder + name), url)
            if sha256_of(data) != digest and not self._as_evidence:
                raise NotKept(f"what is kept of {folder}{name} is not what the newest kept metadata lists")
            return data
        name = url.removeprefix(metadata)
        if _ROOT.fullmatch(name):
            return self._root(name, url)
        if named := _VERSIONED.fullmatch(name):
            data = self._bytes(self._folder / named[2], url)
            if _version(data) != int(named[1]) and not self._as_evidence:
                raise NotKept(f"of {named[2]} another version is kept than the newest kept metadata lists")
            return data
        return self._bytes(self._folder / name, url)

    def _root(self, name: str, url: str) -> bytes:
        file = self._folder / "root_history" / name
        if not file.is_file():
            raise DownloadHTTPError(f"no {name} is kept", 404)
        return self._bytes(file, url)

    def _bytes(self, file: Path, url: str) -> bytes:
        try:
            return file.read_bytes()
        except OSError as error:
            raise NotKept(f"without the network: {url} is not kept on this machine") from error


class Refusing(ByteSource):
    """Reads nothing at all."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        raise NotKept(f"without the network: {url} is not read")

    def stream(self, url: str, length: int) -> Iterator[bytes]:
        """Refuse; see `ByteSource.stream`."""
        return self._fetch(url)


def _version(data: bytes) -> object:
    try:
        return json.loads(data)["signed"]["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
