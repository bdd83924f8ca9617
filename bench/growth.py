"""Measures what becomes of reads and uploads when a project and its index are large."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from bench.countermark import countermark, registry_of
from bench.load import Target
from bench.loads import Plan, Series, run_rounds
from bench.preload import preload
from bench.registry import Media, Registry
from bench.report import MICROSECONDS, MILLISECONDS, Figure, Row
from bench.wheels import make_wheel

_FEW = 100
"""Files of the project that is compared with."""

_UPLOADS = 15
"""Measured uploads to each project, after some that warm up."""

_WARM_UP = 3

_PAGE = 1.2
"""How many times the CPU of a read may grow."""

_UPLOAD = 1.5
"""How many times the time of an upload may grow."""

_SMALL, _LARGE = "bench-few", "bench-many"


def measure_growth(plan: Plan, files: int, folder: Path, notes: list[str]) -> Iterator[Row]:
    """Yield the rows about a project of many files, beside one of a hundred and an index that held only that.

    A page's bytes grow with its files, whoever sends them: so its CPU is compared per file listed, besides that of an
    unchanged page and that of the small page in the large index.

    Args:
        files: of the large project.
        folder: empty folder for the server's data.
        notes: takes a line for whatever makes the figures less certain.
    """
    data = folder / "countermark"
    with countermark(data) as server:
        ours = registry_of(server, data)
        preload(ours, data, [make_wheel(_SMALL, f"1.{number}") for number in range(_FEW)])
        alone = _page(ours, "small page, small index", _SMALL)
        run_rounds(plan, [alone], notes)
        base = _uploads(ours, _SMALL, 2)
        preload(ours, data, [make_wheel(_LARGE, f"1.{number}") for number in range(files)])
        few, many = _uploads_in_turn(ours)
        small, large = (_page(ours, f"page of {project}", project) for project in (_SMALL, _LARGE))
        still_small, still_large = (_page(ours, f"304 of {project}", project, unchanged=True) for project in _BOTH)
        run_rounds(plan, [small, large, still_small, still_large], notes)
        listed = {project: len(ours.listed(project, Media.JSON)) for project in _BOTH}
    index = f"an index of {files:,} files"
    yield Figure(f"page of {_FEW} files in {index}: CPU each", small.cpu, MICROSECONDS).beside(
        "alone", alone.cpu, at_most=_PAGE
    )
    yield Figure(f"page of {files:,} files: CPU per file", large.cpu / listed[_LARGE], MICROSECONDS).beside(
        f"page of {_FEW} files", small.cpu / listed[_SMALL], at_most=_PAGE
    )
    yield Figure(f"304 of {files:,} files: CPU each", still_large.cpu, MICROSECONDS).beside(
        f"304 of {_FEW} files", still_small.cpu, at_most=_PAGE
    )
    yield Figure(f"page of {files:,} files: CPU each", large.cpu, MICROSECONDS).beside(
        f"page of {_FEW} files", small.cpu
    )
    yield Figure(f"upload to {_FEW} files in {index}: p50", few, MILLISECONDS).beside("alone", base, at_most=_UPLOAD)
    yield Figure(f"upload to {files:,} files: p50", many, MILLISECONDS).beside(f"to {_FEW} files", few, at_most=_UPLOAD)


_BOTH = (_SMALL, _LARGE)


def _page(registry: Registry, label: str, project: str, *, unchanged: bool = False) -> Series:
    headers, path = {"Accept": Media.JSON.value}, registry.page_path(project)
    answer = registry.request("GET", path, headers)
    if not unchanged:
        return Series(
            label, Target(registry.name, registry.server.port, path, headers, len(answer.body)), registry.server
        )
    headers["If-None-Match"] = answer.headers["etag"]
    target = Target(registry.name, registry.server.port, path, headers, 0, status=304)
    return Series(label, target, registry.server)


def _uploads(registry: Registry, project: str, major: int) -> float:
    """Return the median milliseconds of uploads to one project."""
    return statistics.median([_upload(registry, project, major, n) for n in range(_WARM_UP + _UPLOADS)][_WARM_UP:])


def _uploads_in_turn(registry: Registry) -> tuple[float, float]:
    """Return the median milliseconds of uploads to the small and to the large project, sent in turn."""
    times = [[_upload(registry, project, 3, n) for project in _BOTH] for n in range(_WARM_UP + _UPLOADS)][_WARM_UP:]
    few, many = zip(*times, strict=True)
    return statistics.median(few), statistics.median(many)


def _upload(registry: Registry, project: str, major: int, minor: int) -> float:
    wheel = make_wheel(project, f"{major}.{minor}")
    begun = time.perf_counter()
    registry.upload(wheel)
    return (time.perf_counter() - begun) * 1e3
