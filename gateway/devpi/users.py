"""The documents of accounts.

Source: contract devpi sections 4.2 and 5.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.devpi import states
from gateway.devpi.documents import Unfit, checked_json, checked_text, json_object
from gateway.devpi.hosts import login_result
from gateway.devpi.parts import DevpiParts, body_of, denied
from gateway.devpi.states import AccountState, IndexState
from gateway.devpi.user_writer import AccountChange, no_user
from gateway.writer import MAX_EMAIL
from shared.auth.principal import Principal, Verb
from shared.devpi import devpi_answer, devpi_stream
from shared.errors import ErrorKind, ServiceError
from shared.faces import Face

_WRITTEN = frozenset(["email", "title", "description", "custom_data"])
"""Keys of an account's document that people write, beside the password."""

_IGNORED = frozenset(["indexes", "username", "created", "modified"])
"""Keys that a document has and nobody writes: the client sends back what it got."""


class UserRoutes:
    """`/` and `/{user}`."""

    def __init__(self, parts: DevpiParts) -> None:
        self._parts = parts
        self._engine = parts.resources.engine

    async def listing(self, _face: Face, request: Request) -> Response:
        """List the accounts, with what of their indexes the caller may read."""
        principal = await self._parts.caller(request)
        return devpi_stream(self._listed(principal))

    async def show(self, face: Face, request: Request) -> Response:
        """Show an account."""
        principal = await self._parts.caller(request)
        async with self._engine.connect() as connection:
            account = await states.account(connection, face.rest)
        if account is None:
            raise no_user(face.rest)
        return devpi_stream(self._shown(account, principal))

    async def create(self, face: Face, request: Request) -> Response:
        """Make an account: for administrators, or for anybody where the deployment is an open devpi."""
        name, principal = face.rest, await self._parts.caller(request)
        if not (self._parts.resources.settings.is_open_devpi or self._parts.administrates(principal)):
            raise denied(f"create user {name}: only root makes accounts here")
        async with self._engine.connect() as connection:
            if await states.account(connection, name) is not None:
                raise ServiceError(ErrorKind.CONFLICT, "user already exists")
        given = json_object(await body_of(request))
        if given.get("password") is None:
            raise ServiceError(ErrorKind.INVALID, "password needs to be set")
        unknown = sorted(given.keys() - _WRITTEN - _IGNORED - {"password"})
        if unknown:
            told = ", ".join(key[:60] for key in unknown[:10])
            raise ServiceError(ErrorKind.INVALID, f"Unknown keys in user config: {told}")
        fields = {option: value for option, value in _fields(given).items() if value is not None}
        change = AccountChange(await self._parts.passwords.encoded(given["password"]), fields)
        made = await self._parts.users(principal).create(name, change)
        await self._parts.changed()
        return devpi_answer("userconfig", {**made.document(private=True), "indexes": {}}, status=201)

    async def modify(self, face: Face, request: Request) -> Response:
        """Change an account: keys that are not sent stay, and those without a value go."""
        name, principal = face.rest, await self._parts.caller(request)
        given = json_object(await body_of(request))
        async with self._engine.connect() as connection:
            if await states.account(connection, name) is None:
                raise no_user(name)
        if not self._parts.is_user(principal, name):
            what = f"change password for user {name}" if given.keys() == {"password"} else f"modify user {name}"
            raise denied(what)
        password = given.get("password")
        encoded = None if password is None else await self._parts.passwords.encoded(password)
        change = AccountChange(encoded, _fields(given))
        secret = await self._parts.users(principal).modify(name, change, keep=principal.token_id)
        await self._parts.changed()
        if secret is None:
            return devpi_answer(message="user updated")
        return devpi_answer("userpassword", login_result(secret), message="user updated, new proxy auth")

    async def delete(self, face: Face, request: Request) -> Response:
        """Remove an account with its indexes."""
        name, principal = face.rest, await self._parts.caller(request)
        if not self._parts.is_user(principal, name):
            raise denied(f"delete user {name}")
        await self._parts.users(principal).delete(name)
        await self._parts.changed()
        return devpi_answer(message=f"user {name!r} deleted")

    async def _listed(self, principal: Principal) -> AsyncIterator[bytes]:
        """Yield the document of all accounts."""
        yield b'{"type":"list:userconfig","result":{'
        after, comma = None, b""
        while True:
            async with self._engine.connect() as connection:
                accounts = await states.accounts(connection, after)
            indexes = Owned(states.indexes_of(self._engine, [account.name for account in accounts]))
            for account in accounts:
                yield comma + orjson.dumps(account.name) + b":"
                comma = b","
                async for part in self._written(account, indexes.of(account.name), principal):
                    yield part
            if len(accounts) < states.ACCOUNTS_AT_ONCE:
                break
            after = accounts[-1].name
        yield b"}}"

    async def _shown(self, account: AccountState, principal: Principal) -> AsyncIterator[bytes]:
        """Yield the document of one account."""
        yield b'{"type":"userconfig","result":'
        async for part in self._written(account, states.indexes_of(self._engine, [account.name]), principal):
            yield part
        yield b"}"

    async def _written(
        self, account: AccountState, indexes: AsyncIterator[IndexState], principal: Principal
    ) -> AsyncIterator[bytes]:
        """Yield an account with those of its indexes that the caller may read."""
        open_ = self._parts.resources.settings.is_open_devpi
        private = open_ or principal.account == account.name or self._parts.administrates(principal)
        yield orjson.dumps(account.document(private=private))[:-1] + b',"indexes":{'
        comma = b""
        async for index in indexes:
            if index.allows(principal, Verb.READ):
                yield comma + orjson.dumps(index.name.name) + b":" + orjson.dumps(index.config())
                comma = b","
        yield b"}}"


class Owned:
    """Indexes by owner, each owner's for themselves, from a reading of all that goes on once."""

    def __init__(self, indexes: AsyncIterator[IndexState]) -> None:
        self._indexes = indexes
        self._next: IndexState | None = None

    async def of(self, owner: str) -> AsyncIterator[IndexState]:
        """Yield the indexes of an owner; owners are asked for in their order."""
        state = self._next or await anext(self._indexes, None)
        while state is not None and state.name.owner == owner:
            yield state
            state = await anext(self._indexes, None)
        self._next = state


def _fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a document says of an account's own words; None for what is to go.

    Raises:
        ServiceError: INVALID.
    """
    return {option: _field(option, given[option]) or None for option in _WRITTEN & given.keys()}


def _field(option: str, value: object) -> object:
    if not value:
        return None
    try:
        if option == "custom_data":
            return checked_json(option, value)
        text = checked_text(option, value)
    except Unfit as error:
        raise ServiceError(ErrorKind.INVALID, str(error)) from error
    if option == "email" and not (len(text) <= MAX_EMAIL and text.isprintable()):
        raise ServiceError(ErrorKind.INVALID, f"'email' option has at most {MAX_EMAIL} printable characters.")
    return text
