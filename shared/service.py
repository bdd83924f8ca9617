"""What a service gives to the process that runs it, and the callable that answers hot reads before any framework.

Source: infrastructure facts ("CPU per request"): a raw ASGI callable costs half of a framework's route.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send

from shared.jobs.messages import Message
from shared.turnstile import Turnstile


@dataclass(slots=True)
class Prepared:
    """A whole answer from memory: status, header list and body as they go out; `body` is left out for HEAD.

    `sent_before` belongs to the server: the head's bytes, kept from the first time for the next.
    """

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    sent_before: bytes = field(default=b"", init=False, repr=False, compare=False)


HotReader = Callable[[Scope], Prepared | None]
"""Answers a GET or HEAD from memory alone, or returns None to let the application do it. Makes no query and never
blocks."""


class Later(Exception):
    """A job could not be done now and is to come again after some seconds; that is no failure of it."""

    def __init__(self, seconds: float, reason: str) -> None:
        self.seconds = seconds
        super().__init__(reason)


JobHandler = Callable[[Message], Awaitable[None]]
"""Does a job; raises when it failed and is to be tried again, or `Later`."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service as wired: its application, its hot readers, the jobs it does and the loops it needs.

    `checks` are asked at the start and for `/readyz` of a process of its own, beside those of its resources: name ->
    what raises `shared.http.NotReady`.
    """

    name: str
    app: ASGIApp
    hot: tuple[HotReader, ...] = ()
    handlers: Mapping[type[Message], JobHandler] = field(default_factory=dict)
    loops: tuple[Callable[[], Awaitable[None]], ...] = ()
    checks: Mapping[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)


class HotPath:
    """An ASGI application: hot readers first, then the wrapped application.

    A server that knows it asks `at_once` itself, and starts the application only when there is nothing, through the
    `turnstile`.

    What readers answer is counted by status in `tally`, a plain dictionary: at this place a microsecond counts.
    """

    def __init__(
        self,
        readers: Sequence[HotReader],
        app: ASGIApp,
        tally: dict[int, int] | None = None,
        turnstile: Turnstile | None = None,
    ) -> None:
        self._readers = tuple(readers)
        self.app = app
        self._tally = {} if tally is None else tally
        self.turnstile = turnstile or Turnstile()

    def at_once(self, scope: Scope) -> Prepared | None:
        """Return the answer to a GET or HEAD that a reader has ready."""
        if scope["method"] in ("GET", "HEAD"):
            for reader in self._readers:
                prepared = reader(scope)
                if prepared is not None:
                    self._tally[prepared.status] = self._tally.get(prepared.status, 0) + 1
                    return prepared
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer from memory when a reader can, else let the application do it."""
        prepared = self.at_once(scope) if scope["type"] == "http" else None
        if prepared is None:
            await self.app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": prepared.status, "headers": prepared.headers})
        body = b"" if scope["method"] == "HEAD" else prepared.body
        await send({"type": "http.response.body", "body": body})
