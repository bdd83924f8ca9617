"""From a request's credentials to a principal: one verifier, used by every service.

Accepted: Basic with any user name and a token as password, Basic with a local account's name and password, Bearer
with a token. A token of a login of the devpi client is good in Basic with its account's own name alone.
Source: architecture section 11.9; contracts python-index section 1.7 and devpi section 2.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.auth.directory import Directory, TokenRecord
from shared.auth.passwords import MAX_PASSWORD, password_matches
from shared.auth.principal import NOBODY, Principal
from shared.auth.tokens import is_login_token, looks_like_token, token_sha256
from shared.clock import Clock

MAX_HEADER = 8192
"""Characters of an Authorization header; longer ones are wrong credentials."""

_REMEMBER = 60.0
"""Seconds a password that matched is remembered (by its keyed digest), so that a client's next request costs no
argon2."""

_REMEMBERED_MOST = 4096

_HASHING_AT_ONCE = 2
"""Passwords hashed at the same time: each takes 19 MiB and a core."""


_NO_TOKEN = "no-token"  # noqa: S105 - stands where a digest would; no secret hashes to it.

_TRIES = 10
"""Wrong passwords for one account per `_TRIES_WINDOW` in one process; then none is looked at until it has passed."""

_TRIES_WINDOW = 300.0
"""Seconds."""


class BadCredentials(Exception):
    """Credentials were sent and are wrong, unknown or expired. The message is for the client.

    Attributes:
        retry_after: set when there were too many wrong ones: when the next are looked at.
        login: whether it is a token of the devpi client's login that is good no more.
    """

    def __init__(self, message: str, *, retry_after: timedelta | None = None, login: bool = False) -> None:
        self.retry_after = retry_after
        self.login = login
        super().__init__(message)


class Verifier:
    """Turns Authorization headers into principals."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._matched: dict[bytes, float] = {}
        self._wrong: dict[str, tuple[int, float]] = {}
        self._hashing = asyncio.Semaphore(_HASHING_AT_ONCE)

    def quick(self, header: str | None) -> Principal | None:
        """Return the principal if memory alone can tell, None when `verify` is needed. For hot paths."""
        if header is None:
            return NOBODY
        sent = _token_in(header)
        if sent is None:
            return None
        record = self._directory.token(sent.sha256)
        now = self._clock.now()
        good = record is not None and record.expires_at > now and sent.may_be(record)
        return self._accepted(record, now) if record is not None and good else None

    async def verify(self, header: str | None) -> Principal:
        """Return who sends this Authorization header; the anonymous principal without one.

        Raises:
            BadCredentials: the header is not understood, or what it says is wrong, unknown or expired.
        """
        if header is None:
            return NOBODY
        sent = _token_in(header)
        if sent is None:
            return await self._password(header)
        record = await self._directory.find_token(sent.sha256)
        if record is None or not sent.may_be(record):
            what = "log in again" if sent.login else "make a new one"
            raise BadCredentials(f"the token is unknown or was revoked; {what}", login=sent.login)
        now = self._clock.now()
        if record.expires_at <= now:
            what = "log in again" if sent.login else "make a new one"
            raise BadCredentials(f"the token has expired; {what}", login=sent.login)
        return self._accepted(record, now)

    def _accepted(self, record: TokenRecord, now: datetime) -> Principal:
        self._directory.last_use.saw(record.id, now)
        return Principal(
            account=record.publisher or record.account,
            scopes=record.scopes,
            token_id=record.id,
            publisher=record.publisher is not None,
        )

    async def _password(self, header: str) -> Principal:
        pair = _basic(header)
        if pair is None:
            raise BadCredentials("the Authorization header is not understood; use Basic or Bearer with a token")
        user, password = pair
        if looks_like_token(password):
            # Its checksum is wrong, else it had been taken for a token: no account is asked for.
            raise BadCredentials("the token is mistyped or cut short; copy it again")
        account = await self._directory.find_account(user)
        if account is None or account.password_hash is None or len(password) > MAX_PASSWORD:
            raise BadCredentials("wrong token, user name or password")
        # The account's hash is part of the key: a changed password is a different key.
        proof = hashlib.sha256(f"{user}\0{account.password_hash}\0{password}".encode()).digest()
        if self._matched.get(proof, 0.0) < time.monotonic():
            self._count_try(user)
            async with self._hashing:
                matches = await asyncio.to_thread(password_matches, account.password_hash, password)
            if not matches:
                raise BadCredentials("wrong token, user name or password")
            if len(self._matched) >= _REMEMBERED_MOST:
                self._matched.clear()
            self._matched[proof] = time.monotonic() + _REMEMBER
            self._wrong.pop(user, None)
        return Principal(account=user)

    def _count_try(self, user: str) -> None:
        """Count a password as wrong until it is known to be right, so that many at once do not slip past.

        Only names of living accounts come here, which bounds the memory.
        """
        if self._directory.no_password is not None:
            # An open devpi has nothing to guess.
            return
        now = time.monotonic()
        tries, until = self._wrong.get(user, (0, 0.0))
        if until <= now:
            tries, until = 0, now + _TRIES_WINDOW
        if tries >= _TRIES:
            wait = timedelta(seconds=until - now)
            raise BadCredentials("too many wrong passwords for this account; wait or use a token", retry_after=wait)
        self._wrong[user] = (tries + 1, until)


@dataclass(frozen=True, slots=True)
class _Sent:
    """A token as a request carries it: its digest, whether it has the form of a login's, and the user's name beside it,
    None without one."""

    sha256: str
    login: bool
    user: str | None

    def may_be(self, record: TokenRecord) -> bool:
        """Return whether the token may be used so: a login's goes with its account's own name."""
        return not record.login or self.user == record.account


def credentials_key(header: str) -> str:
    """Return under what name the requests with this header are counted; a token is the same in every spelling."""
    sent = _token_in(header)
    return hashlib.sha256(header.encode()).hexdigest() if sent is None else sent.sha256


def _token_in(header: str) -> _Sent | None:
    """Return the token a header carries, as Bearer, `token` or as the password of Basic."""
    scheme, _, value = header.partition(" ")
    if len(header) <= MAX_HEADER and scheme.lower() in {"bearer", "token"}:
        text = value.strip()
        return _Sent(token_sha256(text) or _NO_TOKEN, is_login_token(text), None)
    pair = _basic(header)
    digest = None if pair is None else token_sha256(pair[1])
    if pair is None or digest is None:
        return None
    return _Sent(digest, is_login_token(pair[1]), pair[0])


def _basic(header: str) -> tuple[str, str] | None:
    scheme, _, value = header.partition(" ")
    if len(header) > MAX_HEADER or scheme.lower() != "basic":
        return None
    try:
        content = base64.b64decode(value.strip(), validate=True)
    except ValueError:  # Not base64, or not ASCII.
        return None
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        # As requests, and with it the devpi client and twine, writes other letters.
        text = content.decode("latin-1")
    user, colon, password = text.partition(":")
    return (user, password) if colon else None
