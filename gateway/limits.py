"""How often something may be tried: fixed windows counted in Redis, by the library `limits`. Reads have none.

Counting happens before the try and in one step, so that many tries at once do not slip past the limit. While Redis
cannot be reached nobody signs in, and writes go on uncounted: an upload does not depend on Redis otherwise either.
Source: architecture section 11.9; contract python-index section 6.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from datetime import timedelta

import structlog
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.asking import network_of
from shared.errors import ErrorKind, ServiceError
from shared.limit_settings import RateLimits

log = structlog.get_logger()

_TIMEOUT = 2.0
"""Seconds that counting may take before Redis counts as away."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so many tries of one kind per `window`, which begins with the first of them.

    Attributes:
        name: what the counters are called.
        setting: which of the settings says how many.
        closed: whether a try is refused when it cannot be counted.
    """

    name: str
    setting: str
    window: timedelta
    closed: bool = True

    def most(self, settings: RateLimits) -> int:
        """Return how many tries a window has; 0 for no limit."""
        return int(getattr(settings, self.setting))


PASSWORD_BY_ACCOUNT = Limit("password-account", "passwords_by_account", timedelta(minutes=5))
"""Passwords tried for one account, from wherever."""

PASSWORD_BY_ADDRESS = Limit("password-address", "passwords_by_address", timedelta(minutes=5))
"""Passwords tried from one address, for whatever account."""

LINK_BY_ADDRESS = Limit("link-address", "passwords_by_address", timedelta(minutes=5))
"""Owner links tried from one address."""

LOGIN_BY_ADDRESS = Limit("login-address", "logins_by_address", timedelta(minutes=5))
"""Logins begun from one address: each keeps a little in Redis for ten minutes."""

MINT_BY_ADDRESS = Limit("mint-address", "mints_by_address", timedelta(minutes=5))
"""Identity tokens of CI jobs that one address exchanges, or tries to."""

WRITE_BY_ADDRESS = Limit("write-address", "writes_by_address", timedelta(minutes=1), closed=False)
"""Uploads and changes from one address, with whatever credentials."""

WRITE_BY_TOKEN = Limit("write-token", "writes_by_token", timedelta(minutes=1), closed=False)
"""Uploads and changes with one token, from wherever."""


class Limits:
    """Counts tries."""

    def __init__(self, redis: Redis, settings: RateLimits) -> None:
        self._settings = settings
        # The pool of the process is used, so that no further connections are opened.
        storage = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix="countermark:limit",
            connection_pool=redis.connection_pool,  # type: ignore[arg-type]
        )
        self._limiter = FixedWindowRateLimiter(storage)

    async def count(self, limit: Limit, who: str) -> None:
        """Count a try of `who`.

        Raises:
            ServiceError: TOO_MANY with the time to wait, or UNAVAILABLE when tries of a closed limit cannot be counted.
        """
        item = self._item(limit)
        if item is None:
            return
        try:
            async with asyncio.timeout(_TIMEOUT):
                if await self._limiter.hit(item, _key(who)):
                    return
                ends = (await self._limiter.get_window_stats(item, _key(who))).reset_time
        except (RedisError, TimeoutError) as error:
            if not limit.closed:
                log.warning("limit_not_counted", limit=limit.name, error=type(error).__name__)
                return
            raise ServiceError(
                ErrorKind.UNAVAILABLE, "Signing in is not possible at the moment. Try again shortly."
            ) from error
        wait = timedelta(seconds=max(0.0, ends - time.time()))
        raise ServiceError(ErrorKind.TOO_MANY, f"Too many tries. Wait {_words(wait)} and try again.", retry_after=wait)

    async def forget(self, limit: Limit, who: str) -> None:
        """Start `who` from zero: a try succeeded."""
        item = self._item(limit)
        if item is not None:
            await self._limiter.clear(item, _key(who))

    def _item(self, limit: Limit) -> RateLimitItem | None:
        most = limit.most(self._settings)
        seconds = int(limit.window.total_seconds())
        return RateLimitItemPerSecond(most, seconds, namespace=limit.name) if most else None


def address_of(client: tuple[str, int] | None) -> str:
    """Return what a peer is counted as: an address, or the network of one; see `network_of`."""
    return "unknown" if client is None else network_of(client[0])


def _key(who: str) -> str:
    # Hashed: `who` can be text of a stranger, of any length.
    return hashlib.sha256(who.encode(errors="replace")).hexdigest()[:32]


def _words(wait: timedelta) -> str:
    seconds = max(1, round(wait.total_seconds()))
    return f"{seconds} seconds" if seconds < 120 else f"{seconds // 60 + 1} minutes"
