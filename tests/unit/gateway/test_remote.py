"""The dashboard asks the API like a client would, within bounds, and takes nothing that it does not understand."""

from __future__ import annotations

import pytest
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.dashboard import remote
from gateway.dashboard.remote import Remote, api_path
from gateway.dashboard.shapes import Shape
from shared.errors import ErrorKind, ServiceError


class Echo(Shape):
    """What the API below answers."""

    path: str
    query: str
    authorization: str
    body: str


async def _echo(request: Request) -> Response:
    structlog.contextvars.clear_contextvars()
    return JSONResponse(
        {
            "path": request.url.path,
            "query": request.url.query,
            "authorization": request.headers["authorization"],
            "body": (await request.body()).decode(),
        }
    )


async def _refuse(request: Request) -> Response:
    return JSONResponse({"detail": "Not today."}, int(request.path_params["status"]))


async def _odd(request: Request) -> Response:
    bodies = {"html": b"<html>", "list": b"[]", "long": b"x" * (remote.MAX_ANSWER + 1)}
    return Response(bodies[request.path_params["kind"]])


API = Remote(
    Starlette(
        routes=[
            Route("/api/v1/status/{status}", _refuse),
            Route("/api/v1/odd/{kind}", _odd),
            Route("/{path:path}", _echo, methods=["GET", "PATCH"]),
        ]
    )
)


async def test_an_answer_is_collected() -> None:
    """Path, query and token go along; the context of the outer request's log lines stays."""
    with structlog.contextvars.bound_contextvars(request_id="outer"):
        echo = await API.get(Echo, api_path("indexes", "a+b"), "secret", {"q": "x y", "after": None, "limit": 5})
        assert structlog.contextvars.get_contextvars()["request_id"] == "outer"
    assert (echo.path, echo.query) == ("/api/v1/indexes/a+b", "q=x+y&limit=5")
    assert echo.authorization == "Bearer secret"


async def test_a_change_sends_json() -> None:
    """The body is JSON."""
    assert (await API.change(Echo, "PATCH", api_path("x"), "t", {"reason": None})).body == '{"reason":null}'


@pytest.mark.parametrize(
    ("status", "kind"), [(401, ErrorKind.UNAUTHENTICATED), (409, ErrorKind.CONFLICT), (418, ErrorKind.UNAVAILABLE)]
)
async def test_a_refusal_keeps_its_words(status: int, kind: ErrorKind) -> None:
    """What the API refuses is refused to the person in the same words."""
    with pytest.raises(ServiceError) as refused:
        await API.get(Echo, api_path("status", str(status)), "t")
    assert (refused.value.kind, refused.value.detail) == (kind, "Not today.")


@pytest.mark.parametrize("odd", ["html", "list", "long"])
async def test_an_odd_answer_is_not_shown(odd: str) -> None:
    """An answer of another shape, or without end, is an answer not to be had."""
    with pytest.raises(ServiceError) as refused:
        await API.get(Echo, api_path("odd", odd), "t")
    assert refused.value.kind is ErrorKind.UNAVAILABLE


@pytest.mark.parametrize("segment", ["", ".", "..", "a/b", "a\\b", "a\0"])
def test_a_segment_is_one_segment(segment: str) -> None:
    """A name in an address of ours cannot lead the request elsewhere."""
    with pytest.raises(ServiceError):
        api_path("indexes", segment)
