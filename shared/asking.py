"""Where the request comes from that is being answered, for the audit's rows: noted once, below what reads the proxies'
header, and found by whatever runs for the request, without passing it through every call.

Source: trust contract section 2.9 (who, source address).
"""

from __future__ import annotations

import ipaddress
from contextvars import ContextVar, Token

_SOURCE: ContextVar[str | None] = ContextVar("countermark_source", default=None)

_MOST = 64
"""Characters of an address that are kept; the longest IPv6 address with a zone has fewer."""


class AskedFrom:
    """Notes the peer of a request while its block runs; None keeps what is noted.

    Args:
        client: ASGI's `client` of the request.
    """

    # A class, as each request passes here: a generator for a block costs three times as much.
    __slots__ = ("_source", "_token")

    def __init__(self, client: tuple[str, int] | None) -> None:
        self._source = current_source() if client is None else client[0][:_MOST]
        self._token: Token[str | None] | None = None

    def __enter__(self) -> None:
        self._token = _SOURCE.set(self._source)

    def __exit__(self, *_exc: object) -> None:
        if self._token is not None:
            _SOURCE.reset(self._token)


def current_source() -> str | None:
    """Return the address the request comes from that is being answered, None outside of one."""
    return _SOURCE.get()


def network_of(address: str) -> str:
    """Return what an address is counted as: an IPv4 address, an IPv6 network of 64 bits, which is what one customer
    has; a text that is neither, cut short."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:_MOST]
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.IPv6Network((found, 64), strict=False).network_address)
    return str(found)
