"""The addresses of names, remembered for half a minute: one question for all who ask at the same time.

Whoever connects judges the addresses each time (`shared.outgoing`), so what is remembered opens nothing. To ask
for every request is to ask hundreds of times at once, and where a resolver drops some, each of these waits for seconds.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass

KEPT = 30.0
"""Seconds."""

_MOST = 256


@dataclass(slots=True)
class _Known:
    until: float
    asking: asyncio.Task[list[str]]
    addresses: list[str] | None = None


class Resolver:
    """Asks the system's resolver."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], _Known] = {}

    def known(self, host: str, port: int) -> list[str] | None:
        """Return the addresses of a name that are remembered, None when it must be asked for."""
        known = self._known.get((host, port))
        if known is None or known.until <= asyncio.get_running_loop().time():
            return None
        return known.addresses

    async def addresses(self, host: str, port: int) -> list[str]:
        """Return the addresses of a name, in the order in which the system prefers them.

        Raises:
            OSError: it has none, or nobody knows.
            UnicodeError: it cannot be a name.
        """
        now = asyncio.get_running_loop().time()
        known = self._known.get((host, port))
        if known is None or known.until <= now:
            if len(self._known) >= _MOST:
                self._known = {which: one for which, one in self._known.items() if one.until > now}
            known = _Known(now + KEPT, asyncio.create_task(_asked(host, port)))
            self._known[host, port] = known
        try:
            known.addresses = await asyncio.shield(known.asking)
            return known.addresses
        except (OSError, UnicodeError):
            self.forget(host, port)
            raise

    def forget(self, host: str, port: int) -> None:
        """Ask again next time: the name has no addresses, or none that answers."""
        self._known.pop((host, port), None)


async def _asked(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(where[4][0]) for where in found))
