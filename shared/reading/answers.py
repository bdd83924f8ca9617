"""Sends answers of reads as plain ASGI messages, and the headers all of them share.

The reading services are plain ASGI callables and not framework routes: infrastructure facts measured 46 us for the one
and 99 us for the other, and a page or a file needs nothing that a framework gives.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.responses import PlainTextResponse, Response
from starlette.types import Send

from shared.service import Prepared

Headers = tuple[tuple[bytes, bytes], ...]

NOSNIFF = (b"x-content-type-options", b"nosniff")
NO_STORE = (b"cache-control", b"no-store")

CORS: Headers = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"X-PyPI-Last-Serial"),
)
"""On every answer, so that pages in a browser may read an open index. Source: contract python-index section 1.4.5."""

_PREFLIGHT = {
    "allow": "GET, HEAD, OPTIONS",
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET, HEAD",
    "access-control-allow-headers": (
        "Content-Type, If-Match, If-Modified-Since, If-None-Match, If-Unmodified-Since, Range"
    ),
    "access-control-max-age": "86400",
}


async def send_prepared(send: Send, prepared: Prepared, *, head: bool) -> None:
    """Send an answer from memory; without its body when the request was a HEAD."""
    await send({"type": "http.response.start", "status": prepared.status, "headers": prepared.headers})
    await send({"type": "http.response.body", "body": b"" if head else prepared.body})


def other_method(method: str) -> Response:
    """Return the answer to a method that reads nothing: a preflight's permissions to OPTIONS, else 405.

    Nothing is looked up for it, so it tells nobody what exists.
    """
    if method == "OPTIONS":
        return Response(status_code=204, headers=_PREFLIGHT)
    detail = f"{method[:20].encode('ascii', 'replace').decode()} is not possible here: this address can only be read.\n"
    return PlainTextResponse(detail, 405, headers={"allow": _PREFLIGHT["allow"], "cache-control": "no-store"})


def with_headers(response: Response, headers: Iterable[tuple[bytes, bytes]]) -> Response:
    """Return the response with more headers."""
    response.raw_headers.extend(headers)
    return response
