"""Measures processes of their own as in the real profile: what each holds idle, and a page read through the ingress."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from bench.cluster import cluster, ingress
from bench.countermark import registry_of
from bench.errors import NotMeasured
from bench.load import Target
from bench.loads import Plan, Series, run_rounds
from bench.machine import proportional_bytes
from bench.pages import CPU_LIMIT, FILES
from bench.registry import Media, Registry
from bench.report import MEGABYTES, MICROSECONDS, Figure, Row
from bench.wheels import make_wheel
from deploy.stack.services import KINDS

EACH = 120.0
"""Megabytes (10^6 bytes) that one process may hold."""

_PROJECT = "bench-ingress"

_PATIENCE = 60.0
"""Seconds until all files are listed."""


def measure_processes(seconds: float, folder: Path) -> Iterator[Row]:
    """Yield a row for each process: its proportional set size, some idle seconds on.

    Args:
        seconds: how long to leave them idle.
        folder: empty folder for the data.
    """
    with cluster(folder) as found:
        time.sleep(seconds)
        for name in KINDS:
            held = proportional_bytes([found.processes[name].pid]) / 1e6
            yield Figure(f"memory (PSS) of {name} alone on S3, idle", held, MEGABYTES).within(EACH)


def measure_ingress(plan: Plan, folder: Path, notes: list[str]) -> Iterator[Row]:
    """Yield the row about a page read through nginx: the CPU time of the one index process behind it.

    Args:
        folder: empty folder for the data.
        notes: takes a line for whatever makes the figure less certain.
    """
    with cluster(folder) as found, ingress(found, folder / "nginx") as front:
        registry = registry_of(front, found.data)
        _fill(registry)
        headers = {"Accept": Media.JSON.value}
        body = registry.page(_PROJECT, Media.JSON).body
        target = Target(registry.name, front.port, registry.page_path(_PROJECT), headers, len(body))
        label = f"page of {FILES} files, JSON, through nginx"
        series = Series(label, target, found.processes["index"], helpers=[front])
        run_rounds(plan, [series], notes)
        cpu = Figure(f"{label}: CPU each in the index service", series.cpu, MICROSECONDS)
        yield cpu.within(CPU_LIMIT)


def _fill(registry: Registry) -> None:
    """Upload the files, and return when the page lists all of them: the index service hears of each by a notice."""
    wheels = [make_wheel(_PROJECT, f"1.{number}") for number in range(FILES)]
    for wheel in wheels:
        registry.upload(wheel)
    expected = {wheel.filename for wheel in wheels}
    until = time.monotonic() + _PATIENCE
    while registry.listed(_PROJECT, Media.JSON) != expected:
        if time.monotonic() > until:
            raise NotMeasured(f"the index service does not list the {FILES} files")
        time.sleep(0.1)
