"""Memory for bodies: lent, bounded, and used again only when nobody can be using it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from shared.objects.s3_buffers import BODIES, PART, Buffers, made


@pytest.mark.parametrize("length", [0, 1, 1000])
def test_lengths(length: int) -> None:
    """A buffer has exactly the length that was asked for."""
    assert len(made(length).getbuffer()) == length


async def test_used_again() -> None:
    """A buffer of a part's length comes back into use, but not one whose use failed, nor one of another length."""
    buffers = Buffers()
    async with buffers.lend(PART) as first:
        pass
    async with buffers.lend(10) as other:
        assert len(other.getbuffer()) == 10
    with pytest.raises(ZeroDivisionError):
        async with buffers.lend(PART) as again:
            raise ZeroDivisionError
    assert again is first
    async with buffers.lend(PART) as new:
        assert new is not first


async def test_bound() -> None:
    """Who asks for more than there is waits until one is given back."""
    buffers = Buffers()
    async with AsyncExitStack() as stack:
        for _ in range(BODIES):
            await stack.enter_async_context(buffers.lend(1))
        waiting = asyncio.ensure_future(length_of_one(buffers))
        await asyncio.sleep(0)
        assert not waiting.done()
    assert await waiting == 1


async def length_of_one(buffers: Buffers) -> int:
    """Return the length of a buffer as soon as there is one."""
    async with buffers.lend(1) as buffer:
        return len(buffer.getbuffer())
