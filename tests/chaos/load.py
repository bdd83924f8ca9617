"""The load under which parts fail: some who upload and repeat what failed, some who read, all of them noting times."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx2
import orjson

from tests.support.archives import make_wheel, wheel_name
from tests.support.uploading import post_file

UPLOADERS = 3

_PAUSE = 0.02
"""Seconds between two requests of a reader."""

_AGAIN = 0.2
"""Seconds before a failed request is tried again."""

BEHIND = 5.0
"""Seconds for which a replica may serve what is no longer current."""

_PATIENCE = 20.0
"""Seconds an answer may take: an upload waits ten for its publication."""

_STEADY = "steady"
"""Project whose page and file the readers read; nobody changes it."""


@dataclass(frozen=True, slots=True)
class Noted:
    """One request: monotonic times, and whether it was answered as it should be."""

    began: float
    ended: float
    good: bool


@dataclass(slots=True)
class Reader:
    """Asks for one thing again and again.

    Attributes:
        wrong: says what is wrong with an answer to a request begun at a monotonic time.
    """

    name: str
    path: str
    accept: str
    wrong: Callable[[bytes, float], str | None]
    noted: list[Noted] = field(default_factory=list)


class Served:
    """Which versions were served, and when each was the newest for the first time."""

    def __init__(self) -> None:
        self._newest: list[tuple[float, int]] = []

    def note(self, version: int, moment: float) -> None:
        """Note a version that was served; moments do not go back."""
        if not self._newest or version > self._newest[-1][1]:
            self._newest.append((moment, version))

    def newest_before(self, moment: float) -> int:
        """Return the newest version that was served until a moment, 0 for none."""
        return max((version for seen, version in self._newest if seen <= moment), default=0)


class Load:
    """Runs while the context is open.

    Attributes:
        acknowledged: file name -> sha256 of every file that was answered 200; names are used once.
        uploads: the requests of all who upload; good means answered "is published".
        violations: what must never happen, one sentence each.
    """

    def __init__(self, api: str, token: str) -> None:
        self.acknowledged: dict[str, str] = {}
        self.uploads: list[Noted] = []
        self.violations: list[str] = []
        self.readers: list[Reader] = []
        self._api, self._token = api, token
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._served = Served()

    def __enter__(self) -> Load:
        """Publish what the readers read, and begin."""
        wheel, name = make_wheel(_STEADY, "1.0"), wheel_name(_STEADY, "1.0")
        answer = self._upload(httpx2.Client(timeout=_PATIENCE), name, wheel)
        assert answer.status_code == 200, answer.text
        accept = "application/vnd.pypi.simple.v1+json"
        address = f"/root/stable/+simple/{_STEADY}/"
        page = httpx2.get(f"{self._api}{address}", headers={"accept": accept}, timeout=_PATIENCE)
        file = httpx2.URL(f"{self._api}{address}").join(page.json()["files"][0]["url"])
        self.readers = [
            Reader("page", address, accept, _same_as(page.content)),
            Reader("file", file.raw_path.decode(), "*/*", _same_as(wheel)),
            Reader("metadata", "/root/stable/+tuf/metadata/timestamp.json", "*/*", self._goes_back),
        ]
        work = [lambda r=reader: self._read(r) for reader in self.readers]
        work += [lambda n=number: self._keep_uploading(n) for number in range(UPLOADERS)]
        self._threads = [threading.Thread(target=one, daemon=True) for one in work]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End; returns when the last requests are answered."""
        self._stop.set()
        for thread in self._threads:
            thread.join(_PATIENCE * 2)

    def published_since(self, moment: float) -> float | None:
        """Return when the first upload begun after a moment was published, None while none is."""
        ends = [noted.ended for noted in list(self.uploads) if noted.good and noted.began >= moment]
        return min(ends, default=None)

    def _keep_uploading(self, number: int) -> None:
        client, version = httpx2.Client(timeout=_PATIENCE), 0
        while not self._stop.is_set():
            version += 1
            project = f"chaos-{number}"
            name, wheel = wheel_name(project, str(version)), make_wheel(project, str(version))
            while not self._stop.is_set() and not self._upload_once(client, name, wheel):
                time.sleep(_AGAIN)

    def _upload_once(self, client: httpx2.Client, name: str, wheel: bytes) -> bool:
        """Upload and note it; returns whether it was acknowledged."""
        began = time.monotonic()
        try:
            answer = self._upload(client, name, wheel)
        except httpx2.TransportError:
            self.uploads.append(Noted(began, time.monotonic(), good=False))
            return False
        good = answer.status_code == 200
        self.uploads.append(Noted(began, time.monotonic(), good and "pending" not in answer.text))
        if good:
            self.acknowledged[name] = hashlib.sha256(wheel).hexdigest()
        elif answer.status_code < 500 and answer.status_code != 429:
            self.violations.append(f"{name} was answered {answer.status_code}: {answer.text[:200]}")
            return True
        return good

    def _upload(self, client: httpx2.Client, name: str, wheel: bytes) -> httpx2.Response:
        return post_file(f"{self._api}/root/stable", self._token, name, wheel, client)

    def _read(self, reader: Reader) -> None:
        client = httpx2.Client(timeout=_PATIENCE)
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                answer = client.get(f"{self._api}{reader.path}", headers={"accept": reader.accept})
                good = answer.status_code == 200
                if good and (fault := reader.wrong(answer.content, began)):
                    self.violations.append(f"{reader.path} was answered with {fault}")
                elif not good and answer.status_code < 500:
                    self.violations.append(f"{reader.path} was answered {answer.status_code}")
            except httpx2.TransportError:
                good = False
            reader.noted.append(Noted(began, time.monotonic(), good))
            time.sleep(_PAUSE if good else _AGAIN)

    def _goes_back(self, timestamp: bytes, began: float) -> str | None:
        version = orjson.loads(timestamp)["signed"]["version"]
        newest = self._served.newest_before(began - BEHIND)
        self._served.note(version, time.monotonic())
        return f"version {version}, {BEHIND:.0f} s after version {newest}" if version < newest else None


def _same_as(expected: bytes) -> Callable[[bytes, float], str | None]:
    return lambda content, _: None if content == expected else "other bytes"
