"""What the services of the instance have in common: JSON that is read, and refusals.

Source: Fulcio's and Rekor's answers to bad requests: a code and a message.
"""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

MAX_BODY = 1 << 20
"""Bytes of a request."""


class Refused(Exception):
    """A request is not done; the message is for who sent it."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


async def body_of(request: Request) -> bytes:
    """Return a request's body.

    Raises:
        Refused: it is too long.
    """
    held = b""
    async for part in request.stream():
        held += part
        if len(held) > MAX_BODY:
            raise Refused(f"a request has at most {MAX_BODY} bytes", 413)
    return held


async def document_of(request: Request) -> dict[str, Any]:
    """Return a request's JSON object.

    Raises:
        Refused: it is none.
    """
    try:
        read = json.loads(await body_of(request))
    except ValueError as error:
        raise Refused("the body is no JSON") from error
    if not isinstance(read, dict):
        raise Refused("the body is no JSON object")
    return read


async def refusal(_request: Request, error: Exception) -> Response:
    """Answer a `Refused`."""
    assert isinstance(error, Refused)
    return JSONResponse({"code": error.status, "message": str(error)}, error.status)
