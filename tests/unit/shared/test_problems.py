"""Errors become answers in one place."""

from __future__ import annotations

from datetime import timedelta

import httpx2
import orjson
import pytest
import structlog
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from shared.catalogue.engine import CatalogueUnreachable
from shared.errors import ErrorKind, ServiceError
from shared.problems import STATUS, Renderer, UnknownErrors, install_problem_handlers, problem_answer, text_answer
from tests.support.asgi import call


class _Payload(BaseModel):
    count: int


def _app(renderer: Renderer) -> FastAPI:
    app = FastAPI()

    @app.get("/conflict")
    async def conflict() -> None:
        raise ServiceError(ErrorKind.CONFLICT, "Other bytes are there already.")

    @app.get("/broken")
    async def broken() -> None:
        raise KeyError("the database password is hunter2")

    @app.post("/payload")
    async def payload(body: _Payload) -> int:
        return body.count

    install_problem_handlers(app, renderer)
    return app


def _client(renderer: Renderer) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=_app(renderer)), base_url="http://test")


def test_every_kind_has_a_status() -> None:
    """No kind of error can be raised that the table does not know."""
    assert set(STATUS) == set(ErrorKind)


def test_text_is_ascii_with_the_first_sentence_first() -> None:
    """Upload tools show the body as it is: plain ASCII, beginning with what went wrong."""
    answer = text_answer(ServiceError(ErrorKind.INVALID, "The version is wrong: 1.0\u2011x.\nUse PEP 440."))
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("text/plain")
    assert bytes(answer.body) == b"The version is wrong: 1.0?x.\nUse PEP 440.\n"


@pytest.mark.parametrize("renderer", [text_answer, problem_answer])
def test_401_always_carries_the_challenge(renderer: Renderer) -> None:
    """Without a challenge pip does not look for credentials."""
    answer = renderer(ServiceError(ErrorKind.UNAUTHENTICATED, "A token is needed."))
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Basic realm="countermark"')


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.2, "1"), (2.5, "3"), (60.0, "60")])
def test_retry_after_is_whole_seconds_rounded_up(seconds: float, header: str) -> None:
    """Nobody is told to come back before it makes sense."""
    error = ServiceError(ErrorKind.TOO_MANY, "Too many.", retry_after=timedelta(seconds=seconds))
    assert problem_answer(error).headers["retry-after"] == header


def test_a_problem_document_has_the_members_of_its_standard() -> None:
    """RFC 9457: type, title, status and detail, as application/problem+json; ours adds the request id."""
    with structlog.contextvars.bound_contextvars(request_id="request-0001"):
        answer = problem_answer(ServiceError(ErrorKind.GONE, "The file was removed."))
    assert answer.headers["content-type"] == "application/problem+json"
    assert orjson.loads(answer.body) == {
        "type": "urn:countermark:problem:gone",
        "title": "Gone",
        "status": 410,
        "detail": "The file was removed.",
        "request_id": "request-0001",
    }


@pytest.mark.parametrize("renderer", [text_answer, problem_answer])
async def test_an_unknown_exception_tells_nothing_but_the_request_id(renderer: Renderer) -> None:
    """The cause of a fault of ours goes to the log with its traceback, never to the client."""
    with structlog.testing.capture_logs() as lines, structlog.contextvars.bound_contextvars(request_id="request-0002"):
        async with _client(renderer) as client:
            answer = await client.get("/broken")
    assert answer.status_code == 500
    assert "request-0002" in answer.text
    assert "hunter2" not in answer.text
    assert [(line["event"], line["exc_info"]) for line in lines] == [("unexpected_error", True)]


async def test_errors_of_the_framework_take_the_same_form() -> None:
    """A wrong path, method or payload is a problem document too, with the headers that belong to it."""
    async with _client(problem_answer) as client:
        nothing = await client.get("/nothing")
        method = await client.post("/conflict")
        payload = await client.post("/payload", json={"count": "many"})
        conflict = await client.get("/conflict")
    assert [answer.status_code for answer in (nothing, method, payload, conflict)] == [404, 405, 422, 409]
    assert nothing.json()["type"] == "urn:countermark:problem:not-found"
    assert method.headers["allow"] == "GET"
    assert "body.count" in payload.json()["detail"]
    assert conflict.json()["detail"] == "Other bytes are there already."


async def test_a_catalogue_that_is_away_is_no_fault_of_ours() -> None:
    """503 with a time to try again, and one line in the log without a traceback."""

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise CatalogueUnreachable("Postgres cannot be reached")

    with capture_logs() as logs:
        start, body = await call(UnknownErrors(app, problem_answer), "GET", "/")
    assert start["status"] == 503
    assert (b"retry-after", b"5") in start["headers"]
    assert b"database cannot be used at the moment" in body["body"]
    assert [(line["event"], "exc_info" in line) for line in logs] == [("catalogue_unusable", False)]
