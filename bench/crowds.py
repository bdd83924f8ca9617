"""Measures small uploads that come at the same time: how many are answered, signed and visible, in a second."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.countermark import countermark, registry_of
from bench.crowd import Crowd, upload_at_once
from bench.devpi import devpi
from bench.errors import NotMeasured
from bench.proof import Proof
from bench.pypiserver import pypiserver
from bench.registry import Media, Registry
from bench.report import MILLISECONDS, UPLOADS, Figure, Row
from bench.wheels import Wheel, make_wheel

_CROWDS = {8: 1.0, 64: 3.0}
"""Uploads at the same time -> how many times devpi-server's rate is wanted."""

_LATENCY = 1 / 3
"""Which part of devpi-server's 99th percentile an upload among eight may take."""

_ROUNDS = 2
"""Rounds in which every server has its turn; the first one warms up."""

Found = dict[str, list[Crowd]]


def measure_crowds(uploads: int, programs: Path, folder: Path) -> Iterator[Row]:
    """Yield the rows about uploads at the same time; each line uploads versions of a project of its own.

    Args:
        uploads: to each server in each round, shared out among the lines.
        programs: the peers' folder of programs.
        folder: empty folder for the servers' data.
    """
    with ExitStack() as stack:
        data = folder / "countermark"
        ours = registry_of(stack.enter_context(countermark(data)), data)
        theirs = (stack.enter_context(devpi(programs, folder)), stack.enter_context(pypiserver(programs, folder)))
        (folder / "tuf").mkdir()
        proof = Proof(ours, folder / "tuf")
        for size in _CROWDS:
            found: Found = {registry.name: [] for registry in (ours, *theirs)}
            for number in range(1 + _ROUNDS):
                lines = _lines(size, max(1, uploads // size), number)
                for registry in (ours, *theirs):
                    crowd = upload_at_once(registry, lines)
                    _check(registry, lines)
                    if number:
                        found[registry.name].append(crowd)
                for line in lines[:: max(1, size // 4)]:
                    proof.check(line[-1])
            yield from _rows(size, found)


def _lines(size: int, length: int, number: int) -> list[list[Wheel]]:
    return [
        [make_wheel(f"bench-crowd-{size}-{line}", f"{number}.{version}") for version in range(length)]
        for line in range(size)
    ]


def _check(registry: Registry, lines: Sequence[Sequence[Wheel]]) -> None:
    """Return if all that was answered is listed at once."""
    media = Media.HTML if registry.name == "pypiserver" else Media.JSON
    for line in lines:
        missing = {wheel.filename for wheel in line} - registry.listed(line[0].project, media)
        if missing:
            raise NotMeasured(f"{registry.name} answered before its page listed {min(missing)}")


def _rows(size: int, found: Found) -> Iterator[Row]:
    ours, devpis, simple = found.values()
    rate = Figure(f"uploads, {size} at once, signed and visible", _rate(ours), UPLOADS)
    yield rate.beside("devpi-server (signs nothing)", _rate(devpis), at_least=_CROWDS[size])
    yield rate.beside("pypiserver (keeps files only)", _rate(simple))
    slow = Figure(f"uploads, {size} at once: p99", _p99(ours), MILLISECONDS)
    at_most = _LATENCY if size == min(_CROWDS) else None
    yield slow.beside("devpi-server (signs nothing)", _p99(devpis), at_most=at_most)
    yield slow.beside("pypiserver (keeps files only)", _p99(simple))


def _rate(crowds: Sequence[Crowd]) -> float:
    return statistics.median(crowd.rate for crowd in crowds)


def _p99(crowds: Sequence[Crowd]) -> float:
    """Return the 99th percentile over all rounds: one round has too few uploads to have one."""
    times = [taken for crowd in crowds for taken in crowd.milliseconds]
    return statistics.quantiles(times, n=100, method="inclusive")[98]
