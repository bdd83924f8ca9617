"""Logging in over devpi's API: a password in, a token for hours out.

Tries are counted as those of the people's sign-in page, and a user who is not there costs what a wrong password costs.
Source: contract devpi section 2; architecture section 11.9.
"""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.devpi import states
from gateway.devpi.user_writer import NewPassword, Proven
from gateway.limits import PASSWORD_BY_ACCOUNT, PASSWORD_BY_ADDRESS, Limits
from shared.auth.directory import Directory
from shared.auth.passwords import MAX_PASSWORD, hash_password, password_matches
from shared.errors import ErrorKind, ServiceError

_HASHING_AT_ONCE = 2
"""Passwords hashed at the same time: each takes 19 MiB and a core."""

MAX_NAME_TOLD = 64
"""Characters of a user's name that a refusal repeats."""


class Passwords:
    """Checks and makes passwords, off the event loop."""

    def __init__(self, engine: AsyncEngine, directory: Directory, limits: Limits) -> None:
        self._engine = engine
        self._directory = directory
        self._limits = limits
        self._hashing = asyncio.Semaphore(_HASHING_AT_ONCE)
        self._nobody: str | None = None

    async def proven(self, payload: dict[str, Any], address: str) -> Proven:
        """Return the account whose password a login holds.

        Args:
            address: whom the try is counted for.

        Raises:
            ServiceError: INVALID without user or password, UNAUTHENTICATED, TOO_MANY after too many tries, UNAVAILABLE
                while they cannot be counted.
        """
        user, password = payload.get("user"), payload.get("password")
        if not isinstance(user, str) or not isinstance(password, str):
            raise ServiceError(ErrorKind.INVALID, "Bad request: no user/password specified")
        await self._limits.count(PASSWORD_BY_ADDRESS, address)
        await self._limits.count(PASSWORD_BY_ACCOUNT, user)
        # Of the catalogue: the account may have been made, or its password changed, a moment ago elsewhere.
        async with self._engine.connect() as connection:
            account = await states.account(connection, user)
        encoded = None if account is None else account.password_hash or self._directory.no_password
        if not await self._matches(encoded, password):
            name = user[:MAX_NAME_TOLD].encode("ascii", "backslashreplace").decode()
            raise ServiceError(ErrorKind.UNAUTHENTICATED, f"user {name!r} could not be authenticated")
        await self._limits.forget(PASSWORD_BY_ACCOUNT, user)
        return Proven(user, None if account is None else account.password_hash)

    async def encoded(self, password: object) -> NewPassword:
        """Return what is kept of a new password; nothing of an empty one, which only an open devpi takes.

        Raises:
            ServiceError: INVALID for one that cannot be used.
        """
        if not isinstance(password, str) or len(password) > MAX_PASSWORD:
            raise ServiceError(ErrorKind.INVALID, f"a password is a text of at most {MAX_PASSWORD} characters")
        if not password and self._directory.no_password is None:
            detail = (
                "an empty password lets everybody in: choose one (a server started with --compat devpi-open takes it)"
            )
            raise ServiceError(ErrorKind.INVALID, detail)
        if not password:
            return NewPassword(None)
        async with self._hashing:
            return NewPassword(await asyncio.to_thread(hash_password, password))

    async def _matches(self, encoded: str | None, password: str) -> bool:
        async with self._hashing:
            if self._nobody is None:
                self._nobody = await asyncio.to_thread(hash_password, "no account has this password")
            matches = await asyncio.to_thread(password_matches, encoded or self._nobody, password)
        return matches and encoded is not None
