"""Turns of heavy work."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.upload.turns import Turns
from shared.devpi import devpi_error
from shared.errors import ErrorKind, ServiceError


async def test_one_too_many_is_told_when_to_try_again() -> None:
    """As many as may work at once do; the next is refused with 503 and `Retry-After`, and has its turn afterwards."""
    turns = Turns(2, 0.001)
    async with turns.one("pushes"), turns.one("pushes"):
        with pytest.raises(ServiceError, match="Too many pushes at the same time") as refused:
            async with turns.one("pushes"):
                pytest.fail("there was no turn left")
    assert refused.value.kind is ErrorKind.UNAVAILABLE
    assert refused.value.retry_after == timedelta(seconds=10)
    answer = devpi_error(refused.value)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    async with turns.one("pushes"), turns.one("pushes"):
        pass


async def test_a_turn_ends_with_an_error() -> None:
    """Work that fails gives its turn back."""
    turns = Turns(1, 0.001)
    for _ in range(2):
        with pytest.raises(KeyError):
            async with turns.one("pushes"):
                raise KeyError
