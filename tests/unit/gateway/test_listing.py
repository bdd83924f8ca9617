"""The gateway asks a mounted service like a client would, within bounds."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.listing import fetch
from gateway.upstream import Mounted
from shared.service import Service


async def _echo(request: Request) -> Response:
    return JSONResponse(
        {"path": request.url.path, "accept": request.headers["accept"], "body": len(await request.body())}
    )


UPSTREAM = Mounted(Service("index", Starlette(routes=[Route("/{path:path}", _echo)])))


async def test_an_answer_is_collected() -> None:
    """Status and body come back, the headers went along."""
    status, body = await fetch(UPSTREAM, "/root/stable/+simple/", [(b"accept", b"text/x"), (b"host", b"h")], limit=1000)
    assert (status, body) == (200, b'{"path":"/root/stable/+simple/","accept":"text/x","body":0}')


async def test_an_answer_beyond_the_limit_is_an_error() -> None:
    """A service cannot fill the gateway's memory."""
    with pytest.raises(ValueError, match="more than 10 bytes"):
        await fetch(UPSTREAM, "/", [(b"accept", b"text/x"), (b"host", b"h")], limit=10)
