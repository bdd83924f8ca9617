"""Measures what becomes of publishing and reading when the whole catalogue grows.

Each size is a deployment of its own, filled by `bench.fill` with ten files a project and with the count of bins that
trust contract section 1.5 advises; all run at the same time, and their uploads come in turn. So the rows say what the
catalogue's size costs, and what a slow minute of the machine costs hits all sizes alike.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.countermark import countermark, registry_of
from bench.crowd import upload_at_once
from bench.delays import waits
from bench.errors import NotMeasured
from bench.machine import cpu_seconds, resident_bytes
from bench.registry import Media, Registry
from bench.report import BYTES, MEGABYTES, MICROSECONDS, MILLISECONDS, SECONDS, Figure, Row
from bench.wheels import Wheel, make_wheel
from bench.wire import CountingClient

_BITS = ((20_000, 8), (300_000, 10))
"""Up to how many files how many bins are right, as a power of two; above, 12. Source: trust contract section 1.5."""

_PROJECT_FILES = 10
"""Files of each project."""

_WHOLE = 100
"""Projects of each deployment whose objects are all there; uploads go to one after the other of them."""

_WARM_UP = 3
"""Rounds before the first measured one."""

_GROWTH = 1.3
"""How many times the time of a publication may be that of the smallest catalogue."""

_FRESH = 200_000
"""Bytes of metadata that a fresh client may fetch for one file."""

_ALONE, _CROWD = 1_000.0, 10.0
"""95th percentiles until a file is visible: milliseconds from sending it alone; seconds from when it was received, of a
crowd."""

_PATIENCE = 120.0
"""Seconds to wait until all uploads of a crowd are visible."""

_READS = 100
"""Pages read a second time."""

_QUIET = 1.5
"""Seconds without a line in a server's log after which it has nothing left to do."""

_SIGNED = re.compile(r"kind=publish_index ms=([0-9.]+) outcome=done")


@dataclass(slots=True)
class Catalogue:
    """One deployment of a size, with what was measured of it."""

    files: int
    registry: Registry
    log: Path
    tuf: Path
    uploads: list[float] = field(default_factory=list)
    newcomers: list[float] = field(default_factory=list)
    signing: list[float] = field(default_factory=list)
    server_cpu: float = 0.0
    database_cpu: float = 0.0

    @property
    def label(self) -> str:
        """The size in words."""
        return f"{self.files:,} files"

    def project(self, number: int) -> str:
        """Return a project whose objects are all there."""
        return f"synthetic-{number % _WHOLE * whole_every(self.files):07}"

    def cpu(self) -> tuple[float, float]:
        """Return the seconds of CPU of the server process, and of its Postgres and Valkey."""
        own = self.registry.server.pid
        return cpu_seconds([own]), cpu_seconds([pid for pid in self.registry.server.pids() if pid != own])

    def memory(self) -> float:
        """Return the most megabytes the server process, which signs, ever held."""
        pid = self.registry.server.pid
        return resident_bytes([pid], "VmHWM")[pid] / 1e6

    def settle(self) -> None:
        """Wait until the server has nothing left to do."""
        length, since = -1, time.monotonic()
        while time.monotonic() - since < _QUIET:
            now = self.log.stat().st_size
            if now != length:
                length, since = now, time.monotonic()
            time.sleep(0.1)


def whole_every(files: int) -> int:
    """Return which projects are whole, so that there are as many in every size."""
    return max(1, files // _PROJECT_FILES // _WHOLE)


def bin_bits(files: int) -> int:
    """Return the count of bins for a size, as a power of two."""
    return next((bits for most, bits in _BITS if files <= most), 12)


def measure_scale(sizes: Sequence[int], rounds: int, crowd: int, folder: Path, kept: Path | None) -> Iterator[Row]:
    """Yield the rows about the growth of the catalogue.

    Args:
        sizes: files of each deployment, the smallest first; at least 1,000 each.
        rounds: measured uploads to each.
        crowd: uploads that are sent at once.
        folder: empty folder.
        kept: folder of filled deployments to use, and to leave filled ones in; None: they are made in `folder`.
    """
    if len(sizes) < 2 or min(sizes) < _WHOLE * _PROJECT_FILES:
        raise NotMeasured(f"scale needs two sizes or more, each of {_WHOLE * _PROJECT_FILES:,} files at the least")
    with ExitStack() as stack:
        found = [_opened(stack, files, kept or folder, folder) for files in sorted(sizes)]
        _upload_in_turn(found, rounds)
        yield from _publishing(found, rounds)
        yield from _fetching(found)
        yield from _reading(found)
        yield from _crowds(found, crowd)
        yield from _memory(found)


def _opened(stack: ExitStack, files: int, place: Path, folder: Path) -> Catalogue:
    """Run the deployment of a size, and fill it if it is new."""
    place.mkdir(parents=True, exist_ok=True)
    data, full = place / f"scale-{files}", place / f"scale-{files}.filled"
    server = stack.enter_context(countermark(data, "--set", f"signing.bin_bits={bin_bits(files)}"))
    registry = registry_of(server, data)
    if not full.exists():
        sizes = {"--files": files, "--projects": files // _PROJECT_FILES, "--whole-every": whole_every(files)}
        options = [text for name, value in sizes.items() for text in (name, str(value))]
        argv = (sys.executable, "-m", "bench.fill", registry.index.strip("/"), "--data", str(data), *options)
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotMeasured(f"{files:,} files cannot be filled in: {done.stderr.strip()[-400:]}")
        full.touch()
        print(f"bench: {done.stdout.strip()}", file=sys.stderr, flush=True)
    tuf = folder / f"tuf-{files}"
    tuf.mkdir()
    catalogue = Catalogue(files, registry, data.with_name(f"{data.name}.log"), tuf)
    catalogue.settle()
    return catalogue


def _upload_in_turn(found: Sequence[Catalogue], rounds: int) -> None:
    stamp = int(time.time())
    before: dict[int, tuple[float, float]] = {}
    for number in range(_WARM_UP + rounds):
        for catalogue in (*found[number % len(found) :], *found[: number % len(found)]):
            if number == _WARM_UP:
                catalogue.settle()
                before[catalogue.files] = catalogue.cpu()
            offset = catalogue.log.stat().st_size
            # A version of its own in every run, since a deployment may be used again.
            wheel = make_wheel(catalogue.project(number), f"2.{stamp}.{number}")
            taken = _upload(catalogue, wheel)
            if number >= _WARM_UP:
                catalogue.uploads.append(taken)
                catalogue.signing.append(_signing(catalogue, offset))
            taken = _upload(catalogue, make_wheel(f"newcomer-{stamp}-{number}", "1.0"))
            if number >= _WARM_UP:
                catalogue.newcomers.append(taken)
    for catalogue in found:
        catalogue.settle()
        (server, database), (server_before, database_before) = catalogue.cpu(), before[catalogue.files]
        # Each round has two uploads.
        catalogue.server_cpu = (server - server_before) / rounds / 2 * 1e3
        catalogue.database_cpu = (database - database_before) / rounds / 2 * 1e3


def _upload(catalogue: Catalogue, wheel: Wheel) -> float:
    """Return the milliseconds until the answer, at which the page must list the file."""
    begun = time.perf_counter()
    catalogue.registry.upload(wheel)
    taken = (time.perf_counter() - begun) * 1e3
    if wheel.filename not in catalogue.registry.listed(wheel.project, Media.JSON):
        raise NotMeasured(f"the upload of {wheel.filename} was answered before its page listed it")
    return taken


def _signing(catalogue: Catalogue, offset: int) -> float:
    """Return the milliseconds that the publication took, by the server's own log."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with catalogue.log.open("rb") as log:
            log.seek(offset)
            match = _SIGNED.search(re.sub(r"\x1b\[[0-9;]*m", "", log.read().decode(errors="replace")))
        if match is not None:
            return float(match[1])
        time.sleep(0.02)
    raise NotMeasured(f"the log of {catalogue.label} does not tell of the publication")


def _publishing(found: Sequence[Catalogue], rounds: int) -> Iterator[Row]:
    small = found[0]
    for one in found[1:]:
        for what, value, base, limit in (
            ("upload, signed and visible: p50", _median(one.uploads), _median(small.uploads), _GROWTH),
            ("upload to a new project: p50", _median(one.newcomers), _median(small.newcomers), _GROWTH),
            ("publication alone: p50", _median(one.signing), _median(small.signing), _GROWTH),
            ("upload: CPU of the server, laying included", one.server_cpu, small.server_cpu, None),
            ("upload: CPU of the database", one.database_cpu, small.database_cpu, None),
        ):
            yield Figure(f"{one.label}: {what}", value, MILLISECONDS).beside(small.label, base, at_most=limit)
    for one in found:
        p95 = statistics.quantiles(one.uploads, n=20, method="inclusive")[18]
        yield Figure(f"{one.label}: upload until visible, p95 of {rounds}", p95, MILLISECONDS).within(_ALONE)


def _fetching(found: Sequence[Catalogue]) -> Iterator[Row]:
    """Say what clients fetch: a fresh one for one file, and a warm one for another file after a publication."""
    for one in found:
        client = CountingClient(one.registry, one.tuf)
        fresh = client.bytes_for(_pointer(one, 50))
        yield Figure(f"{one.label}: a fresh client for one file, gzip", fresh, BYTES).within(_FRESH)
        one.registry.upload(make_wheel(one.project(51), f"3.{int(time.time())}"))
        warm = client.bytes_for(_pointer(one, 52))
        yield Figure(f"{one.label}: a warm client for another, after a publication", warm, BYTES).within(_FRESH)


def _pointer(catalogue: Catalogue, number: int) -> str:
    project = catalogue.project(number)
    return f"pointers/{project}/{project.replace('-', '_')}-1.0-py3-none-any.whl.pointer"


def _reading(found: Sequence[Catalogue]) -> Iterator[Row]:
    """Say how long a page takes that was not read yet, and one that was, and what the latter costs."""
    cold: dict[int, list[float]] = {one.files: [] for one in found}
    warm: dict[int, list[float]] = {one.files: [] for one in found}
    for number in range(60, 90):
        for one in found:
            cold[one.files].append(_page(one, number))
    cpu = {one.files: one.cpu()[0] for one in found}
    for number in range(_READS):
        for one in found:
            warm[one.files].append(_page(one, 60 + number % 30))
    used = {one.files: (one.cpu()[0] - cpu[one.files]) / _READS * 1e6 for one in found}
    small = found[0]
    for one in found[1:]:
        for what, times in (("first read", cold), ("read again", warm)):
            figure = Figure(f"{one.label}: page {what}, p50", _median(times[one.files]), MILLISECONDS)
            yield figure.beside(small.label, _median(times[small.files]))
        figure = Figure(f"{one.label}: page read again, CPU, new connection", used[one.files], MICROSECONDS)
        yield figure.beside(small.label, max(used[small.files], 1.0))


def _page(catalogue: Catalogue, number: int) -> float:
    begun = time.perf_counter()
    catalogue.registry.page(catalogue.project(number), Media.JSON)
    return (time.perf_counter() - begun) * 1e3


def _crowds(found: Sequence[Catalogue], crowd: int) -> Iterator[Row]:
    for one in found:
        stamp = int(time.time())
        lines = [[make_wheel(one.project(n), f"4.{stamp}.{n}")] for n in range(crowd)]
        begun, cpu = time.monotonic(), one.cpu()
        upload_at_once(one.registry, lines, pending=True)
        for (wheel,) in lines:
            while wheel.filename not in one.registry.listed(wheel.project, Media.JSON):
                if time.monotonic() - begun > _PATIENCE:
                    raise NotMeasured(f"{one.label}: {wheel.filename} is not visible after {_PATIENCE:g} s")
                time.sleep(0.02)
        taken = time.monotonic() - begun
        one.settle()
        used = sum(one.cpu()) - sum(cpu)
        p95 = statistics.quantiles(list(waits(one.registry, [wheel for (wheel,) in lines])), n=20)[18]
        yield Figure(f"{one.label}: {crowd:,} uploads at once, from received to visible, p95", p95, SECONDS).within(
            _CROWD
        )
        figure = Figure(f"{one.label}: {crowd:,} uploads at once, until all are visible", taken, SECONDS)
        yield figure.beside("sent one after the other", statistics.fmean(one.uploads) * crowd / 1e3)
        figure = Figure(f"{one.label}: {crowd:,} uploads at once, CPU of each", used / crowd * 1e3, MILLISECONDS)
        yield figure.beside("alone", found[0].server_cpu + found[0].database_cpu)


def _memory(found: Sequence[Catalogue]) -> Iterator[Row]:
    small = found[0]
    for one in found[1:]:
        figure = Figure(f"{one.label}: most memory of the process that signs", one.memory(), MEGABYTES)
        yield figure.beside(small.label, small.memory())


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)
