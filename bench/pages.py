"""Measures the warm project page of 100 files: requests per second and CPU time per request, in interleaved rounds."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.countermark import countermark, registry_of
from bench.devpi import devpi
from bench.errors import NotMeasured
from bench.load import Generator, Target
from bench.machine import Cores, busy_seconds, cpu_seconds, pin, proportional_bytes
from bench.nginx import nginx, path_of
from bench.registry import Media, Registry
from bench.report import MEGABYTES, MICROSECONDS, RATE, Figure, Row
from bench.running import Running
from bench.starts import MEMORY
from bench.wheels import make_wheel

FILES = 100
"""Files of the measured project."""

_PROJECT = "bench-pages"

_MORE_THAN_DEVPI = 50.0
"""How many times devpi-server's requests per second are wanted."""

_CPU_LIMIT = 60.0
"""Microseconds of CPU a request may cost."""

_WARM_UP = 1
"""Seconds of load before the first round, for each server and form."""

_QUIET = 0.1
"""Part of one core that other programs may use during a load that counts as undisturbed."""

_PATIENCE = 3
"""How many times the planned rounds are run at most, to find undisturbed ones."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How the page is measured: `devpi` and `nginx` are where these programs are, `seconds` are those of one round."""

    generator: Generator
    cores: Cores
    devpi: Path
    nginx: str | None
    rounds: int
    seconds: int


@dataclass(frozen=True, slots=True)
class _Sample:
    """One load: requests per second, microseconds of CPU each, and the part of a core that other programs used."""

    rate: float
    cpu: float
    foreign: float


@dataclass(slots=True)
class _Series:
    """What the loads of one server and one form gave."""

    target: Target
    server: Running
    samples: list[_Sample] = field(default_factory=list)

    def run(self, plan: Plan, seconds: int) -> _Sample:
        """Load the server once; counted is the CPU time of its whole process tree."""
        pids = self.server.pids()
        busy, used, own = busy_seconds(), cpu_seconds(pids), cpu_seconds([os.getpid()])
        burst = plan.generator.run(self.target, seconds, plan.cores.load)
        used = cpu_seconds(pids) - used
        foreign = busy_seconds() - busy - used - (cpu_seconds([os.getpid()]) - own)
        return _Sample(burst.rate, used / burst.requests * 1e6, foreign / burst.seconds)

    @property
    def quiet(self) -> list[_Sample]:
        """The undisturbed samples."""
        return [sample for sample in self.samples if sample.foreign <= _QUIET]

    def median(self, quantity: Callable[[_Sample], float]) -> float:
        """Return the median over the undisturbed samples, over all where there are none."""
        return statistics.median(quantity(sample) for sample in self.quiet or self.samples)


def measure_pages(plan: Plan, folder: Path, notes: list[str]) -> Iterator[Row]:
    """Yield the rows about the page, and what memory Countermark holds after the load.

    Args:
        folder: empty folder for the servers' data.
        notes: takes a line for whatever makes the figures less certain.
    """
    with ExitStack() as stack:
        data = folder / "countermark"
        ours = registry_of(stack.enter_context(countermark(data)), data)
        theirs = stack.enter_context(devpi(plan.devpi, folder))
        for registry in (ours, theirs):
            _fill(registry)
        series = _series(plan, ours, theirs, stack, folder)
        _run(plan, series, notes)
        notes.append(f"kilobytes of the page: {_sizes(series)}")
        for media in Media:
            yield from _rows(series, media)
        memory = proportional_bytes(ours.server.pids()) / 1e6
    yield Figure("memory (PSS) after the load on the page", memory, MEGABYTES).within(MEMORY)


def _fill(registry: Registry) -> None:
    """Upload the files, and make sure that both forms of the page list all of them."""
    wheels = [make_wheel(_PROJECT, f"1.{number}") for number in range(FILES)]
    for wheel in wheels:
        registry.upload(wheel)
    expected = {wheel.filename for wheel in wheels}
    for media in Media:
        if registry.listed(_PROJECT, media) != expected:
            raise NotMeasured(f"{registry.name} does not list the {FILES} files in {media.name}")


def _series(plan: Plan, ours: Registry, theirs: Registry, stack: ExitStack, folder: Path) -> list[_Series]:
    """Return a series for each server and form; nginx serves the bytes that Countermark rendered."""
    series, bodies = [], {}
    for media in Media:
        for registry in (ours, theirs):
            body = registry.page(_PROJECT, media).body
            target = Target(registry.name, registry.server.port, registry.page_path(_PROJECT), media.value, body)
            series.append(_Series(target, registry.server))
            if registry is ours:
                bodies[media] = body
    if plan.nginx is not None:
        server = stack.enter_context(nginx(plan.nginx, folder, bodies))
        for media, body in bodies.items():
            series.append(_Series(Target("nginx", server.port, path_of(media), media.value, body), server))
    for one in series:
        pin(one.server.pids(), {plan.cores.server})
    return series


def _run(plan: Plan, series: list[_Series], notes: list[str]) -> None:
    """Run rounds until each server and form has as many undisturbed loads as planned, or the patience is over.

    In a round every server has its turn, so that a slow minute of the machine hits all alike.
    """
    for one in series:
        one.run(plan, _WARM_UP)
    for number in range(plan.rounds * _PATIENCE):
        turn = number % len(series)
        for one in series[turn:] + series[:turn]:
            one.samples.append(one.run(plan, plan.seconds))
        if min(len(one.quiet) for one in series) >= plan.rounds:
            return
    foreign = statistics.mean(sample.foreign for one in series for sample in one.samples)
    fewest = min(len(one.quiet) for one in series)
    notes.append(
        f"the machine is not quiet: other programs used {foreign:.0%} of one core, and at worst {fewest} of "
        f"{plan.rounds} planned loads of a server were undisturbed; fast servers suffer most, so measure again"
    )


def _rows(series: list[_Series], media: Media) -> Iterator[Row]:
    by_name = {one.target.name: one for one in series if one.target.accept == media.value}
    ours = by_name.pop("Countermark")
    page = f"page of {FILES} files, {media.name}"
    rate = Figure(page, ours.median(_rate), RATE)
    cpu = Figure(f"{page}: CPU each", ours.median(_cpu), MICROSECONDS)
    for name, peer in by_name.items():
        at_least = _MORE_THAN_DEVPI if name == "devpi-server" else None
        yield rate.beside(name, peer.median(_rate), at_least=at_least)
    yield cpu.within(_CPU_LIMIT)
    for name, peer in by_name.items():
        yield cpu.beside(name, peer.median(_cpu))


def _sizes(series: list[_Series]) -> str:
    sizes = {one.target.name: [len(each.target.body) for each in series if each.server is one.server] for one in series}
    forms = " and ".join(media.name for media in Media)
    return f"{forms}: " + ", ".join(
        f"{name} " + " and ".join(f"{size / 1e3:.1f}" for size in of) for name, of in sizes.items()
    )


def _rate(sample: _Sample) -> float:
    return sample.rate


def _cpu(sample: _Sample) -> float:
    return sample.cpu
