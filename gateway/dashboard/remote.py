"""Asks our own API as any client would, within this process: the pages know nothing that the API does not tell.

Each request carries a short-lived token of the person who looks, never a right of the gateway's own (architecture
section 11.9).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote, urlencode

import orjson
import structlog
from pydantic import BaseModel, ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import ErrorKind, ServiceError
from shared.problems import STATUS

MAX_ANSWER = 8 << 20
"""Bytes of an answer that are read: a page of 200 projects, or a release with a long description, stays far below."""

TIMEOUT = 20.0
"""Seconds an answer may take; a change waits for its publication for at most 12 s (architecture section 11.7)."""

_KINDS = {int(status): kind for kind, status in STATUS.items()}

Query = Mapping[str, str | int | None]
"""Parameters of a request; those that are None or empty are left out."""

Shape = TypeVar("Shape", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body of an answer."""

    status: int
    body: bytes


class Remote:
    """The API host as the dashboard asks it."""

    def __init__(self, api: ASGIApp) -> None:
        self._api = api

    async def get(self, shape: type[Shape], path: str, token: str, query: Query | None = None) -> Shape:
        """Return what a GET answers.

        Args:
            shape: what the answer has to look like.

        Raises:
            ServiceError: as the API refused it; UNAVAILABLE when it does not answer, or not in that shape.
        """
        answer = await self._checked("GET", path, token, query=query)
        return _read(shape, answer.body, path)

    async def change(
        self, shape: type[Shape], method: str, path: str, token: str, body: Mapping[str, object] | None = None
    ) -> Shape:
        """Return what a request that changes something answers.

        Raises:
            ServiceError: as `get`.
        """
        answer = await self._checked(method, path, token, body=b"" if body is None else orjson.dumps(body))
        return _read(shape, answer.body or b"{}", path)

    async def _checked(
        self,
        method: str,
        path: str,
        token: str,
        *,
        query: Query | None = None,
        body: bytes = b"",
    ) -> Answer:
        given = {name: value for name, value in (query or {}).items() if value not in {None, ""}}
        headers = [
            (b"host", b"gateway"),
            (b"accept", b"application/json, application/problem+json"),
            (b"authorization", f"Bearer {token}".encode()),
            (b"content-length", str(len(body)).encode()),
        ]
        if body:
            headers.append((b"content-type", b"application/json"))
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": quote(path, safe="/+~@:").encode(),
            "query_string": urlencode(given).encode(),
            "root_path": "",
            "headers": headers,
            "client": None,
            "server": None,
            "state": {},
        }
        try:
            async with asyncio.timeout(TIMEOUT):
                answer = await _ask(self._api, scope, body)
        except TimeoutError as error:
            raise ServiceError(ErrorKind.UNAVAILABLE, "The answer took too long. Try again shortly.") from error
        if not 200 <= answer.status < 300:
            raise _refusal(answer)
        return answer


def api_path(*segments: str) -> str:
    """Return a path below `/api/v1` of segments that are names.

    Raises:
        ServiceError: NOT_FOUND for a segment that could mean something else in a path.
    """
    for segment in segments:
        if segment in {"", ".", ".."} or any(character in segment for character in "/\\\0"):
            raise ServiceError(ErrorKind.NOT_FOUND, "There is nothing at this address.")
    return "/".join(("/api/v1", *segments))


async def _ask(api: ASGIApp, scope: Scope, body: bytes) -> Answer:
    status, received = 0, bytearray()
    asked = False

    async def receive() -> Message:
        nonlocal asked
        if asked:
            # The caller stays until it has its answer; waiting here ends with it.
            await asyncio.Event().wait()
        asked = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            received.extend(message.get("body", b""))
            if len(received) > MAX_ANSWER:
                raise ServiceError(ErrorKind.UNAVAILABLE, "This is too long to be shown here; ask the API for it.")

    # In a task of its own, so that what the inner request binds to its log lines does not reach those of the outer one.
    await asyncio.create_task(_call(api, scope, receive, send))
    return Answer(status, bytes(received))


async def _call(api: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await api(scope, receive, send)


def _read(shape: type[Shape], body: bytes, path: str) -> Shape:
    try:
        return shape.model_validate_json(body)
    except ValidationError as error:
        structlog.get_logger().warning("api_answer_not_understood", path=path[:200], error=str(error)[:500])
        detail = "The service's answer cannot be understood. Tell the operator: its version may differ from this one."
        raise ServiceError(ErrorKind.UNAVAILABLE, detail) from error


def _refusal(answer: Answer) -> ServiceError:
    kind = _KINDS.get(answer.status, ErrorKind.UNAVAILABLE)
    try:
        document = orjson.loads(answer.body)
        detail = document.get("detail") if isinstance(document, dict) else None
    except ValueError:
        detail = None
    if not isinstance(detail, str) or not detail:
        detail = f"The service answered {answer.status}. Try again shortly."
    return ServiceError(kind, detail[:2000])
