"""Sessions of people on the UI listener, and other things that are remembered for a browser or a moment, in Redis.

The browser holds a random id, Redis only its sha256: who can read Redis cannot take a session over. Emptying Redis
signs everybody out and loses nothing else (architecture section 5.3).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import Response

from shared.auth.directory import Directory
from shared.clock import Clock

ABSOLUTE = timedelta(hours=12)
"""How long a session lasts at the most."""

IDLE = timedelta(hours=1)
"""How long a session lasts without a request."""

_TOUCH = timedelta(minutes=1)
"""How old the last mark of use may be before it is written again: most requests then only read."""


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in browser.

    Attributes:
        key: the sha256 of the id the browser holds.
        csrf: what every form of this session carries.
    """

    key: str
    account: str
    csrf: str
    created_at: datetime


class OneTime:
    """Values in Redis that can be taken once: login flows, authorisation codes, used owner links."""

    def __init__(self, redis: Redis, kind: str, lifetime: timedelta) -> None:
        self._redis = redis
        self._kind = kind
        self._lifetime = lifetime

    async def put(self, value: Mapping[str, str]) -> str:
        """Keep `value` and return the secret by which it can be taken."""
        secret = secrets.token_urlsafe(32)
        await self._redis.set(self._key(secret), orjson.dumps(value), ex=int(self._lifetime.total_seconds()))
        return secret

    async def take(self, secret: str) -> dict[str, str] | None:
        """Return the value and forget it; None when it was taken, has expired or never was. One caller gets it."""
        kept = await self._redis.getdel(self._key(secret))
        return None if kept is None else {str(name): str(item) for name, item in orjson.loads(kept).items()}

    def _key(self, secret: str) -> str:
        return f"countermark:{self._kind}:{_sha256(secret)}"


class Sessions:
    """Begins, finds and ends sessions."""

    def __init__(self, redis: Redis, clock: Clock, directory: Directory) -> None:
        self._redis = redis
        self._clock = clock
        self._directory = directory

    async def begin(self, account: str) -> str:
        """Start a session and return the id for the browser."""
        session_id = secrets.token_urlsafe(32)
        now = self._clock.now().timestamp()
        kept = {
            "account": account,
            "csrf": secrets.token_urlsafe(32),
            "created": now,
            "seen": now,
            "credential": self._credential(account),
        }
        await self._redis.set(_session_key(_sha256(session_id)), orjson.dumps(kept), ex=int(IDLE.total_seconds()))
        return session_id

    async def find(self, session_id: str | None, *, touch: bool = True) -> Session | None:
        """Return the living session of a browser; None when there is none.

        It ends with its time, when the account is disabled, and when its password was changed since.

        Args:
            touch: whether this counts as a use, which keeps it from ending.
        """
        if session_id is None:
            return None
        key = _sha256(session_id)
        stored = await self._redis.get(_session_key(key))
        if stored is None:
            return None
        kept = orjson.loads(stored)
        now = self._clock.now()
        created, seen = (datetime.fromtimestamp(kept[name], UTC) for name in ("created", "seen"))
        if now >= created + ABSOLUTE or now >= seen + IDLE:
            await self.end(key)
            return None
        if not self._holds(kept):
            # Another gateway may have changed the password a moment ago, and have renewed this session.
            await self._directory.refresh()
            if not self._holds(kept):
                await self.end(key)
                return None
        if touch and now >= seen + _TOUCH:
            left = min(IDLE, created + ABSOLUTE - now)
            kept["seen"] = now.timestamp()
            # Only over what is still there: a sign-out that happens meanwhile stays one.
            await self._redis.set(_session_key(key), orjson.dumps(kept), px=_milliseconds(left), xx=True)
        return Session(key, kept["account"], kept["csrf"], created)

    async def end(self, key: str) -> None:
        """End a session."""
        await self._redis.delete(_session_key(key))

    def _holds(self, kept: Mapping[str, str]) -> bool:
        """Whether the account lives and has the password with which the session began."""
        account = kept["account"]
        return self._directory.account(account) is not None and kept["credential"] == self._credential(account)

    def _credential(self, account: str) -> str:
        """Return what changes with the account's password, and says nothing of it."""
        record = self._directory.account(account)
        return _sha256(f"session\0{record.password_hash if record else None}")[:32]


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie of this host alone: bound to TLS where there is TLS, never readable by scripts."""

    name: str
    https: bool
    lifetime: timedelta

    @property
    def full_name(self) -> str:
        """The name in headers; the prefix makes browsers refuse it from another host or over plain HTTP."""
        return f"__Host-{self.name}" if self.https else self.name

    def read(self, request: Request) -> str | None:
        """Return the cookie's value; None when there is none of a sane length."""
        value = request.cookies.get(self.full_name)
        return value if value and len(value) <= 128 else None

    def give(self, response: Response, value: str) -> None:
        """Set the cookie. Lax: the way back from another host's login is a link, and must carry it."""
        response.set_cookie(
            self.full_name,
            value,
            max_age=int(self.lifetime.total_seconds()),
            path="/",
            secure=self.https,
            httponly=True,
            samesite="lax",
        )

    def drop(self, response: Response) -> None:
        """Take the cookie back."""
        response.delete_cookie(self.full_name, path="/", secure=self.https, httponly=True, samesite="lax")


def _session_key(key: str) -> str:
    return f"countermark:session:{key}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _milliseconds(duration: timedelta) -> int:
    return max(1, int(duration.total_seconds() * 1000))
