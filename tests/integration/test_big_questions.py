"""Much that is to be verified at once: the event loop goes on, and more than a process takes is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from typing import TypeVar

import pytest

from shared.attesting.frames import MAX_QUESTION
from shared.attesting.processes import Verifying
from shared.attesting.questions import encoded
from shared.errors import ErrorKind, ServiceError

T = TypeVar("T")

_MEGABYTE = 1 << 20


async def longest_step(work: Awaitable[T]) -> tuple[T, float]:
    """Return the result, and the longest that the loop's thread was at work between two looks: seconds of processor
    time, so that what else the machine does counts for nothing."""
    longest, over = 0.0, False

    async def look() -> None:
        nonlocal longest
        last = time.thread_time()
        while not over:
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, last = max(longest, now - last), now

    looking = asyncio.create_task(look())
    await asyncio.sleep(0)
    try:
        return await work, longest
    finally:
        over = True
        await looking


async def test_the_loop_goes_on() -> None:
    """20 MB of bundles or roots are encoded, hashed and sent, and the answer read, beside everything else."""
    roots: Mapping[str, bytes] = {f"trust/{number}.trusted_root.json": b"x" * _MEGABYTE for number in range(20)}
    question = {"ask": "roots", "roots": roots}
    begun = time.thread_time()
    encoded(question)
    on_the_spot = time.thread_time() - begun
    async with Verifying() as verifying:
        await verifying.ask({"ask": "roots", "roots": {}}, "nothing", 60)
        answer, longest = await longest_step(verifying.ask(question, "twenty", 60))
    assert answer["faults"].keys() == roots.keys()
    assert longest < on_the_spot / 4


async def test_more_than_a_process_takes_is_refused() -> None:
    """No process is started for it, and the words say what to do."""
    question = {"ask": "roots", "roots": {"trusted_root.json": b"x" * (MAX_QUESTION * 3 // 4)}}
    async with Verifying() as verifying:
        with pytest.raises(ServiceError, match="fewer attestations") as refused:
            await verifying.ask(question, "everything", 60)
        assert verifying._running == 0
    assert refused.value.kind is ErrorKind.TOO_LARGE
