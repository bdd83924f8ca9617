"""Work that holds up the event loop too long when there is much of it, and is done sooner on the spot when not.

To hand something to a thread and to be woken costs about 0.1 ms, and more while both cores are busy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

QUICK = 64 << 10
"""Bytes of JSON that are read, put together or written on the spot (0.3 ms; 2 ms for a page that is taken over)."""

P = ParamSpec("P")
T = TypeVar("T")


async def sized(weight: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what a function returns, called in a thread when there is much to do.

    Args:
        weight: bytes that it reads, roughly.

    Raises:
        Exception: what the function raises.
    """
    if weight <= QUICK:
        return function(*args, **kwargs)
    return await asyncio.to_thread(function, *args, **kwargs)
