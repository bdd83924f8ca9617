"""Measures one upload after the other: how long until the answer, at which the file must be signed and visible."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from bench.countermark import countermark, registry_of
from bench.devpi import devpi
from bench.errors import NotMeasured
from bench.proof import Proof
from bench.registry import Media, Registry
from bench.report import MILLISECONDS, Figure, Row
from bench.wheels import Wheel, make_wheel

_PROJECT = "bench-uploads"

_WARM_UP = 3
"""Uploads before the first measured one."""

_LIMIT = 150.0
"""Milliseconds the median upload may take."""


def measure_uploads(count: int, programs: Path, folder: Path) -> Iterator[Row]:
    """Yield the rows about uploads; both servers take the same wheels in turn, on all cores.

    Args:
        count: measured uploads to each server.
        programs: devpi-server's folder of programs.
        folder: empty folder for the servers' data.
    """
    data = folder / "countermark"
    with countermark(data) as server, devpi(programs, folder) as theirs:
        ours = registry_of(server, data)
        (folder / "tuf").mkdir()
        proof = Proof(ours, folder / "tuf")
        our_times, their_times = [], []
        for number in range(_WARM_UP + count):
            wheel = make_wheel(_PROJECT, f"1.{number}")
            our_times.append(_upload(ours, wheel))
            proof.check(wheel)
            their_times.append(_upload(theirs, wheel))
    yield from _rows(our_times[_WARM_UP:], their_times[_WARM_UP:])


def _upload(registry: Registry, wheel: Wheel) -> float:
    """Return the milliseconds until the answer, after which the page must list the file at once."""
    begun = time.perf_counter()
    registry.upload(wheel)
    taken = (time.perf_counter() - begun) * 1e3
    if wheel.filename not in registry.listed(wheel.project, Media.JSON):
        raise NotMeasured(f"{registry.name} answered the upload of {wheel.filename} before its page listed it")
    return taken


def _rows(ours: list[float], theirs: list[float]) -> Iterator[Row]:
    median = Figure("upload, signed and visible: p50", statistics.median(ours), MILLISECONDS)
    yield median.within(_LIMIT)
    yield median.beside("devpi-server (signs nothing)", statistics.median(theirs))
    slow = Figure("upload, signed and visible: p95", _p95(ours), MILLISECONDS)
    yield slow.beside("devpi-server (signs nothing)", _p95(theirs))


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20, method="inclusive")[18]
