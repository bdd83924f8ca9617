"""Waiting for what comes a moment later: on a busy machine, or at a replica that has not heard of it yet."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(what: str, found: Callable[[], T], seconds: float = 60.0) -> T:
    """Return what calling `found` gives as soon as that is true; fails after some seconds, naming what did not come."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)
    return value
