"""Measures warm project pages: of 100 files, the same when it has not changed, and of 1,000 files compressed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.countermark import countermark, registry_of
from bench.devpi import devpi
from bench.errors import NotMeasured
from bench.load import Target
from bench.loads import Plan, Series, of, run_rounds
from bench.machine import proportional_bytes
from bench.nginx import Static, nginx
from bench.preload import preload
from bench.pypiserver import pypiserver
from bench.registry import Media, Registry
from bench.report import MEGABYTES, MICROSECONDS, RATE, Figure, Row
from bench.running import Running
from bench.starts import MEMORY
from bench.wheels import make_wheel

FILES = 100
"""Files of the measured project."""

MANY = 1000
"""Files of the project whose page is measured compressed."""

_PROJECT, _LARGE = "bench-pages", "bench-large-page"

_PEERS = ("devpi-server", "pypiserver", "nginx")

_MORE_THAN_DEVPI = 50.0
"""How many times devpi-server's requests per second are wanted."""

_OF_NGINX = 0.2
"""Which part of nginx's requests per second is wanted."""

CPU_LIMIT = 60.0
"""Microseconds of CPU a request may cost."""

_UNCHANGED = 4.0
"""How many times nginx's CPU an answer 304 may cost."""

_COMPRESSED = 1 / 300
"""Which part of devpi-server's CPU the large page, compressed, may cost."""


def measure_pages(plan: Plan, folder: Path, notes: list[str]) -> Iterator[Row]:
    """Yield the rows about pages, and what memory Countermark holds after the load.

    Args:
        folder: empty folder for the servers' data.
        notes: takes a line for whatever makes the figures less certain.
    """
    with ExitStack() as stack:
        data = folder / "countermark"
        ours = registry_of(stack.enter_context(countermark(data)), data)
        theirs = [
            stack.enter_context(devpi(plan.programs, folder)),
            stack.enter_context(pypiserver(plan.programs, folder)),
        ]
        for registry in (ours, *theirs):
            _fill(registry)
        series = [_page(registry, media) for media in Media for registry in (ours, *theirs) if _has(registry, media)]
        series.append(_unchanged(ours, ours.page_path(_PROJECT)))
        if plan.nginx is not None:
            series += _nginx(plan.nginx, ours, stack, folder)
        run_rounds(plan, series, notes)
        notes.append(f"kilobytes of the page of {FILES} files: {_sizes(series)}")
        memory = proportional_bytes(ours.server.pids()) / 1e6
        yield from _rows(series)
        yield Figure("memory (PSS) after the load on pages", memory, MEGABYTES).within(MEMORY)
        yield from _measure_large(plan, data, (ours, theirs[0]), notes)


def _measure_large(plan: Plan, data: Path, registries: tuple[Registry, Registry], notes: list[str]) -> Iterator[Row]:
    ours, theirs = registries
    wheels = [make_wheel(_LARGE, f"1.{number}") for number in range(MANY)]
    preload(ours, data, wheels)
    for wheel in wheels:
        theirs.upload(wheel)
    label = f"page of {MANY:,} files, JSON, gzip"
    headers = {"Accept": Media.JSON.value, "Accept-Encoding": "gzip"}
    series = []
    for registry in registries:
        if registry.listed(_LARGE, Media.JSON) != {wheel.filename for wheel in wheels}:
            raise NotMeasured(f"{registry.name} does not list the {MANY} files")
        answer = registry.request("GET", registry.page_path(_LARGE), headers)
        if registry is ours and answer.headers.get("content-encoding") != "gzip":
            raise NotMeasured("Countermark does not compress its page")
        target = Target(registry.name, registry.server.port, registry.page_path(_LARGE), headers, len(answer.body))
        series.append(Series(label, target, registry.server))
    run_rounds(plan, series, notes)
    cpu = Figure(f"{label}: CPU each", series[0].cpu, MICROSECONDS)
    yield cpu.beside("devpi-server", series[1].cpu, at_most=_COMPRESSED)
    yield Figure(label, series[0].rate, RATE).beside("devpi-server", series[1].rate)


def _has(registry: Registry, media: Media) -> bool:
    """Return whether a registry has a form of the page: pypiserver has HTML only."""
    return media is Media.HTML or registry.name != "pypiserver"


def _label(media: Media) -> str:
    return f"page of {FILES} files, {media.name}"


_UNCHANGED_LABEL = f"page of {FILES} files, not changed (304)"


def _fill(registry: Registry) -> None:
    """Upload the files, and make sure that all forms of the page list all of them."""
    wheels = [make_wheel(_PROJECT, f"1.{number}") for number in range(FILES)]
    for wheel in wheels:
        registry.upload(wheel)
    expected = {wheel.filename for wheel in wheels}
    for media in Media:
        if _has(registry, media) and registry.listed(_PROJECT, media) != expected:
            raise NotMeasured(f"{registry.name} does not list the {FILES} files in {media.name}")


def _page(registry: Registry, media: Media) -> Series:
    body = registry.page(_PROJECT, media).body
    path = registry.page_path(_PROJECT)
    target = Target(registry.name, registry.server.port, path, {"Accept": media.value}, len(body))
    return Series(_label(media), target, registry.server)


def _unchanged(registry: Registry, path: str) -> Series:
    """Return a series that asks with the ETag of the page that is there."""
    headers = {"Accept": Media.JSON.value}
    headers["If-None-Match"] = registry.request("GET", path, headers).headers.get("etag", "")
    answer = registry.request("GET", path, headers)
    if answer.status != 304:
        raise NotMeasured(f"{registry.name} answers {answer.status} to a question about its own ETag")
    target = Target(registry.name, registry.server.port, path, headers, 0, status=304)
    return Series(_UNCHANGED_LABEL, target, registry.server)


def _nginx(binary: str, ours: Registry, stack: ExitStack, folder: Path) -> list[Series]:
    """Return the series of nginx, which serves the bytes that Countermark rendered."""
    served = {f"/{media.name.lower()}": Static(media.value, ours.page(_PROJECT, media).body) for media in Media}
    server: Running = stack.enter_context(nginx(binary, folder, served))
    series = []
    for media, (path, static) in zip(Media, served.items(), strict=True):
        assert isinstance(static.content, bytes)
        target = Target("nginx", server.port, path, {"Accept": media.value}, len(static.content))
        series.append(Series(_label(media), target, server))
    plain = Registry("nginx", server, "", "", "")
    return [*series, _unchanged(plain, next(iter(served)))]


def _rows(series: Sequence[Series]) -> Iterator[Row]:
    wanted = {"devpi-server": _MORE_THAN_DEVPI, "nginx": _OF_NGINX}
    for media in Media:
        label = _label(media)
        ours = of(series, label, "Countermark")
        assert ours is not None
        peers = [(name, peer) for name in _PEERS if (peer := of(series, label, name)) is not None]
        for name, peer in peers:
            yield Figure(label, ours.rate, RATE).beside(name, peer.rate, at_least=wanted.get(name))
        cpu = Figure(f"{label}: CPU each", ours.cpu, MICROSECONDS)
        yield cpu.within(CPU_LIMIT)
        for name, peer in peers:
            yield cpu.beside(name, peer.cpu)
    ours, peer = (of(series, _UNCHANGED_LABEL, name) for name in ("Countermark", "nginx"))
    if ours is not None and peer is not None:
        cpu = Figure(f"{_UNCHANGED_LABEL}: CPU each", ours.cpu, MICROSECONDS)
        yield cpu.beside("nginx", peer.cpu, at_most=_UNCHANGED)


def _sizes(series: Sequence[Series]) -> str:
    sizes = [
        f"{media.name} "
        + ", ".join(f"{one.target.name} {one.target.length / 1e3:.1f}" for one in series if one.label == _label(media))
        for media in Media
    ]
    return "; ".join(sizes)
