"""Command `python -m bench.cycles URL TARGET STOP`: TUF clients that refresh over and over until the file STOP exists.

Half of the cycles are those of new clients, the others of clients with a cache. Prints one JSON object: how many cycles
there were, and what went wrong.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.ngclient import FetcherInterface, Updater

CLIENTS = 3
"""Threads, each with clients of its own."""

_MOST = 20
"""Failures that are told."""


class _Http(FetcherInterface):
    """Reads over one kept connection."""

    def __init__(self, client: httpx2.Client) -> None:
        self._client = client

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            answer = self._client.get(url)
        except httpx2.HTTPError as error:
            raise DownloadError(f"{url}: {error}") from error
        if answer.status_code != httpx2.codes.OK:
            raise DownloadHTTPError(f"{url}: {answer.status_code}", answer.status_code)
        yield answer.content


@dataclass
class Cycles:
    """Clients of one repository; `done` and `failures` grow while they run.

    Args:
        url: of the repository, without a slash at the end: metadata and targets lie below it.
        target: path of a target that every cycle looks up.
    """

    url: str
    target: str
    done: int = 0
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Read the first root, which the clients trust from then on."""
        self._root = httpx2.get(f"{self.url}/metadata/1.root.json").raise_for_status().content
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]

    def start(self) -> None:
        """Let the clients begin."""
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Let them finish their cycles, and wait for that."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        with tempfile.TemporaryDirectory() as warm, httpx2.Client(timeout=30) as client:
            fetcher = _Http(client)
            while not self._stop.is_set():
                with tempfile.TemporaryDirectory() as cold:
                    for folder in (warm, cold):
                        self._cycle(folder, fetcher)

    def _cycle(self, folder: str, fetcher: FetcherInterface) -> None:
        failure = None
        try:
            updater = Updater(folder, f"{self.url}/metadata/", bootstrap=self._root, fetcher=fetcher)
            if updater.get_targetinfo(self.target) is None:
                failure = "the target is not listed"
        except (RepositoryError, DownloadError) as error:
            failure = f"{type(error).__name__}: {error}"
        with self._lock:
            self.done += 1
            if failure is not None and len(self.failures) < _MOST:
                self.failures.append(failure)


def main() -> None:
    """Run clients until the stop file exists."""
    url, target, stop = sys.argv[1:]
    cycles = Cycles(url, target)
    cycles.start()
    pause = threading.Event()
    while not Path(stop).exists():
        pause.wait(0.05)
    cycles.end()
    print(json.dumps({"cycles": cycles.done, "failures": cycles.failures}))


if __name__ == "__main__":
    main()
