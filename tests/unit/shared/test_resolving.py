"""Addresses of names, remembered for a moment."""

from __future__ import annotations

import pytest

from shared.resolving import Resolver


async def test_what_is_known_is_had_without_waiting() -> None:
    """Once it was asked for, under the same name and port, and until it is forgotten."""
    resolver = Resolver()
    assert resolver.known("127.0.0.1", 80) is None
    assert await resolver.addresses("127.0.0.1", 80) == ["127.0.0.1"]
    assert resolver.known("127.0.0.1", 80) == ["127.0.0.1"]
    assert resolver.known("127.0.0.1", 81) is None
    resolver.forget("127.0.0.1", 80)
    assert resolver.known("127.0.0.1", 80) is None


async def test_what_is_none_is_not_known() -> None:
    """A name that cannot be one is asked for again each time."""
    resolver = Resolver()
    with pytest.raises((OSError, UnicodeError)):
        await resolver.addresses("a" * 64 + ".invalid", 80)
    assert resolver.known("a" * 64 + ".invalid", 80) is None
