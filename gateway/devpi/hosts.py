"""The host's own documents: discovery, login, status.

Source: contract devpi sections 2, 4.1 and 16.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import Response

from gateway.devpi.documents import json_object
from gateway.devpi.parts import DevpiParts, body_of
from gateway.devpi.user_writer import LOGIN_LIFETIME
from gateway.devpi.values import MIRROR
from gateway.limits import address_of
from shared.auth.access import credentials_in, reader
from shared.auth.principal import NOBODY, Principal, Verb
from shared.catalogue import audit
from shared.catalogue.tables import Deployment
from shared.devpi import SERVER_VERSION, devpi_answer
from shared.errors import ErrorKind, ServiceError
from shared.faces import Face

FEATURES = ("push-no-docs", "push-only-docs", "push-register-project", "server-keyvalue-parsing")
"""What the client may use; sorted. Without the last it would send whole configurations back."""


class HostRoutes:
    """`+api` of the host, of accounts and of indexes; `+login`; `+status`."""

    def __init__(self, parts: DevpiParts) -> None:
        self._parts = parts

    async def discovery(self, face: Face, request: Request) -> Response:
        """Tell where everything is, and who the caller is taken for."""
        # Never an error: the client drops a login that has ended when it reads that it is nobody.
        principal = await reader(self._parts.verifier, credentials_in(request.headers))
        url = self._parts.url(request)
        result: dict[str, Any] = {
            "login": f"{url}/+login",
            "authstatus": _auth_status(principal),
            "features": list(FEATURES),
        }
        if face.index is not None:
            state = await self._parts.index(face.index)
            if state is None:
                raise ServiceError(ErrorKind.NOT_FOUND, f"The stage {face.index} could not be found.")
            if not state.allows(principal, Verb.READ):
                # 403 also for nobody: the client then asks again without its credentials.
                raise ServiceError(
                    ErrorKind.FORBIDDEN, f"The stage {face.index} is private: log in as one of its readers."
                )
            result["index"] = f"{url}/{face.index}"
            result["simpleindex"] = f"{url}/{face.index}/+simple/"
            if state.type != MIRROR:
                result["pypisubmit"] = f"{url}/{face.index}/"
        return devpi_answer("apiconfig", result)

    async def login(self, _face: Face, request: Request) -> Response:
        """Give a token for a password."""
        payload = json_object(await body_of(request))
        proven = await self._parts.passwords.proven(payload, address_of(_peer(request)))
        account = proven.account
        try:
            secret = await self._parts.users(Principal(account)).log_in(proven)
        except ServiceError as error:
            raise ServiceError(ErrorKind.UNAUTHENTICATED, f"user {account!r} could not be authenticated") from error
        await self._parts.changed()
        return devpi_answer("proxyauth", login_result(secret), message="login successful")

    async def status(self, _face: Face, request: Request) -> Response:
        """Tell what runs here; nothing about paths."""
        resources = self._parts.resources
        async with resources.engine.connect() as connection:
            at = await audit.newest_at(connection)
            deployment = await connection.scalar(select(Deployment.id))
            serial = await audit.newest(connection)
        moment = 0.0 if at is None else at.timestamp()
        parts = urlsplit(self._parts.url(request))
        result: dict[str, Any] = {
            "uuid": None if deployment is None else deployment.hex,
            "versioninfo": {"devpi-server": SERVER_VERSION},
            "host": parts.hostname,
            "port": parts.port or (443 if parts.scheme == "https" else 80),
            "outside-url": resources.settings.outside_url,
            "serial": serial,
            "last-commit-timestamp": moment,
            "event-serial": serial,
            "event-serial-timestamp": moment,
            "event-serial-in-sync-at": moment,
            "metrics": [],
            "role": "MASTER",
            "polling_replicas": {},
        }
        return devpi_answer("status", result)


def login_result(secret: str) -> dict[str, Any]:
    """Return what the client gets of a login, with its seconds to live."""
    return {"password": secret, "expiration": int(LOGIN_LIFETIME.total_seconds())}


def _auth_status(principal: Principal) -> list[Any]:
    if principal == NOBODY or principal.account is None:
        return ["noauth", "", []]
    return ["ok", principal.account, sorted(principal.groups)]


def _peer(request: Request) -> tuple[str, int] | None:
    return None if request.client is None else (request.client.host, request.client.port)
