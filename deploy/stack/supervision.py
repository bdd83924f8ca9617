"""Keeps programs running: one that ends by itself is told of loudly and started again, as a cluster does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from deploy.errors import LaunchError
from deploy.stack.children import Child

Say = Callable[[str], None]

_PAUSE = 1.0
"""Seconds before a program that ended is started again; doubled while it ends at once, up to `_LONGEST`."""

_LONGEST = 30.0

_STEADY = 60.0
"""Seconds after which a program counts as running well."""


async def keep_running(name: str, child: Child, say: Say, *, first_pause: float = _PAUSE) -> None:
    """Wait for a running program to end, tell, and start it again; for ever.

    Args:
        say: tells the person at the terminal.
        first_pause: seconds before the first try to start it again.
    """
    pause, clock = first_pause, asyncio.get_running_loop().time
    while True:
        began = clock()
        try:
            await child.wait()
        except LaunchError as error:
            pause = first_pause if clock() - began > _STEADY else pause
            say(f"\n!!! {error}\n!!! {name} is started again in {pause:g} s; the others go on.\n")
        started = False
        while not started:
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST)
            started = await _started_again(name, child, say)


async def _started_again(name: str, child: Child, say: Say) -> bool:
    try:
        await child.stop()
        await child.start()
    except LaunchError as error:
        say(f"!!! {name} does not start: {error}\n")
        return False
    say(f"!!! {name} runs again (process {child.pid}).\n")
    return True
