"""The documents of devpi's API that the gateway writes: the host's, an account's, an index's. An ASGI application for
each path, which is taken apart already.

Source: contract devpi sections 1 to 6, 16 and 17; architecture section 3.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.devpi.hosts import HostRoutes
from gateway.devpi.indexes import IndexRoutes
from gateway.devpi.logins import Passwords
from gateway.devpi.parts import DevpiParts
from gateway.devpi.users import UserRoutes
from gateway.limits import Limits
from shared.auth.verifier import Verifier
from shared.bodies import OwnPagesOnly, own_origin
from shared.devpi import devpi_error
from shared.errors import ErrorKind, ServiceError
from shared.faces import Face, FaceKind
from shared.problems import UnknownErrors
from shared.resources import Resources

Answer = Callable[[Face, Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Devpi:
    """devpi's documents."""

    parts: DevpiParts
    host: HostRoutes
    users: UserRoutes
    indexes: IndexRoutes

    @classmethod
    def create(cls, resources: Resources, limits: Limits, verifier: Verifier) -> Devpi:
        """Wire them."""
        passwords = Passwords(resources.engine, resources.directory, limits)
        parts = DevpiParts(resources, verifier, passwords)
        return cls(parts, HostRoutes(parts), UserRoutes(parts), IndexRoutes(parts))

    def at(self, face: Face) -> ASGIApp:
        """Return what answers at a path."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            try:
                response = await self._answer(face, request)
            except ClientDisconnect:
                return
            except ServiceError as error:
                response = devpi_error(error)
            response.headers["X-DEVPI-SERIAL"] = str(await self.parts.serial())
            await response(scope, receive, send)

        guarded = OwnPagesOnly(answer, own_origin(self.parts.resources.settings))
        return UnknownErrors(guarded, devpi_error)

    async def _answer(self, face: Face, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        routes = self._routes(face)
        if method not in routes:
            allowed = ", ".join(sorted({*routes, *(("HEAD",) if "GET" in routes else ())}))
            response = devpi_error(ServiceError(ErrorKind.INVALID, f"{request.method} is not for this: {allowed}"))
            response.status_code = 405
            response.headers["allow"] = allowed
            return response
        return await routes[method](face, request)

    def _routes(self, face: Face) -> dict[str, Answer]:
        match face.kind:
            case FaceKind.API:
                return {"GET": self.host.discovery}
            case FaceKind.LOGIN:
                return {"POST": self.host.login}
            case FaceKind.STATUS:
                return {"GET": self.host.status}
            case FaceKind.USER if not face.rest:
                return {"GET": self.users.listing}
            case FaceKind.USER:
                users = self.users
                return {"GET": users.show, "PUT": users.create, "PATCH": users.modify, "DELETE": users.delete}
            case _:
                indexes = self.indexes
                return {"GET": indexes.show, "PUT": indexes.create, "PATCH": indexes.modify, "DELETE": indexes.delete}


ROOT = Face(None, FaceKind.USER, "", "/")
"""The host itself: the list of its accounts."""
