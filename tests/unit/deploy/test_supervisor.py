"""Running until told to stop, and which error is told."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from deploy.errors import LaunchError
from deploy.supervisor import Stopped, StopRequest, first_cause, supervised


async def test_a_signal_stops_what_is_under_way() -> None:
    """Work is cancelled by SIGTERM, and the caller learns that it was a request."""
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    async with StopRequest().listening() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped):
            await stop.unless_asked(work())
    assert cancelled.is_set()


async def test_work_that_ends_first_gives_its_result() -> None:
    """Without a signal nothing is different."""
    async with StopRequest().listening() as stop:
        assert await stop.unless_asked(asyncio.sleep(0, "result")) == "result"


async def test_work_that_fails_gives_its_error() -> None:
    """The error of the work is the caller's."""

    async def work() -> None:
        raise LaunchError("it broke")

    async with StopRequest().listening() as stop:
        with pytest.raises(LaunchError, match="it broke"):
            await stop.unless_asked(work())


async def test_background_work_ends_with_the_context() -> None:
    """Loops run until the context is left."""
    ended = asyncio.Event()

    async def loop() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with supervised() as work:
        work.run([loop])
        await asyncio.sleep(0)
    assert ended.is_set()


async def test_background_work_that_breaks_ends_the_context() -> None:
    """One error ends everything, and is the one that is told."""

    async def loop() -> None:
        raise LaunchError("Postgres ended")

    async def run() -> None:
        async with supervised() as work:
            work.run([loop])
            await asyncio.Event().wait()

    with pytest.raises(LaunchError, match="Postgres ended"):
        await run()


def test_of_several_errors_ours_is_told() -> None:
    """What says what to do is told before what followed from it."""
    group = BaseExceptionGroup("", [ValueError("a"), BaseExceptionGroup("", [LaunchError("b")])])
    assert str(first_cause(group)) == "b"
    assert str(first_cause(BaseExceptionGroup("", [ValueError("a"), KeyError("c")]))) == "a"
