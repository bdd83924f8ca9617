"""The API host: hands each request to the service whose path it is. Never redirects to a login.

Writes are counted here, once for all services; reads have no limit. It runs outside any framework: a route costs a
dictionary look-up, and bodies pass through untouched.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.devpi.app import ROOT
from gateway.limits import WRITE_BY_ADDRESS, WRITE_BY_TOKEN, Limits, address_of
from gateway.proxies import behind
from gateway.routes import (
    OWN_API_PREFIXES,
    QUERY_PREFIX,
    Devpi,
    Nowhere,
    Own,
    ToService,
    is_form_like,
    misnamed,
    route,
)
from gateway.upstream import Proxied, Upstream
from shared.auth.access import credentials_in, writer
from shared.auth.verifier import Verifier, credentials_key
from shared.devpi import devpi_error, failed_upload, is_devpi_client, wants_json
from shared.errors import ErrorKind, ServiceError
from shared.faces import UPLOAD, Face
from shared.http import healthz, machine_stack
from shared.metrics import Metrics
from shared.problems import UnknownErrors, problem_answer, text_answer
from shared.service import HotPath
from shared.turnstile import Turnstile

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class ApiParts:
    """What the API host is made of; `v1` answers the gateway's own routes, `devpi` a document of devpi's API, `proxies`
    see `behind`.

    With `verifier`, forms for an upload service in another process are passed on only with credentials that are known.
    """

    upstreams: Mapping[str, Upstream]
    readyz: Endpoint
    v1: ASGIApp
    devpi: Callable[[Face], ASGIApp]
    limits: Limits
    ui_url: str
    metrics: Metrics | None = None
    proxies: tuple[str, ...] = ()
    verifier: Verifier | None = None
    outside_url: str | None = None
    turnstile: Turnstile | None = None


_READS = frozenset({"GET", "HEAD", "OPTIONS"})

_WITH_PROBLEMS = (*OWN_API_PREFIXES, QUERY_PREFIX)
"""Paths below which errors are problem documents, also for those who ask for JSON."""


class ApiHost:
    """Routes one request."""

    def __init__(self, parts: ApiParts) -> None:
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the service answer."""
        if scope["type"] != "http":
            return
        try:
            await self._dispatch(scope, receive, send)
        except ServiceError as error:
            await _in_the_form_of(scope, error)(scope, receive, send)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        destination = route(scope["path"], scope.get("raw_path") or b"", scope["method"])
        reads = scope["method"] in _READS or scope["path"].startswith(QUERY_PREFIX)
        if not reads and not isinstance(destination, Nowhere):
            await self._count(scope)
        match destination:
            case ToService(service):
                upstream = self._parts.upstreams.get(service)
                if upstream is None:
                    detail = f"The {service} service does not run here. Ask the operator to start it."
                    raise ServiceError(ErrorKind.UNAVAILABLE, detail)
                if service == UPLOAD and isinstance(upstream, Proxied) and _is_form(scope):
                    await self._identify(scope)
                await upstream(scope, receive, send)
            case Own.API:
                await self._parts.v1(scope, receive, send)
            case Own.ROOT if wants_json(_headers(scope)):
                await self._parts.devpi(ROOT)(scope, receive, send)
            case Own() as own:
                await self._own(own, scope, receive, send)
            case Devpi(face):
                await self._parts.devpi(face)(scope, receive, send)
            case Nowhere(detail, kind):
                fault = misnamed(scope["path"]) if scope["method"] == "PUT" else None
                if fault is not None:
                    raise ServiceError(ErrorKind.INVALID, fault)
                raise ServiceError(kind, detail)

    async def _count(self, scope: Scope) -> None:
        # The address first: it bounds how many credentials a stranger can have counted.
        await self._parts.limits.count(WRITE_BY_ADDRESS, address_of(scope.get("client")))
        given = credentials_in(_headers(scope))
        if given is not None:
            await self._parts.limits.count(WRITE_BY_TOKEN, credentials_key(given))

    async def _identify(self, scope: Scope) -> None:
        """Refuse who has no credentials before the body is asked for: to pass it on is to read it.

        What they permit is the service's matter, which checks them again.
        """
        if self._parts.verifier is not None:
            await writer(self._parts.verifier, credentials_in(_headers(scope)))

    async def _own(self, own: Own, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in {"GET", "HEAD"}:
            answer = _in_the_form_of(scope, ServiceError(ErrorKind.NOT_FOUND, "There is nothing to change here."))
            await answer(scope, receive, send)
            return
        request = Request(scope, receive)
        match own:
            case Own.HEALTHZ:
                await (await healthz(request))(scope, receive, send)
            case Own.READYZ:
                await (await self._parts.readyz(request))(scope, receive, send)
            case Own.ROOT:
                detail = f"This host answers package tools. The pages for people are at {self._parts.ui_url}/."
                raise ServiceError(ErrorKind.NOT_FOUND, detail)


def build_api(parts: ApiParts) -> ASGIApp:
    """Return the API listener's application: hot reads, then the machines' stack, then the routes."""
    routed = UnknownErrors(ApiHost(parts), problem_answer)
    readers = [reader for upstream in parts.upstreams.values() for reader in upstream.hot]
    stack = behind(parts.proxies, machine_stack(routed, listener="api", metrics=parts.metrics), parts.outside_url)
    tally = None if parts.metrics is None else parts.metrics.tally("api")
    return HotPath(readers, stack, tally, parts.turnstile)


def _in_the_form_of(scope: Scope, error: ServiceError) -> Response:
    headers = _headers(scope)
    if is_devpi_client(headers) or (wants_json(headers) and not scope["path"].startswith(_WITH_PROBLEMS)):
        return failed_upload(error) if _is_form(scope) else devpi_error(error)
    return text_answer(error) if _is_form(scope) else problem_answer(error)


def _is_form(scope: Scope) -> bool:
    return is_form_like(scope["method"], _headers(scope).get("content-type") or "")


def _headers(scope: Scope) -> Headers:
    """Return the headers; of one that came twice, the first counts."""
    return Headers(scope=scope)
