"""The one place where an error becomes an HTTP answer: a table of statuses, and one renderer per face.

Form routes answer in plain text (architecture section 11.7; contract python-index section 2.2), everything else with
problem documents (RFC 9457). Both say the same sentences; neither ever shows the cause of a fault of ours.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http import HTTPStatus

import orjson
import structlog
from fastapi.exceptions import RequestValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.catalogue.faults import catalogue_fault
from shared.errors import ErrorKind, ServiceError
from shared.reason import PhrasedResponse

log = structlog.get_logger()

CHALLENGE = 'Basic realm="countermark"'
"""What every 401 carries: without it pip never asks its keyring (contract python-index section 1.7.2)."""

STATUS: Mapping[ErrorKind, HTTPStatus] = {
    ErrorKind.INVALID: HTTPStatus.BAD_REQUEST,
    ErrorKind.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    ErrorKind.FORBIDDEN: HTTPStatus.FORBIDDEN,
    ErrorKind.NOT_FOUND: HTTPStatus.NOT_FOUND,
    ErrorKind.NOT_ACCEPTABLE: HTTPStatus.NOT_ACCEPTABLE,
    ErrorKind.CONFLICT: HTTPStatus.CONFLICT,
    ErrorKind.GONE: HTTPStatus.GONE,
    ErrorKind.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ErrorKind.MALFORMED: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorKind.TOO_MANY: HTTPStatus.TOO_MANY_REQUESTS,
    ErrorKind.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorKind.UPSTREAM: HTTPStatus.BAD_GATEWAY,
}
"""Kind of error -> status; every kind has one."""

_FRAMEWORK = {401: ErrorKind.UNAUTHENTICATED, 403: ErrorKind.FORBIDDEN, 404: ErrorKind.NOT_FOUND}
"""Kinds of the errors that the framework's own routing raises."""

_UNAVAILABLE_FOR = timedelta(seconds=5)
"""When to try again after a 503 that says no better. Source: python-index contract section 1.6."""

_FAULTS_SHOWN = 20
"""Faults of a JSON payload that are listed at the most."""

_CATALOGUE_AWAY = (
    "The registry's database cannot be used at the moment. Try again in a few seconds; doing the same twice is safe."
)
_RETRY_AFTER = timedelta(seconds=5)

Renderer = Callable[[Exception], Response]
"""Turns an error into the answer of one face."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What an error says over HTTP, whatever the face: `kind` is the last part of the problem's type."""

    status: int
    kind: str
    title: str
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


def problem_of(error: Exception) -> Problem:
    """Return what is told about an error.

    Args:
        error: a `ServiceError`, an error of the framework's routing, or anything else, of which only the request's id
            is told.
    """
    if isinstance(error, ServiceError):
        headers = {}
        wait = error.retry_after
        if wait is None and error.kind is ErrorKind.UNAVAILABLE:
            wait = _UNAVAILABLE_FOR
        if wait is not None:
            headers["retry-after"] = str(max(1, math.ceil(wait.total_seconds())))
        return replace(_problem(STATUS[error.kind], error.kind, error.detail, headers), facts=error.facts)
    if isinstance(error, RequestValidationError):
        return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, ErrorKind.MALFORMED, _faults(error))
    if isinstance(error, HTTPException):
        status = HTTPStatus(error.status_code)
        kind = _FRAMEWORK.get(status, status.phrase.lower().replace(" ", "-"))
        detail = f"{error.detail}." if error.detail == status.phrase else str(error.detail)
        return _problem(status, kind, detail, dict(error.headers or {}))
    detail = f"Something went wrong on our side. Tell the operator this request id: {_request_id() or 'unknown'}."
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", detail)


def text_answer(error: Exception) -> Response:
    """Return the answer of a form route: the sentences as ASCII text, the most telling one first.

    The first line is the reason phrase too: twine without `--verbose`, pdm, hatch and flit show nothing else.
    """
    problem = problem_of(error)
    body = problem.detail.encode("ascii", "replace") + b"\n"
    return PhrasedResponse(body, problem.status, headers=problem.headers)


def problem_answer(error: Exception) -> Response:
    """Return the answer of our own routes: a problem document, with the request's id when one is bound."""
    problem = problem_of(error)
    document: dict[str, object] = {
        "type": f"urn:countermark:problem:{problem.kind}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        **problem.facts,
    }
    if request_id := _request_id():
        document["request_id"] = request_id
    body = orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
    return Response(body, problem.status, headers=problem.headers, media_type="application/problem+json")


def install_problem_handlers(app: Starlette, renderer: Renderer) -> None:
    """Make an application answer its errors through `renderer`, unknown ones included.

    Args:
        app: a FastAPI or Starlette application that has not served a request yet.
    """

    async def answer(_request: Request, error: Exception) -> Response:
        return renderer(error)

    for kind in (ServiceError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, answer)
    app.add_middleware(UnknownErrors, renderer=renderer)


class UnknownErrors:
    """Logs an exception that nothing expected, with its traceback, and answers 500 if nothing was answered yet; a
    catalogue that cannot be used is told as such, in one line of the log and with 503.

    An answer that has begun can only be broken off: the exception goes on to the server, which closes the connection.
    """

    def __init__(self, app: ASGIApp, renderer: Renderer) -> None:
        self._app = app
        self._renderer = renderer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and answer for what the application did not expect."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        def watched(message: Message) -> Awaitable[None]:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            return send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            log.info("client_gone", path=scope["path"][:200])
        except Exception as error:
            told = error
            if (fault := catalogue_fault(error)) is not None:
                log.error("catalogue_unusable", path=scope["path"][:200], fault=fault.text)
                told = ServiceError(ErrorKind.UNAVAILABLE, _CATALOGUE_AWAY, retry_after=_RETRY_AFTER)
            elif not isinstance(error, ServiceError | HTTPException):
                log.exception("unexpected_error", path=scope["path"][:200])
            if started:
                raise
            await self._renderer(told)(scope, receive, send)


def _problem(status: HTTPStatus, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> Problem:
    carried = dict(headers or {})
    if status == HTTPStatus.UNAUTHORIZED:
        carried["www-authenticate"] = CHALLENGE
    return Problem(int(status), kind, status.phrase, detail, carried)


def _faults(error: RequestValidationError) -> str:
    faults = error.errors()
    lines = [f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in faults[:_FAULTS_SHOWN]]
    if len(faults) > _FAULTS_SHOWN:
        lines.append(f"and {len(faults) - _FAULTS_SHOWN} more faults")
    return "\n".join(lines) or "The payload is not what this route takes."


def _request_id() -> str | None:
    bound = structlog.contextvars.get_contextvars().get("request_id")
    return bound if isinstance(bound, str) else None
