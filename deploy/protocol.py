"""HTTP/1.1 as our listeners speak it: uvicorn's protocol on httptools, with what it does not have.

* A bound on what a request's head, and what surrounds its body's chunks, may hold. Trailers are dropped.
* Reason phrases of our own (`shared.reason`).
* Answers that lie in memory (`shared.service.HotPath`) go out when the request's head is read: without a task, which
  with its messages costs as much as the rest of the answer.
* An answer's head goes out with the beginning of its body, where that is there at once: each write is a call of the
  system and a packet.
* Of a crowd of requests that the application has to answer one begins in each turn of the event loop
  (`shared.turnstile`); the others are not parsed yet.
* The method `PUSH` of the devpi client, taken for `POST`: httptools knows no such method.

Source: infrastructure facts, "HTTP"; architecture section 11.11; contracts python-index 2.2 (item 6) and devpi 1.2.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE, HttpToolsProtocol

from deploy.joining import Joined
from shared.reason import EXTENSION, REASON, is_phrase
from shared.service import HotPath, HotReader, Prepared

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

MAX_HEAD = 64 << 10
"""Bytes that may follow the first read while a request's line and headers are still incomplete; as many may be read
before a body's end without a byte of the body: of trailers, or a chunk's extensions."""

MAX_UNSENT = 64 << 10
"""Bytes of answers on the way to a client that reads slowly, before more are written without waiting."""

_MAX_EARLY = 64 << 10
"""Bytes of a request and its body that wait for its turn to begin; with more it begins."""

_FRAMING = frozenset([b"connection", b"transfer-encoding"])
"""Headers that are the server's own."""

_PUSH, _POST = b"PUSH /", b"POST /"


class RegistryHttp(HttpToolsProtocol):
    """One connection of a client."""

    _between = True
    """Whether no request is arriving: the next byte begins one."""

    _held = b""
    """The beginning of a request, while it is too short to tell whether it is a `PUSH`."""

    _early: bytes | None = None
    """What arrived of a request that waits for its turn to begin."""

    _in_head = False
    _head_bytes = 0

    _bodiless_bytes = 0
    """Bytes read since the head or the last piece of the body, by whole reads."""

    _may_answer = False
    """Whether the request whose head was just read is the only one under way."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._path = self.app if isinstance(self.app, HotPath) else None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin with a client."""
        super().connection_made(transport)
        self._joined = Joined(transport, self.loop)

    def data_received(self, data: bytes) -> None:
        """Take what arrived; the beginning of a request in its turn."""
        if self._early is not None:
            self._early += data
            if len(self._early) > _MAX_EARLY:
                self._begin()
        elif self._between and self._path is not None and not self._path.turnstile.free:
            self._unset_keepalive_if_required()
            self._early = data
            self._path.turnstile.wait(self._begin)
        else:
            self._take(data)

    def eof_received(self) -> None:
        """Take what arrived, before the connection is closed: what lies ready is answered."""
        self._begin()
        super().eof_received()

    def shutdown(self) -> None:
        """Take no further requests; what arrived is answered."""
        self._begin()
        super().shutdown()

    def _begin(self) -> None:
        """Take what arrived before its turn, unless that was done or the client is gone."""
        data, self._early = self._early, None
        if data is not None and not self.transport.is_closing():
            self._take(data)

    def _take(self, data: bytes) -> None:
        """Parse what arrived; a head or trailers that do not end are answered 400 and the connection closed."""
        if self._between:
            data, self._held = self._held + data, b""
            if data.startswith(_PUSH):
                data = _POST + data[len(_PUSH) :]
            elif _PUSH.startswith(data):
                self._held = data
                return
        elif self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self.send_400_response("The request line and headers are too large.")
                return
        else:
            self._bodiless_bytes += len(data)
        super().data_received(data)
        if self._bodiless_bytes > MAX_HEAD and not self.transport.is_closing():
            self.send_400_response("The trailers or chunk extensions are too large.")

    def send_400_response(self, msg: str) -> None:
        """Refuse, and close the connection; where an answer has begun, it can only be cut off."""
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.cycle.transport.close()
        else:
            super().send_400_response(msg)

    def on_message_begin(self) -> None:
        """Begin to count."""
        self._between = False
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop counting, and answer at once what lies ready."""
        self._in_head, self._bodiless_bytes = False, 0
        # Nobody waits here whose turn is before; a client that does not read its answers waits for its turn as well.
        self._may_answer = not self.flow.write_paused and self.transport.get_write_buffer_size() < MAX_UNSENT
        super().on_headers_complete()
        self._may_answer = False
        # Trailers come as headers do, and would become some that nothing has bounded or checked: nobody reads these.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body; the first that waits is kept as it is, not copied into a buffer and out of it."""
        self._bodiless_bytes = 0
        cycle = self.cycle
        if not cycle.body and not cycle.response_complete:
            cycle.body = cast(bytearray, body)
            body = b""
        elif isinstance(cycle.body, bytes):
            # A buffer for all that follow: pieces may be as small as a byte.
            cycle.body = bytearray(cycle.body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Expect the next request."""
        self._between, self._bodiless_bytes = True, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Send what is left of an answer, and go on to the next request."""
        self._joined.flush()
        super().on_response_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self.transport.is_closing():
            # The client was told that the connection ends: it asks again elsewhere, and this must not be done twice.
            return
        if self._path is not None:
            if self._may_answer:
                answered = self._answered(cycle, self._path.at_once)
                if answered:
                    return
                if answered is not None and app is self._path:
                    # It need not find out again that nothing lies ready.
                    app = self._path.app
            self._path.turnstile.begun()
        self._joined.begin()
        cycle.transport = self._joined
        # Forms come by POST. Nothing else is offered a phrase, nor pays for it.
        if cycle.scope["method"] == "POST":
            cycle.scope["extensions"] = {EXTENSION: {}}
            app = _Phrasing(app, cycle)
        if cycle.waiting_for_100_continue:
            app = _ending_unasked(app, cycle)
        super()._start_asgi_task(cycle, app)

    def _answered(self, cycle: RequestResponseCycle, hot: HotReader) -> bool | None:
        """Answer from memory if that is possible, without a task, a coroutine or a message; returns whether it was, and
        None where it is left to the application though a reader had something, or failed."""
        try:
            prepared = hot(cast(Scope, cycle.scope))
            head = None if prepared is None else _head_of(prepared)
        except Exception:
            # The application comes to the same fault, and the server answers and logs it.
            return None
        if prepared is None:
            return False
        if head is None:
            return None
        if cycle.waiting_for_100_continue:
            cycle.keep_alive = False
        parts = [head, *_lines(self.server_state.default_headers)]
        parts.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
        if cycle.scope["method"] != "HEAD":
            parts.append(prepared.body)
        cycle.response_started = cycle.response_complete = True
        self.transport.write(b"".join(parts))
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()
        return True


def _head_of(prepared: Prepared) -> bytes | None:
    """Return status line and headers of an answer; None when the server must find out where it ends.

    Raises:
        ValueError: a header cannot be sent.
    """
    if prepared.sent_before:
        return prepared.sent_before
    if (
        prepared.status != HTTPStatus.NOT_MODIFIED
        and (b"content-length", b"%d" % len(prepared.body)) not in prepared.headers
    ):
        return None
    for name, value in prepared.headers:
        if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value) or name in _FRAMING:
            raise ValueError(f"this header cannot be sent: {name!r}")
    head = b"".join((STATUS_LINE[prepared.status], *_lines(prepared.headers)))
    prepared.sent_before = head
    return head


def _lines(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    return (b"%s: %s\r\n" % header for header in headers)


def _ending_unasked(app: Any, cycle: RequestResponseCycle) -> ASGIApp:
    """Return an application whose answer is the connection's last when the client still waits to be asked for its body.

    It need not send the body then, and nobody could tell it from the next request.
    Source: RFC 9110 section 10.1.1.
    """

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if cycle.waiting_for_100_continue and cycle.more_body and not cycle.body:
                cycle.keep_alive = False
            await send(message)

        await app(scope, receive, sending)

    return answering


class _Phrasing:
    """An application whose answer may bring a reason phrase."""

    def __init__(self, app: Any, cycle: RequestResponseCycle) -> None:
        self._app = app
        self._cycle = cycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application answer, and put its phrase into the status line."""
        cycle = self._cycle

        async def phrased(message: Message) -> None:
            # A phrase that is none is left out: nobody can end the status line and go on with words of their own.
            if message["type"] != "http.response.start" or not is_phrase(message.get(REASON)):
                await send(message)
                return
            transport = cycle.transport
            cycle.transport = _StatusLine(transport, message["status"], message[REASON])
            try:
                await send(message)
            finally:
                cycle.transport = transport

        await self._app(scope, receive, phrased)


class _StatusLine(asyncio.Transport):
    """The transport while an answer's head is written: uvicorn has one fixed phrase for each status."""

    def __init__(self, transport: asyncio.Transport, status: int, phrase: bytes) -> None:
        super().__init__()
        self._transport = transport
        self._fixed = STATUS_LINE[status]
        self._ours = b"HTTP/1.1 %d %s\r\n" % (status, phrase)

    def write(self, data: Any) -> None:
        """Write, with our status line in place of the fixed one."""
        if data.startswith(self._fixed):
            data = self._ours + data[len(self._fixed) :]
        self._transport.write(data)

    def is_closing(self) -> bool:
        """Return whether the connection is being closed."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()
