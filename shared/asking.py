"""Where the request comes from that is being answered, for the audit's rows: noted once, below what reads the proxies'
header, and found by whatever runs for the request, without passing it through every call.

Source: trust contract section 2.9 (who, source address).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_SOURCE: ContextVar[str | None] = ContextVar("countermark_source", default=None)

_MOST = 64
"""Characters of an address that are kept; the longest IPv6 address with a zone has fewer."""


@contextmanager
def asked_from(client: tuple[str, int] | None) -> Iterator[None]:
    """Note the peer of a request while the block runs; None keeps what is noted.

    Args:
        client: ASGI's `client` of the request.
    """
    if client is None:
        yield
        return
    token = _SOURCE.set(client[0][:_MOST])
    try:
        yield
    finally:
        _SOURCE.reset(token)


def current_source() -> str | None:
    """Return the address the request comes from that is being answered, None outside of one."""
    return _SOURCE.get()
