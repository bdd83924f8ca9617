"""Bodies of the gateway's own routes: read whole, up to a bound, before the route is run."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import ErrorKind, ServiceError


class BoundedBodies:
    """An ASGI application that refuses bodies of more than some bytes, and changes that another site's page asks for.

    A browser that holds a password for this host sends it along with forms of other sites. Such a request carries an
    `Origin`; programs send none.
    """

    def __init__(self, app: ASGIApp, most: int, origin: str) -> None:
        self._app = app
        self._most = most
        self._origin = origin.encode("latin-1")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body in memory.

        Raises:
            ServiceError: TOO_LARGE or FORBIDDEN.
        """
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD"}:
            await self._app(scope, receive, send)
            return
        if any(name == b"origin" and value != self._origin for name, value in scope["headers"]):
            raise ServiceError(ErrorKind.FORBIDDEN, "Pages of other sites may not change anything here.")
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
