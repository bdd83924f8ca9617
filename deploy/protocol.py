"""HTTP/1.1 as our listeners speak it: uvicorn's protocol on httptools, with what it does not have.

* A bound on what a request's head may hold.
* Reason phrases of our own (`shared.reason`).
* The method `PUSH` of the devpi client, taken for `POST`: httptools knows no such method.

Source: infrastructure facts, "HTTP"; architecture section 11.11; contracts python-index 2.2 (item 6) and devpi 1.2.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from shared.reason import EXTENSION, REASON, is_phrase

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

MAX_HEAD = 64 << 10
"""Bytes that may follow the first read while a request's line and headers are still incomplete."""

_PUSH, _POST = b"PUSH /", b"POST /"


class RegistryHttp(HttpToolsProtocol):
    """One connection of a client."""

    _between = True
    """Whether no request is arriving: the next byte begins one."""

    _held = b""
    """The beginning of a request, while it is too short to tell whether it is a `PUSH`."""

    _in_head = False
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Parse what arrived; a head that does not end is answered 400 and the connection closed."""
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
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Begin to count."""
        self._between = False
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop counting."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Expect the next request."""
        self._between = True
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # Forms come by POST. Nothing else is offered a phrase, nor pays for it.
        if cycle.scope["method"] == "POST":
            cycle.scope["extensions"] = {EXTENSION: {}}
            app = _Phrasing(app, cycle)
        super()._start_asgi_task(cycle, app)


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
