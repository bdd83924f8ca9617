"""Measures first and later starts of the embedded profile, and the memory it holds when idle."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from bench.countermark import countermark
from bench.machine import proportional_bytes
from bench.report import MEGABYTES, SECONDS, Figure, Row

_FIRST = 6.0
"""Seconds a first start may take until it is ready."""

_LATER = 3.0
"""Seconds a later start may take until it is ready."""

MEMORY = 250.0
"""Megabytes (10^6 bytes) that the profile may hold."""


def measure_starts(repeats: int, folder: Path) -> Iterator[Row]:
    """Yield the rows about starts: each repeat is a first start on an empty folder and a later one on the same.

    Args:
        folder: empty folder for the servers' data.
    """
    first, later = [], []
    for number in range(repeats):
        data = folder / f"data-{number}"
        with countermark(data) as server:
            first.append(server.seconds_to_ready)
        with countermark(data) as server:
            later.append(server.seconds_to_ready)
    yield Figure("first start until ready", statistics.median(first), SECONDS).within(_FIRST)
    yield Figure("later start until ready", statistics.median(later), SECONDS).within(_LATER)


def measure_memory(seconds: float, folder: Path) -> Iterator[Row]:
    """Yield the row about memory: the proportional set size of all processes, some idle seconds after a first start.

    Args:
        seconds: how long to leave it idle.
        folder: empty folder for the server's data.
    """
    with countermark(folder / "countermark") as server:
        time.sleep(seconds)
        held = proportional_bytes(server.pids()) / 1e6
    yield Figure("memory (PSS) when idle, all processes", held, MEGABYTES).within(MEMORY)
