"""What devpi's documents share: who asks, what they may do, the address of everything, bodies."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from countermark.core.names import IndexName
from gateway.devpi import states
from gateway.devpi.index_writer import DevpiIndexes
from gateway.devpi.logins import Passwords
from gateway.devpi.states import IndexState
from gateway.devpi.user_writer import DevpiUsers
from shared.auth.access import is_administrator
from shared.auth.permissions import unlimited
from shared.auth.principal import Principal, Verb
from shared.auth.verifier import Verifier
from shared.bodies import MAX_BODY
from shared.catalogue import audit
from shared.devpi import devpi_caller, own_url
from shared.errors import ErrorKind, ServiceError
from shared.http import bind_principal
from shared.resources import Resources

NOBODY_ACTS = "anonymous"
"""Who the audit says it was, when nobody was known: an open devpi lets anybody make accounts."""


@dataclass(frozen=True, slots=True)
class DevpiParts:
    """What the routes work with."""

    resources: Resources
    verifier: Verifier
    passwords: Passwords

    async def caller(self, request: Request) -> Principal:
        """Return who asks.

        Raises:
            LoginEnded: see `devpi_caller`.
        """
        principal = await devpi_caller(self.verifier, request.headers)
        bind_principal(principal)
        return principal

    def administrates(self, principal: Principal) -> bool:
        """Return whether the caller is what devpi calls `root`, with nothing that narrows it."""
        return is_administrator(self.resources.directory, principal) and unlimited(principal)

    def is_user(self, principal: Principal, name: str) -> bool:
        """Return whether the caller is that account, with nothing that narrows it, or what devpi calls `root`."""
        return (principal.account == name and unlimited(principal)) or self.administrates(principal)

    def configures(self, principal: Principal, state: IndexState) -> bool:
        """Return whether the caller may change or delete an index; what one may not read is nobody's to change."""
        if not state.allows(principal, Verb.READ):
            return False
        return state.allows(principal, Verb.CONFIGURE) or self.administrates(principal)

    def users(self, principal: Principal) -> DevpiUsers:
        """Return the writer of accounts in the caller's name."""
        actor, open_ = principal.account or NOBODY_ACTS, self.resources.settings.is_open_devpi
        return DevpiUsers(self.resources.engine, self.resources.clock, actor=actor, open_=open_)

    def indexes(self, principal: Principal) -> DevpiIndexes:
        """Return the writer of indexes in the caller's name."""
        actor, open_ = principal.account or NOBODY_ACTS, self.resources.settings.is_open_devpi
        return DevpiIndexes(self.resources.engine, self.resources.clock, actor=actor, open_=open_)

    async def index(self, name: IndexName) -> IndexState | None:
        """Return a living index."""
        async with self.resources.engine.connect() as connection:
            return await states.index(connection, name)

    async def changed(self) -> None:
        """Let this process know what was written, before the answer says that it was."""
        await self.resources.directory.refresh()

    async def serial(self) -> int:
        """Return the deployment's newest audit number."""
        async with self.resources.engine.connect() as connection:
            return await audit.newest(connection)

    def url(self, request: Request) -> str:
        """Return the address of the host as the client reaches it, without a trailing slash."""
        return own_url(request, self.resources.settings)


async def body_of(request: Request) -> bytes:
    """Read a request's body.

    Raises:
        ServiceError: TOO_LARGE.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise ServiceError(ErrorKind.TOO_LARGE, f"The body is larger than {MAX_BODY} bytes.")
    return bytes(body)


def denied(what: str) -> ServiceError:
    """Return the refusal of what one has no right to."""
    return ServiceError(ErrorKind.FORBIDDEN, f"no permission to {what}")
