"""What stands before routes that change something: no other site's page asks, and the body is read up to a bound.

Plain ASGI callables that raise `ServiceError`; the renderer of the face around them answers.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import ErrorKind, ServiceError
from shared.settings import Settings

MAX_BODY = 1 << 20
"""Bytes of the JSON body of a request."""

_READS = frozenset({"GET", "HEAD", "OPTIONS"})


def own_origin(settings: Settings) -> str:
    """Return the origin of pages of the API host, as browsers write it."""
    host = f"[{settings.listen.host}]" if ":" in settings.listen.host else settings.listen.host
    parts = urlsplit(settings.outside_url or f"http://{host}:{settings.listen.api_port}")
    return f"{parts.scheme}://{parts.netloc}"


class OwnPagesOnly:
    """Refuses changes that another site's page asks for.

    A browser that holds a password for this host sends it along with forms of other sites. Such a request carries an
    `Origin`; programs send none.
    """

    def __init__(self, app: ASGIApp, origin: str, below: str = "/") -> None:
        self._app = app
        self._origin = origin.encode("latin-1")
        self._below = below

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on.

        Raises:
            ServiceError: FORBIDDEN.
        """
        foreign = (name == b"origin" and value != self._origin for name, value in scope.get("headers", ()))
        if _changes(scope, self._below) and any(foreign):
            raise ServiceError(ErrorKind.FORBIDDEN, "Pages of other sites may not change anything here.")
        await self._app(scope, receive, send)


class BoundedBodies:
    """Reads the bodies of requests whole before the application sees them, and refuses those that are too long."""

    def __init__(self, app: ASGIApp, most: int = MAX_BODY, below: str = "/") -> None:
        self._app = app
        self._most = most
        self._below = below

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body in memory; one whose path is elsewhere as it is.

        Raises:
            ServiceError: TOO_LARGE.
        """
        if not _changes(scope, self._below):
            await self._app(scope, receive, send)
            return
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._most:
                raise ServiceError(ErrorKind.TOO_LARGE, f"The body is larger than {self._most} bytes.")
        told = False

        async def replay() -> Message:
            nonlocal told
            if told:
                return await receive()
            told = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self._app(scope, replay, send)


def _changes(scope: Scope, below: str) -> bool:
    return scope["type"] == "http" and scope["method"] not in _READS and scope["path"].startswith(below)
