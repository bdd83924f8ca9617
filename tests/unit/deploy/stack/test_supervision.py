"""What ends is told of and started again, for as long as it takes."""

from __future__ import annotations

import asyncio

from deploy.errors import LaunchError
from deploy.stack.supervision import keep_running


class Falling:
    """A child that fell, does not start at the first try, and runs from then on."""

    pid = 7

    def __init__(self) -> None:
        self.done: list[str] = []
        self._runs = asyncio.Event()

    async def start(self) -> None:
        """Fail once."""
        self.done.append("start")
        if self.done.count("start") == 1:
            raise LaunchError("the port is taken")
        self._runs.set()

    async def wait(self) -> None:
        """Tell of the fall, then never return."""
        if self._runs.is_set():
            await asyncio.Event().wait()
        raise LaunchError("thing ended: it fell (log: /tmp/log)")

    async def stop(self) -> None:
        """Remember."""
        self.done.append("stop")


async def test_a_fall_is_told_and_made_good() -> None:
    """The end, the try that failed and the return are told, and what is left of a try is ended before the next."""
    said: list[str] = []
    child = Falling()
    keeper = asyncio.create_task(keep_running("thing", child, said.append, first_pause=0.001))
    async with asyncio.timeout(5):
        while not said or "runs again" not in said[-1]:
            await asyncio.sleep(0.001)
    keeper.cancel()
    assert child.done == ["stop", "start", "stop", "start"]
    assert [line.strip().splitlines()[0] for line in said] == [
        "!!! thing ended: it fell (log: /tmp/log)",
        "!!! thing does not start: the port is taken",
        "!!! thing runs again (process 7).",
    ]
