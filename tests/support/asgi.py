"""Calls an ASGI application without any HTTP in between."""

from __future__ import annotations

from starlette.types import ASGIApp, Message


async def call(app: ASGIApp, method: str, path: str, *, body: bytes = b"") -> list[Message]:
    """Send one request and return the messages of its answer."""
    sent: list[Message] = []
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return waiting.pop() if waiting else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b""}
    await app(scope, receive, send)
    return sent
