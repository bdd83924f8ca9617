"""What a service gives to the process that runs it, and the callable that answers hot reads before any framework.

Source: infrastructure facts ("CPU per request"): a raw ASGI callable costs half of a framework's route.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send

from shared.jobs.messages import Message


@dataclass(frozen=True, slots=True)
class Prepared:
    """A whole answer from memory: status, header list and body as they go out; `body` is left out for HEAD."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


HotReader = Callable[[Scope], Prepared | None]
"""Answers a GET or HEAD from memory alone, or returns None to let the application do it. Makes no query and never
blocks."""

JobHandler = Callable[[Message], Awaitable[None]]
"""Does a job; raises when it failed and is to be tried again."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service as wired: its application, its hot readers, the jobs it does and the loops it needs."""

    name: str
    app: ASGIApp
    hot: tuple[HotReader, ...] = ()
    handlers: Mapping[type[Message], JobHandler] = field(default_factory=dict)
    loops: tuple[Callable[[], Awaitable[None]], ...] = ()


class HotPath:
    """An ASGI application: hot readers first, then the wrapped application."""

    def __init__(self, readers: Sequence[HotReader], app: ASGIApp) -> None:
        self._readers = tuple(readers)
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer from memory when a reader can, else let the application do it."""
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
            for reader in self._readers:
                prepared = reader(scope)
                if prepared is not None:
                    await send({"type": "http.response.start", "status": prepared.status, "headers": prepared.headers})
                    body = b"" if scope["method"] == "HEAD" else prepared.body
                    await send({"type": "http.response.body", "body": body})
                    return
        await self._app(scope, receive, send)
