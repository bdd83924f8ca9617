"""Whose turn it is where work is given in fair turns."""

from __future__ import annotations

from shared.asking import current_source, network_of
from shared.auth.verifier import Verifier


def caller_of(verifier: Verifier, authorization: bytes | None) -> str:
    """Return who asks: the account of a token that memory knows, else where the request comes from."""
    header = None if authorization is None else authorization.decode("latin-1")
    principal = verifier.quick(header)
    if principal is not None and principal.account is not None:
        return f"account {principal.account}"
    return source_of_request()


def source_of_request() -> str:
    """Return where the request comes from that is being answered: an address, of IPv6 a network."""
    return f"address {network_of(current_source() or 'unknown')}"
