"""The registry's own API, `/api/v1`: what it says is information, never evidence; files are proven elsewhere.

Answers are bounded in bytes, pages and time. Problems (RFC 9457) become one error with what to do about it.

Source: architecture section 11.8.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import quote, urljoin, urlsplit

import httpx2

from countermark.core.errors import NetworkFailure, RegistryRefused, UsageFault
from countermark.core.names import IndexName
from countermark.credentials import Credentials
from countermark.location import Location
from countermark.publish import printable
from countermark.retrying import PASSING, may_pass, pause_before
from countermark.transport import user_agent
from countermark.watchdog import Watchdog

MAX_ANSWER = 16 * 1024 * 1024
"""Bytes of an answer that are read."""

MAX_PAGES = 10_000
"""Pages of a list that are followed."""

PAGE = 200
"""Items of a page, the most the registry gives."""

PENDING = frozenset({"received", "pending"})
"""States that another one will follow."""

_REMEDIES = {
    401: "Set COUNTERMARK_TOKEN (or --token) to a token of this registry.",
    403: "This token does not allow it: ask the people who run this registry for one that does.",
    404: "Check the spelling; what is private is not shown without credentials.",
    429: "The registry asks for a pause: try again later.",
}


@dataclass(frozen=True, slots=True)
class Patience:
    """Bounds of one request: for its connection, for its whole, and how often it is tried."""

    connect: timedelta = timedelta(seconds=10)
    total: timedelta = timedelta(seconds=60)
    attempts: int = 4


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of 2xx: its status, and its document (empty without one)."""

    status: int
    document: Mapping[str, object]


class Registry:
    """Speaks with the API of one deployment; one request at a time.

    Args:
        base: the deployment's URL, without a slash at the end.
        credentials: sent to their own origin only.
        patience: bounds in time.
    """

    def __init__(self, base: str, credentials: Credentials | None, patience: Patience | None = None) -> None:
        self._base = base
        self._credentials = credentials
        self._patience = patience or Patience()

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Mapping[str, object]:
        """Return what is at a path of the API (`/tokens`), or at an absolute URL.

        Raises:
            RegistryRefused: it answered something else than a document.
            NetworkFailure: it could not be reached in time.
        """
        return self._exchange("GET", self._url(path), query=query).document

    def change(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Reply:
        """Make a change that may be made twice without harm, so it is tried again when the line breaks; see `get`."""
        return self._exchange(method, self._url(path), body=body)

    def create(self, path: str, body: Mapping[str, object]) -> Reply:
        """Make something new with POST, in one attempt only; see `get`."""
        return self._exchange("POST", self._url(path), body=body, attempts=1)

    def send(self, path: str, content: bytes) -> Reply:
        """Send a JSON document byte for byte with POST, which may be done twice without harm; see `get`."""
        return self._exchange("POST", self._url(path), body=content)

    def items(
        self, path: str, query: Mapping[str, str] | None = None, *, limit: int = PAGE
    ) -> Iterator[Mapping[str, object]]:
        """Yield the items of a list, page after page; see `get`.

        Args:
            limit: what a page may hold at the most.
        """
        asked = {**(query or {}), "limit": str(limit)}
        for _ in range(MAX_PAGES):
            page = self.get(path, asked)
            listed = page.get("items")
            if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
                raise RegistryRefused(f"{self._url(path)} answered no list", "Is this the address of a registry?")
            yield from listed
            cursor = page.get("next")
            if not isinstance(cursor, str) or not cursor:
                return
            if cursor == asked.get("after"):
                raise RegistryRefused(f"{self._url(path)} goes round: its next page is the same one")
            asked["after"] = cursor
        raise RegistryRefused(f"{self._url(path)} has more than {MAX_PAGES} pages")

    def follow(self, url: str, wait: timedelta) -> Mapping[str, object]:
        """Look at a status again and again until it is final or the time is up; return the last answer.

        Args:
            url: a status link, as the registry gave it.
            wait: for how long; zero looks once.
        """
        deadline, pause = time.monotonic() + wait.total_seconds(), 0.1
        while True:
            seen = self.get(url)
            left = deadline - time.monotonic()
            if seen.get("state") not in PENDING or left <= 0:
                return seen
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, 2.0)

    def _url(self, path: str) -> str:
        if path.startswith("/api/v1/"):
            return self._base + path
        if path.startswith("/"):
            return f"{self._base}/api/v1{path}"
        joined = urljoin(f"{self._base}/", path)
        if urlsplit(joined).scheme not in {"http", "https"}:
            raise UsageFault(f"{printable(path)} is no http address")
        return joined

    def _exchange(
        self,
        method: str,
        url: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, object] | bytes | None = None,
        attempts: int | None = None,
    ) -> Reply:
        attempts = attempts or self._patience.attempts
        for attempt in range(1, attempts + 1):
            last = attempt == attempts
            try:
                status, headers, data = self._send(method, url, query, body)
            except httpx2.HTTPError as error:
                if last or not may_pass(error):
                    raise NetworkFailure(f"cannot reach {url}: {str(error) or type(error).__name__}") from error
                time.sleep(pause_before(attempt))
            else:
                if last or status not in PASSING:
                    return _judge(url, status, headers, data)
                time.sleep(pause_before(attempt, headers))
        raise AssertionError("the last attempt returns or raises")

    def _send(
        self, method: str, url: str, query: Mapping[str, str] | None, body: Mapping[str, object] | bytes | None
    ) -> tuple[int, httpx2.Headers, bytes]:
        watchdog, patience = Watchdog(), self._patience
        seconds = patience.total.total_seconds()
        with httpx2.Client(timeout=httpx2.Timeout(seconds, connect=patience.connect.total_seconds())) as client:
            request = client.build_request(
                method,
                url,
                params=dict(query) if query else None,
                json=dict(body) if isinstance(body, Mapping) else None,
                content=body if isinstance(body, bytes) else None,
                headers={
                    **({"Content-Type": "application/json"} if isinstance(body, bytes) else {}),
                    "User-Agent": user_agent(),
                    "Accept": "application/json, application/problem+json",
                    "Accept-Encoding": "identity",
                    **(self._credentials.header_for(url) if self._credentials else {}),
                },
                extensions={"trace": watchdog.trace},
            )
            try:
                with watchdog.armed(seconds):
                    response = client.send(request, stream=True, follow_redirects=False)
                    return response.status_code, response.headers, _read(response)
            finally:
                watchdog.close()


def registry_base(location: Location) -> str:
    """Return the URL that the API of an index is below.

    Raises:
        UsageFault: it is a static tree, which nobody answers for.
    """
    if location.is_tree:
        raise UsageFault(
            f"{location.url} is a static tree, and this needs the registry itself",
            "Give the index URL: https://host/owner/index.",
        )
    return location.deployment


def index_path(name: IndexName, *segments: str) -> str:
    """Return the API path of something of an index, each segment percent-encoded."""
    return f"/indexes/{name}" + "".join("/" + quote(segment, safe="") for segment in segments)


def _read(response: httpx2.Response) -> bytes:
    data = bytearray()
    for chunk in response.iter_raw():
        data += chunk
        if len(data) > MAX_ANSWER:
            raise RegistryRefused(f"{response.url} answered more than {MAX_ANSWER} bytes")
    return bytes(data)


def _judge(url: str, status: int, headers: httpx2.Headers, data: bytes) -> Reply:
    try:
        document = json.loads(data) if data else {}
    except (ValueError, RecursionError):
        document = None
    if 200 <= status < 300 and isinstance(document, dict):
        return Reply(status, document)
    if 200 <= status < 300:
        raise RegistryRefused(f"{url} answered no JSON document", "Is this the address of a registry?")
    said = _words(document) or printable(headers.get("location", "")) or "no reason given"
    raise RegistryRefused(f"{url} answered {status}: {said}".rstrip("."), _REMEDIES.get(status, ""))


def _words(document: object) -> str:
    """Return what a problem document says. Source: RFC 9457 section 3.1."""
    if not isinstance(document, dict):
        return ""
    said = document.get("detail") or document.get("title")
    return printable(said) if isinstance(said, str) else ""
