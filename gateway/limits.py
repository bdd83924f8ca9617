"""How often something may be tried: counters in Redis that reset by themselves. They guard logins, never reads.

Counting happens before the try and in one step, so that many tries at once do not slip past the limit.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from datetime import timedelta

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.errors import ErrorKind, ServiceError


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `most` tries of one kind per `window`, which begins with the first of them."""

    name: str
    most: int
    window: timedelta


PASSWORD_BY_ACCOUNT = Limit("password-account", 10, timedelta(minutes=5))
"""Passwords tried for one account, from wherever."""

PASSWORD_BY_ADDRESS = Limit("password-address", 30, timedelta(minutes=5))
"""Passwords tried from one address, for whatever account."""

LINK_BY_ADDRESS = Limit("link-address", 30, timedelta(minutes=5))
"""Owner links tried from one address."""

LOGIN_BY_ADDRESS = Limit("login-address", 60, timedelta(minutes=5))
"""Logins begun from one address: each keeps a little in Redis for ten minutes."""


class Limits:
    """Counts tries."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def count(self, limit: Limit, who: str) -> None:
        """Count a try of `who`.

        Raises:
            ServiceError: TOO_MANY with the time to wait, or UNAVAILABLE when tries cannot be counted.
        """
        key = _key(limit, who)
        milliseconds = int(limit.window.total_seconds() * 1000)
        try:
            async with self._redis.pipeline(transaction=True) as commands:
                commands.set(key, 0, px=milliseconds, nx=True)
                commands.incr(key)
                commands.pttl(key)
                _, tries, left = await commands.execute()
        except RedisError as error:
            raise ServiceError(
                ErrorKind.UNAVAILABLE, "Signing in is not possible at the moment. Try again shortly."
            ) from error
        if tries > limit.most:
            wait = timedelta(milliseconds=max(0, left))
            raise ServiceError(
                ErrorKind.TOO_MANY, f"Too many tries. Wait {_words(wait)} and try again.", retry_after=wait
            )

    async def forget(self, limit: Limit, who: str) -> None:
        """Start `who` from zero: a try succeeded."""
        await self._redis.delete(_key(limit, who))


def address_of(client: tuple[str, int] | None) -> str:
    """Return what a peer is counted as: an IPv4 address, an IPv6 network of 64 bits, which is what one customer has."""
    if client is None:
        return "unknown"
    try:
        address = ipaddress.ip_address(client[0])
    except ValueError:
        return client[0][:64]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Network((address, 64), strict=False).network_address)
    return str(address)


def _key(limit: Limit, who: str) -> str:
    # Hashed: `who` can be text of a stranger, of any length.
    return f"countermark:limit:{limit.name}:{hashlib.sha256(who.encode()).hexdigest()[:32]}"


def _words(wait: timedelta) -> str:
    seconds = max(1, round(wait.total_seconds()))
    return f"{seconds} seconds" if seconds < 120 else f"{seconds // 60 + 1} minutes"
