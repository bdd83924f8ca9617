"""How the gateway reaches a service: mounted in the same process, or over HTTP. One protocol, two adapters.

Mounted services stream; a proxy within one process would buffer or copy (infrastructure facts, "HTTP"). The proxied
adapter is for what cannot be routed at the ingress: it streams both ways, follows nothing, and knows one host only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Protocol, Self

import httpx2
import structlog
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from shared.asking import current_source
from shared.errors import ErrorKind, ServiceError
from shared.reason import REASON, is_phrase, offered
from shared.service import HotReader, Service

log = structlog.get_logger()

CONNECT_TIMEOUT = 2.0
"""Seconds to reach a service."""

READ_TIMEOUT = 60.0
"""Seconds without a byte from a service; an upload waits at most 12 s for its answer (architecture section 11.7)."""

_CONNECTIONS = 200
"""Connections to one service at the most."""

_FORWARDED_FOR = b"x-forwarded-for"
"""Tells services whom the gateway serves: one address, found by its own rules (`gateway.proxies`)."""

_HOP_BY_HOP = frozenset(
    [
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
        b"trailer", b"transfer-encoding", b"upgrade", b"expect", b"host",
    ]
)  # fmt: skip
"""Headers that belong to one connection (RFC 9110 section 7.6.1); the host is fixed by configuration."""

_RETRY = timedelta(seconds=1)


class Upstream(Protocol):
    """A service as the gateway reaches it: an ASGI callable with hot readers and a ping."""

    @property
    def hot(self) -> tuple[HotReader, ...]:
        """Readers that answer from this process's memory; none when the service runs elsewhere."""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Let the service answer a request.

        Raises:
            ServiceError: it could not be reached, and nothing was answered yet.
        """

    async def ping(self) -> None:
        """Return when the service can be used; raises when not."""


class Mounted:
    """A service in this process."""

    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def hot(self) -> tuple[HotReader, ...]:
        """The service's hot readers."""
        return self._service.hot

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Call the service's application."""
        return self._service.app(scope, receive, send)

    async def ping(self) -> None:
        """Return at once: the service shares the process and the resources, which are checked by themselves."""


class Proxied:
    """A service in another process. Open one per process (`async with`); `base_url` has no path."""

    def __init__(self, name: str, base_url: str) -> None:
        url = httpx2.URL(base_url)
        if url.scheme not in {"http", "https"} or not url.host or url.path not in {"", "/"}:
            raise ValueError(
                f"the URL of the {name} service must be http(s)://host[:port] without a path: {base_url!r}"
            )
        self._name = name
        self._url = url
        self._transport = httpx2.AsyncHTTPTransport(
            trust_env=False,
            limits=httpx2.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=20),
            # Connecting alone is tried again: nothing was sent yet, so a service that just starts, or a stall of this
            # process, loses no upload.
            retries=1,
        )

    @property
    def hot(self) -> tuple[HotReader, ...]:
        """None: its memory is elsewhere."""
        return ()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Free connections."""
        await self._transport.aclose()

    async def ping(self) -> None:
        """Ask the service whether it is ready.

        Raises:
            ServiceError: it cannot be reached or says it is not.
        """
        response = await self._send(self._request("GET", b"/readyz", [], None))
        await response.aclose()
        if response.status_code != httpx2.codes.OK:
            raise self._unreachable()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and stream the answer back."""
        body = _Body(receive)
        headers = [pair for pair in forwarded(scope["headers"]) if pair[0] != _FORWARDED_FOR]
        if (source := current_source()) is not None:
            headers.append((_FORWARDED_FOR, source.encode("latin-1", "replace")))
        names = {name for name, _ in headers} | {name for name, _ in scope["headers"]}
        has_body = not names.isdisjoint({b"content-length", b"transfer-encoding"})
        target = scope.get("raw_path") or scope["path"].encode()
        if scope["query_string"]:
            target += b"?" + scope["query_string"]
        request = self._request(scope["method"], target, headers, body if has_body else None)
        try:
            response = await self._send(request)
        except ClientDisconnect:
            return
        try:
            start: Message = {
                "type": "http.response.start",
                "status": response.status_code,
                "headers": forwarded([(name.lower(), value) for name, value in response.headers.raw]),
            }
            phrase = response.extensions.get("reason_phrase")
            if offered(scope) and response.is_error and is_phrase(phrase):
                start[REASON] = phrase
            await _until_gone(body, self._answer(response, start, send))
        finally:
            await response.aclose()

    async def _answer(self, response: httpx2.Response, start: Message, send: Send) -> None:
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        await send(start)
        async for chunk in response.stream:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def _request(
        self, method: str, target: bytes, headers: Sequence[tuple[bytes, bytes]], body: AsyncIterator[bytes] | None
    ) -> httpx2.Request:
        timeout = httpx2.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT, pool=CONNECT_TIMEOUT)
        return httpx2.Request(
            method,
            self._url.copy_with(raw_path=target),
            headers=list(headers),
            content=body,
            extensions={"timeout": timeout.as_dict()},
        )

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return await self._transport.handle_async_request(request)
        except httpx2.TransportError as error:
            log.warning("service_unreachable", service=self._name, error=f"{type(error).__name__}: {error}"[:500])
            raise self._unreachable() from error

    def _unreachable(self) -> ServiceError:
        detail = f"The {self._name} service cannot be reached at the moment. Try again shortly."
        return ServiceError(ErrorKind.UNAVAILABLE, detail, retry_after=_RETRY)


class _Body:
    """A request's body as it arrives; a client that leaves half-way makes it raise, so that half a body is never taken
    for a whole one.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._done = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._done:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            self._done = not message.get("more_body", False)
            if chunk := message.get("body", b""):
                return bytes(chunk)
        raise StopAsyncIteration

    async def gone(self) -> None:
        """Return when the client has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


async def _until_gone(body: _Body, answering: Coroutine[Any, Any, None]) -> None:
    """Answer, but stop reading from the service when the client leaves: the server would drop the rest silently."""
    answer = asyncio.ensure_future(answering)
    watch = asyncio.ensure_future(body.gone())
    try:
        await asyncio.wait({answer, watch}, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            answer.result()
    finally:
        for task in (answer, watch):
            task.cancel()
        await asyncio.gather(answer, watch, return_exceptions=True)


def forwarded(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers that travel on: without those of one connection and those the connection header names.

    Args:
        headers: (lower-case name, value) in order.
    """
    named = {
        part.strip().lower() for name, value in headers if name == b"connection" for part in value.split(b",")
    } | _HOP_BY_HOP
    return [pair for pair in headers if pair[0] not in named]
