"""Loads servers with reads in interleaved rounds, and keeps what was undisturbed."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.load import Burst, Generator, Target
from bench.machine import Cores, busy_seconds, cpu_seconds, pin
from bench.running import Running

_WARM_UP = 1
"""Seconds of load before the first round, for each server and form."""

_QUIET = 0.1
"""Part of one core that other programs may use during a load that counts as undisturbed."""

_PATIENCE = 3
"""How many times the planned rounds are run at most, to find undisturbed ones."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How reads are measured: `programs` holds the peers, `nginx` is where it is, `seconds` are those of one load."""

    generator: Generator
    cores: Cores
    programs: Path
    nginx: str | None
    rounds: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One load, the microseconds of CPU of each request, and the part of a core that other programs used."""

    burst: Burst
    cpu: float
    foreign: float


@dataclass(slots=True)
class Series:
    """What the loads of one server with one request gave.

    Attributes:
        label: says which request.
        helpers: what works for the server, in front of it; its CPU time is neither the server's nor foreign.
    """

    label: str
    target: Target
    server: Running
    samples: list[Sample] = field(default_factory=list)
    helpers: Sequence[Running] = ()

    def run(self, plan: Plan, seconds: int) -> Sample:
        """Load the server once; counted is the CPU time of its whole process tree."""
        pids = self.server.pids()
        beside = [os.getpid(), *(pid for helper in self.helpers for pid in helper.pids())]
        busy, used, own = busy_seconds(), cpu_seconds(pids), cpu_seconds(beside)
        burst = plan.generator.run(self.target, seconds, plan.cores.load)
        used = cpu_seconds(pids) - used
        foreign = busy_seconds() - busy - used - (cpu_seconds(beside) - own)
        return Sample(burst, used / burst.requests * 1e6, foreign / burst.seconds)

    @property
    def quiet(self) -> list[Sample]:
        """The undisturbed samples."""
        return [sample for sample in self.samples if sample.foreign <= _QUIET]

    def median(self, quantity: Callable[[Sample], float]) -> float:
        """Return the median over the undisturbed samples, over all where there are none."""
        return statistics.median(quantity(sample) for sample in self.quiet or self.samples)

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.median(lambda sample: sample.burst.rate)

    @property
    def cpu(self) -> float:
        """Microseconds of CPU that a request costs."""
        return self.median(lambda sample: sample.cpu)

    @property
    def megabytes(self) -> float:
        """Megabytes per second."""
        return self.median(lambda sample: sample.burst.megabytes)


def run_rounds(plan: Plan, series: Sequence[Series], notes: list[str]) -> None:
    """Run rounds until each series has as many undisturbed loads as planned, or the patience is over.

    In a round every server has its turn, so that a slow minute of the machine hits all alike. Meanwhile the servers are
    pinned to their core.

    Args:
        notes: takes a line when the machine was not quiet.
    """
    for one in series:
        pin(one.server.pids(), {plan.cores.server})
    try:
        _run_rounds(plan, series, notes)
    finally:
        for one in series:
            pin(one.server.pids(), os.sched_getaffinity(0))


def _run_rounds(plan: Plan, series: Sequence[Series], notes: list[str]) -> None:
    for one in series:
        one.run(plan, _WARM_UP)
    for number in range(plan.rounds * _PATIENCE):
        turn = number % len(series)
        for one in (*series[turn:], *series[:turn]):
            if len(one.quiet) < plan.rounds:
                one.samples.append(one.run(plan, plan.seconds))
        if min(len(one.quiet) for one in series) >= plan.rounds:
            return
    foreign = statistics.mean(sample.foreign for one in series for sample in one.samples)
    fewest = min(len(one.quiet) for one in series)
    notes.append(
        f"{series[0].label}: the machine is not quiet: other programs used {foreign:.0%} of one core, and at worst "
        f"{fewest} of {plan.rounds} planned loads of a server were undisturbed; fast servers suffer most, so measure "
        "again"
    )


def of(series: Sequence[Series], label: str, name: str) -> Series | None:
    """Return the series of a request to a server, None when that server has none."""
    return next((one for one in series if (one.label, one.target.name) == (label, name)), None)
