"""Measures the project list of a large index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench.countermark import countermark, registry_of
from bench.devpi import devpi_with_projects
from bench.errors import NotMeasured
from bench.load import Target
from bench.loads import Plan, Series, of, run_rounds
from bench.nginx import Static, nginx
from bench.preload import preload
from bench.pypiserver import pypiserver
from bench.registry import Media, Registry
from bench.report import MICROSECONDS, RATE, Figure, Row
from bench.wheels import make_wheel

_MORE_THAN_DEVPI = 100.0
"""How many times devpi-server's requests per second are wanted."""


def measure_roots(plan: Plan, projects: int, cache: Path, folder: Path, notes: list[str]) -> Iterator[Row]:
    """Yield the rows about the project list.

    Args:
        projects: how many there are; each has one file.
        cache: folder in which devpi-server's data, once made, are kept for the next run.
        folder: empty folder for the servers' data.
        notes: takes a line for whatever makes the figures less certain.
    """
    label = f"list of {projects:,} projects, JSON"
    wheels = [make_wheel(f"bench-root-{number:05}", "1.0") for number in range(projects)]
    expected = {wheel.project for wheel in wheels}
    with ExitStack() as stack:
        theirs = stack.enter_context(devpi_with_projects(plan.programs, cache, folder, sorted(expected)))
        data = folder / "countermark"
        ours = registry_of(stack.enter_context(countermark(data)), data)
        preload(ours, data, wheels)
        (folder / "pypiserver").mkdir()
        for wheel in wheels:
            (folder / "pypiserver" / wheel.filename).write_bytes(wheel.content)
        simple = stack.enter_context(pypiserver(plan.programs, folder))
        series = [_series(label, registry, expected) for registry in (ours, theirs, simple)]
        if plan.nginx is not None:
            body = ours.request("GET", ours.list_path, {"Accept": Media.JSON.value}).body
            server = stack.enter_context(nginx(plan.nginx, folder, {"/list": Static(Media.JSON.value, body)}))
            target = Target("nginx", server.port, "/list", {"Accept": Media.JSON.value}, len(body))
            series.append(Series(label, target, server))
        run_rounds(plan, series, notes)
    found = of(series, label, "Countermark")
    assert found is not None
    for name in ("devpi-server", "pypiserver", "nginx"):
        peer = of(series, label, name)
        if peer is not None:
            shown = f"{name} (HTML)" if name == "pypiserver" else name
            at_least = _MORE_THAN_DEVPI if name == "devpi-server" else None
            yield Figure(label, found.rate, RATE).beside(shown, peer.rate, at_least=at_least)
            yield Figure(f"{label}: CPU each", found.cpu, MICROSECONDS).beside(shown, peer.cpu)


def _series(label: str, registry: Registry, expected: set[str]) -> Series:
    """Return the series of a registry; pypiserver's list is HTML whatever is asked for."""
    headers = {"Accept": Media.JSON.value}
    answer = registry.request("GET", registry.list_path, headers)
    if answer.content_type.startswith(Media.JSON.value):
        listed = {project["name"] for project in json.loads(answer.body)["projects"]}
    else:
        text = answer.body.decode()
        listed = {project for project in expected if f">{project}<" in text}
    if listed != expected:
        raise NotMeasured(f"{registry.name} lists {len(listed)} of {len(expected)} projects")
    target = Target(registry.name, registry.server.port, registry.list_path, headers, len(answer.body))
    return Series(label, target, registry.server)
