"""Wires the gateway's own routes for machines: `/api/v1` but for what services answer, the exchange of trusted
publishing, and the intake of leaks.

Source: architecture sections 3 and 11.8.
"""

from __future__ import annotations

from fastapi import FastAPI, Request
from starlette.types import ASGIApp

from gateway.leaks import KEY_HEADER, SIGNATURE_HEADER, Key, LeakedTokens, leak_keys, signed_leaks
from gateway.limits import Limits
from gateway.trusted_publishing.routes import exchange_routes
from gateway.v1.accounts import AccountRoutes
from gateway.v1.callers import Callers
from gateway.v1.indexes import IndexRoutes
from gateway.v1.operations import OperationRoutes
from gateway.v1.policies import PolicyRoutes
from gateway.v1.publishers import PublisherRoutes
from gateway.v1.tokens import TokenRoutes
from shared.auth.verifier import Verifier
from shared.bodies import BoundedBodies, OwnPagesOnly, own_origin
from shared.described import problem
from shared.errors import ErrorKind, ServiceError
from shared.problems import install_problem_handlers, problem_answer
from shared.resources import Resources


def create_v1(resources: Resources, limits: Limits) -> FastAPI:
    """Return the application; its lists and changes are described at `/api/v1/openapi.json`.

    Raises:
        ValueError: a key of the settings is none.
    """
    callers = Callers(resources, Verifier(resources.directory, resources.clock))
    app = FastAPI(
        title="Countermark gateway",
        version="1",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        responses={"4XX": problem()},
    )
    for routes in (TokenRoutes, AccountRoutes, IndexRoutes, PolicyRoutes, PublisherRoutes, OperationRoutes):
        app.include_router(routes(callers).router, prefix="/api/v1")
    _add_intake(app, resources, leak_keys(resources.settings.leaks))
    app.include_router(exchange_routes(resources, limits).router)
    install_problem_handlers(app, problem_answer)
    return app


def bounded(app: ASGIApp, resources: Resources) -> ASGIApp:
    """Return the application behind what stands before changes."""
    return OwnPagesOnly(BoundedBodies(app), own_origin(resources.settings))


def _add_intake(app: FastAPI, resources: Resources, keys: dict[str, Key]) -> None:
    @app.post("/_/secrets/disclose-token", status_code=204, tags=["leaks"])
    async def disclose(request: Request) -> None:
        """Take a signed list of tokens that were found in public, and revoke them."""
        if not keys:
            raise ServiceError(ErrorKind.NOT_FOUND, "This server takes no lists of leaked tokens.")
        key_id, signature = request.headers.get(KEY_HEADER, ""), request.headers.get(SIGNATURE_HEADER, "")
        found = signed_leaks(keys, key_id, signature, await request.body())
        await LeakedTokens(resources.engine, resources.clock, actor=f"leak-intake:{key_id}").revoke(found)
        await resources.directory.refresh()
