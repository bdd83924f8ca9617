"""Bytes from http(s) and file URLs, bounded in length, time and rate, with every failure as one family of errors.

The TUF library takes this as its fetcher. It closes the holes of trust contract section 1.3: (a) an overall deadline
and a minimum rate, (b) each exception mapped, also those of the iteration, (c) gzip, with length caps on the decoded
bytes.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
import zlib
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx2
from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError
from tuf.ngclient import FetcherInterface

from countermark.credentials import Credentials
from countermark.watchdog import Watchdog

CHUNK = 64 * 1024
"""Bytes handed on at once: small enough to bound memory, large enough to be cheap."""

_PASSING = frozenset({429, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one run.

    Attributes:
        connect: for the TCP and the TLS handshake.
        read: the longest silence between two pieces.
        metadata_total: all metadata and pointer requests of a run together, waiting and retries included.
        minimum_rate: bytes per second of an artifact, averaged, once `grace` is over. It also gives an artifact its
            deadline.
        grace: time an artifact may take whatever its length.
        attempts: tries of a request that failed before its first byte, the first included.
        redirects: followed for artifacts; metadata follows none.
    """

    connect: timedelta = timedelta(seconds=10)
    read: timedelta = timedelta(seconds=20)
    metadata_total: timedelta = timedelta(seconds=120)
    minimum_rate: int = 4096
    grace: timedelta = timedelta(seconds=30)
    attempts: int = 3
    redirects: int = 5


class ByteSource(FetcherInterface):
    """What the client reads from: metadata as TUF fetchers do, artifacts as a stream."""

    @abstractmethod
    def stream(self, url: str, length: int) -> Iterator[bytes]:
        """Yield the bytes of an artifact as they are stored; the caller stops when it has seen too many.

        Args:
            url: where it lies.
            length: its expected length in bytes, from which the deadline follows.

        Raises:
            DownloadError: it could not be read, or not in time.
        """


@dataclass(frozen=True, slots=True)
class _Exchange:
    """How one URL is read.

    Attributes:
        deadline: on the monotonic clock, in seconds.
        rate_from: from when on, on the same clock, `minimum_rate` (bytes per second; 0 for none) is demanded.
    """

    url: str
    deadline: float
    rate_from: float = 0.0
    minimum_rate: int = 0
    gzip: bool = False
    redirects: int = 0


class Transport(ByteSource):
    """Reads http(s) and file URLs; one request at a time, from one thread.

    Args:
        limits: bounds in time and rate.
        credentials: sent to their own origin only.
    """

    def __init__(self, limits: Limits | None = None, credentials: Credentials | None = None) -> None:
        self._limits = limits or Limits()
        self._credentials = credentials
        self._watchdog = Watchdog()
        self._metadata_deadline: float | None = None
        self._http: httpx2.Client | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            self._http.close()
        self._watchdog.close()

    def stream(self, url: str, length: int) -> Iterator[bytes]:
        """Yield an artifact's bytes; see `ByteSource.stream`. Redirects are followed, to http(s) only."""
        now = time.monotonic()
        rate_from = now + self._limits.grace.total_seconds()
        minimum = self._limits.minimum_rate
        deadline = rate_from + length / minimum
        yield from self._read(_Exchange(url, deadline, rate_from, minimum, redirects=self._limits.redirects))

    def _fetch(self, url: str) -> Iterator[bytes]:
        """Yield the bytes of metadata or a target, decoded; the caller's length cap applies to what is yielded."""
        if self._metadata_deadline is None:
            self._metadata_deadline = time.monotonic() + self._limits.metadata_total.total_seconds()
        yield from self._read(_Exchange(url, self._metadata_deadline, gzip=True))

    def _read(self, exchange: _Exchange) -> Iterator[bytes]:
        if urlsplit(exchange.url).scheme == "file":
            yield from _read_file(exchange.url)
            return
        remaining = exchange.deadline - time.monotonic()
        if remaining <= 0:
            raise SlowRetrievalError(f"no time left to read {exchange.url}")
        with self._mapped(exchange.url), self._watchdog.armed(remaining), contextlib.ExitStack() as stack:
            response = stack.enter_context(contextlib.closing(self._respond(exchange)))
            chunks = _watched(response.iter_raw(), exchange)
            yield from _decoded(chunks, response, exchange)
            if self._watchdog.expired:
                # A body without a length ends with its connection, also when it was us who shut it down.
                raise SlowRetrievalError(f"{exchange.url} is not complete within its deadline")

    def _respond(self, exchange: _Exchange) -> httpx2.Response:
        """Return the answer 200, after retries and redirects; its body is not read yet."""
        url, hops = httpx2.URL(exchange.url), 0
        while True:
            response = self._try(url, exchange)
            if response.status_code == 200:
                return response
            response.close()
            location = response.headers.get("location")
            if response.status_code not in _REDIRECTS or not location:
                raise DownloadHTTPError(f"HTTP {response.status_code} for {url}", response.status_code)
            if hops == exchange.redirects:
                raise DownloadError(f"{url} redirects to {location!r}, which is not followed here")
            url, hops = _redirected(url, location), hops + 1

    def _try(self, url: httpx2.URL, exchange: _Exchange) -> httpx2.Response:
        for attempt in range(1, self._limits.attempts + 1):
            pause = 0.2 * 3 ** (attempt - 1)
            last = attempt == self._limits.attempts or time.monotonic() + pause > exchange.deadline
            try:
                response = self._send(url, exchange)
                if last or response.status_code not in _PASSING:
                    return response
                response.close()
            except (httpx2.NetworkError, httpx2.RemoteProtocolError):
                if last or self._watchdog.expired:
                    raise
            time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _send(self, url: httpx2.URL, exchange: _Exchange) -> httpx2.Response:
        remaining = max(exchange.deadline - time.monotonic(), 0.001)
        read = min(self._limits.read.total_seconds(), remaining)
        request = self._client().build_request(
            "GET",
            url,
            headers={
                "Accept-Encoding": "gzip" if exchange.gzip else "identity",
                **(self._credentials.header_for(str(url)) if self._credentials else {}),
            },
            timeout=httpx2.Timeout(read, connect=min(self._limits.connect.total_seconds(), remaining)),
            extensions={"trace": self._watchdog.trace},
        )
        return self._client().send(request, stream=True, follow_redirects=False)

    def _client(self) -> httpx2.Client:
        # Made on first use: a folder needs none, and loading the certificate store takes time.
        if self._http is None:
            self._http = httpx2.Client(headers={"User-Agent": user_agent(), "Accept": "*/*"})
        return self._http

    @contextlib.contextmanager
    def _mapped(self, url: str) -> Iterator[None]:
        try:
            yield
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError, ValueError) as error:
            if self._watchdog.expired or isinstance(error, httpx2.ReadTimeout | httpx2.WriteTimeout):
                raise SlowRetrievalError(f"no answer in time from {url}") from error
            raise DownloadError(f"cannot read {url}: {_words(error)}") from error


def user_agent() -> str:
    """Return what we call ourselves in requests."""
    return f"countermark/{version('countermark')} tuf/{version('tuf')}"


def _watched(chunks: Iterator[bytes], exchange: _Exchange) -> Iterator[bytes]:
    """Pass chunks on while the deadline and the minimum rate are kept."""
    begun, received = time.monotonic(), 0
    for chunk in chunks:
        now = time.monotonic()
        received += len(chunk)
        if now > exchange.deadline:
            raise SlowRetrievalError(f"{exchange.url} is not complete within its deadline")
        if now > exchange.rate_from and received < exchange.minimum_rate * (now - begun):
            raise SlowRetrievalError(f"{exchange.url} arrives at only {received / (now - begun):.0f} bytes per second")
        yield chunk


def _decoded(chunks: Iterator[bytes], response: httpx2.Response, exchange: _Exchange) -> Iterator[bytes]:
    """Undo the transfer's compression in bounded pieces; artifacts are taken as stored."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if not exchange.gzip or encoding in {"", "identity"}:
        yield from chunks
        return
    if encoding not in {"gzip", "x-gzip"}:
        raise DownloadError(f"{exchange.url} is sent with an encoding that was not asked for")
    inflater = zlib.decompressobj(wbits=31)
    try:
        for chunk in chunks:
            yield from _inflated(inflater, chunk)
    except zlib.error as error:
        raise DownloadError(f"{exchange.url} is not the gzip it claims to be") from error
    if not inflater.eof or inflater.unused_data:
        raise DownloadError(f"{exchange.url} ends in the middle of its gzip, or goes on behind it")


def _inflated(inflater: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    while True:
        piece = inflater.decompress(data, CHUNK)
        if piece:
            yield piece
        data = inflater.unconsumed_tail
        if inflater.eof or (not data and len(piece) < CHUNK):
            return


def _redirected(url: httpx2.URL, location: str) -> httpx2.URL:
    target = url.join(location)
    if target.scheme not in {"http", "https"} or (url.scheme == "https" and target.scheme != "https"):
        raise DownloadError(f"{url} redirects to a {target.scheme!r} address, which is refused")
    if target.userinfo:
        raise DownloadError(f"{url} redirects to an address with credentials in it, which is refused")
    return target


def _read_file(url: str) -> Iterator[bytes]:
    path = url2pathname(urlsplit(url).path)
    try:
        # Not blocking: opening a pipe would wait for its writer for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise DownloadError(f"{path} is not a regular file")
            while chunk := file.read(CHUNK):
                yield chunk
    except FileNotFoundError as error:
        raise DownloadHTTPError(f"no such file: {path}", 404) from error
    except (OSError, ValueError) as error:
        raise DownloadError(f"cannot read {path}: {_words(error)}") from error


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
