"""Who calls a route of the gateway, and whether they may do what concerns no single index.

An index's own rights are `shared.auth.access`'s matter. Source: architecture sections 5.8 and 11.5.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from starlette.requests import Request

from gateway.accounts import Accounts
from gateway.index_rights import IndexRights
from shared.auth.access import credentials_in, decided, is_administrator, reader, writer
from shared.auth.directory import Directory
from shared.auth.principal import Principal, Scope, Verb
from shared.auth.verifier import Verifier
from shared.errors import ErrorKind, ServiceError
from shared.http import bind_principal
from shared.resources import Resources


@dataclass(frozen=True, slots=True)
class Callers:
    """Finds out who calls, and gives the writers that act in their name."""

    resources: Resources
    verifier: Verifier

    @property
    def directory(self) -> Directory:
        """Who and what there is."""
        return self.resources.directory

    async def anyone(self, request: Request) -> Principal:
        """Return who calls; nobody without credentials or with wrong ones."""
        principal = await reader(self.verifier, credentials_in(request.headers))
        bind_principal(principal)
        return principal

    async def known(self, request: Request) -> Principal:
        """Return who calls.

        Raises:
            ServiceError: UNAUTHENTICATED.
        """
        principal = await writer(self.verifier, credentials_in(request.headers))
        bind_principal(principal)
        return principal

    async def administrator(self, request: Request) -> Principal:
        """Return who calls, an administrator.

        Raises:
            ServiceError: UNAUTHENTICATED, or FORBIDDEN for everybody else.
        """

        async def decide() -> Principal:
            principal = await self.known(request)
            if not is_administrator(self.directory, principal):
                raise ServiceError(
                    ErrorKind.FORBIDDEN, "This is for administrators: for those who may configure the default index."
                )
            return principal

        return await decided(self.directory, decide)

    def accounts(self, principal: Principal) -> Accounts:
        """Return the writer of accounts and tokens in the name of `principal`."""
        return Accounts(self.resources.engine, self.resources.clock, actor=name_of(principal))

    def index_rights(self, principal: Principal) -> IndexRights:
        """Return the writer of grants in the name of `principal`."""
        return IndexRights(self.resources.engine, self.resources.clock, actor=name_of(principal))


def name_of(principal: Principal) -> str:
    """Return the account's name of somebody known."""
    assert principal.account is not None, "the caller was asked for credentials"
    return principal.account


def holds(principal: Principal, wanted: Iterable[Scope]) -> bool:
    """Return whether all of `wanted` is within the scopes of whoever calls; a password holds everything."""
    if principal.scopes is None:
        return True
    return all(_held(principal.scopes, scope, verb) for scope in wanted for verb in scope.verbs)


def _held(scopes: tuple[Scope, ...], wanted: Scope, verb: Verb) -> bool:
    return any(
        verb in scope.verbs
        and (scope.index is None or scope.index == wanted.index)
        and (scope.project is None or scope.project == wanted.project)
        for scope in scopes
    )
