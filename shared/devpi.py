"""What every service says in devpi's way: the headers, the JSON envelope, errors, and the address it is reached at.

Source: contract devpi sections 1, 17 and 23; architecture section 11.7.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from shared.auth.access import credentials_in
from shared.auth.principal import NOBODY, Principal
from shared.auth.verifier import BadCredentials, Verifier
from shared.errors import ErrorKind, ServiceError
from shared.problems import Problem, problem_of
from shared.settings import Settings

API_VERSION = "2"
"""Of devpi's API: without it on every answer the client warns, with another it stops."""

SERVER_VERSION = "6.20.3"
"""The version of devpi-server whose behaviour is answered, for clients that look."""

MEDIA_TYPE = "application/json"
"""Bare: with a charset the client no longer finds the message."""

MAX_OUTSIDE_URL = 500
"""Characters of an `X-Outside-URL` header."""

_SENT_AT_ONCE = 64 << 10
"""Bytes of a document in parts that are sent together, at the least."""

_HOST = re.compile(r"(?:[A-Za-z0-9._~-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?\Z")
"""What a Host header may hold: it is written into pages and documents."""

LOGIN_PATH = "/+login"
"""Where the client logs in again."""


class LoginEnded(ServiceError):
    """The devpi client sent the token of a login that has ended: it drops the token when it is told so, and says so."""

    def __init__(self) -> None:
        super().__init__(ErrorKind.UNAUTHENTICATED, "Your login has ended: log in again with devpi login.")


async def devpi_caller(verifier: Verifier, headers: Mapping[str, str]) -> Principal:
    """Return who asks over devpi's API: wrong credentials are nobody's, and an error only where a right is missing.

    Raises:
        LoginEnded: by the client itself, with the token of a login that has ended.

    Source: contract devpi sections 2, 22 and 23.
    """
    try:
        return await verifier.verify(credentials_in(headers))
    except BadCredentials as error:
        if error.login and is_devpi_client(headers):
            raise LoginEnded from error
        return NOBODY


def devpi_answer(
    kind: str | None = None,
    result: Any = None,
    *,
    message: str | None = None,
    status: int = HTTPStatus.OK,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return an answer of devpi's API.

    Args:
        kind: the `type` that the client checks; None for an answer that is a message only.
        result: JSON-ready; left out without `kind`.
        message: what the client prints.
    """
    document: dict[str, Any] = {} if kind is None else {"type": kind, "result": result}
    if message is not None:
        document["message"] = message
    return _json(document, status, headers)


def devpi_stream(parts: AsyncIterator[bytes]) -> Response:
    """Return an answer of devpi's API whose JSON comes in parts, which may be small: they are sent some at a time."""
    return StreamingResponse(_gathered(parts), headers=devpi_headers())


async def _gathered(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    waiting = bytearray()
    async for part in parts:
        waiting += part
        if len(waiting) >= _SENT_AT_ONCE:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting)


def devpi_error(error: Exception) -> Response:
    """Return the answer to what cannot be served: `{"message"}`, which the client prints behind status and reason."""
    problem = problem_of(error)
    return _json({"message": problem.detail}, problem.status, _headers_of(error, problem))


def failed_upload(error: Exception) -> Response:
    """Return the answer to a form of the devpi client that was refused: it prints each text of `result`.

    Source: contract devpi section 1 (item 10).
    """
    problem = problem_of(error)
    told = f"{problem.status} {problem.detail}"
    document = {"message": told, "type": "actionlog", "result": [told]}
    return _json(document, problem.status, _headers_of(error, problem))


def is_devpi_client(headers: Mapping[str, str]) -> bool:
    """Return whether the devpi client itself asks: it alone sends this header."""
    return "x-devpi-auth" in headers


def wants_json(headers: Mapping[str, str]) -> bool:
    """Return whether a request asks for devpi's JSON and not for a file or a page."""
    return MEDIA_TYPE in {part.partition(";")[0].strip().lower() for part in headers.get("accept", "").split(",")}


def own_url(request: Request, settings: Settings) -> str:
    """Return the address under which a request reached this deployment, without a trailing slash.

    The header `X-Outside-URL` counts first (the gateway drops it unless a trusted proxy sent it), then the setting
    `outside_url`, then what the request says.

    Raises:
        ServiceError: INVALID; the address must come from the request, and its Host header names no host.

    Source: contract devpi section 17; RFC 9110 section 7.2.
    """
    given = request.headers.get("x-outside-url", "")[:MAX_OUTSIDE_URL]
    if given and _is_address(given):
        return given.rstrip("/")
    if settings.outside_url:
        return settings.outside_url.rstrip("/")
    host = request.headers.get("host")
    if host is not None and not (_HOST.match(host) and _is_address(f"{request.url.scheme}://{host}")):
        raise ServiceError(ErrorKind.INVALID, "The Host header of the request names no host.")
    return f"{request.url.scheme}://{request.url.netloc}"


def _headers_of(error: Exception, problem: Problem) -> dict[str, str]:
    headers = dict(problem.headers)
    if isinstance(error, LoginEnded):
        headers["location"] = LOGIN_PATH
    return headers


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port  # Raises, too.
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and text.isprintable() and not parts.query


def devpi_headers(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the headers of an answer of devpi's API, for one that `devpi_answer` does not write."""
    versions = {"X-DEVPI-API-VERSION": API_VERSION, "X-DEVPI-SERVER-VERSION": SERVER_VERSION}
    return {**versions, **(more or {}), "Cache-Control": "no-store", "Content-Type": MEDIA_TYPE}


def _json(document: Mapping[str, Any], status: int, headers: Mapping[str, str] | None) -> Response:
    return Response(orjson.dumps(document), status, headers=devpi_headers(headers))
