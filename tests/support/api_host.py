"""The API host alone, in front of services that a test brings, without counting anything."""

from __future__ import annotations

from collections.abc import Mapping

from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway.api import ApiParts, build_api
from gateway.limits import Limits
from gateway.upstream import Upstream
from shared.auth.verifier import Verifier
from shared.http import Check, readiness
from shared.limit_settings import RateLimits


def api_host(
    upstreams: Mapping[str, Upstream], checks: Mapping[str, Check] | None = None, verifier: Verifier | None = None
) -> ASGIApp:
    """Return the API listener's application; the gateway's own routes answer with their name."""
    # Every limit is off, so nobody needs to listen at this address.
    limits = Limits(Redis(port=1), RateLimits(writes_by_address=0, writes_by_token=0))
    own = Starlette(routes=[Route("/{path:path}", _own, methods=["GET", "POST", "DELETE"])])
    ready = readiness(checks or {})
    return build_api(ApiParts(upstreams, ready, own, lambda _face: own, limits, "http://ui.test", verifier=verifier))


async def _own(_request: Request) -> JSONResponse:
    return JSONResponse({"service": "gateway"})
