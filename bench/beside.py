"""Measures what devpi-server and we alone do: pages of indexes with bases, the documents of a list, and pushes."""

from __future__ import annotations

import http.client
import json
import secrets
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from bench.countermark import countermark, set_password
from bench.devpi import devpi, devpi_filled
from bench.errors import NotMeasured
from bench.load import Target
from bench.loads import Plan, Series, run_rounds
from bench.preload import preload
from bench.registry import Media, Registry
from bench.report import MICROSECONDS, MILLISECONDS, RATE, SECONDS, Figure, Row
from bench.running import HOST, Running
from bench.wheels import Wheel, make_tagged_wheels, make_wheel

_BASES = 3
_PER_BASE = 34
_MERGED, _PLAIN = "/root/merged", "/root/plain"
_PROJECT = "bench-merged"

_MORE_THAN_DEVPI = 50.0
"""How many times devpi-server's requests per second are wanted of a merged page."""

_OF_A_PLAIN_PAGE = 1.3
"""How many times the CPU of a page without bases a merged page may cost."""

_LISTED = "/root/listed"
_PROJECTS = 50
"""Projects that the releases of the listed index belong to."""

_LISTS = 5
"""Measured lists of each server; one more warms up."""

_OF_DEVPIS_LIST = 1 / 5
"""Which part of devpi-server's time a list may take."""

_PUSHED = 100
_PUSHES = 3
"""Measured pushes of each server; one more warms up."""

_PUSH_LIMIT = 2.0
"""Seconds that a push may take."""

_Fill = Callable[[Registry, Sequence[Wheel]], None]
"""Puts wheels into the index of a registry: at once into Countermark, one by one into devpi-server."""

_JSON = {"Accept": "application/json", "Content-Type": "application/json"}


def measure_devpi(plan: Plan, releases: int, cache: Path, folder: Path, notes: list[str]) -> Iterator[Row]:
    """Yield the rows about indexes with bases, lists and pushes.

    Args:
        releases: of the listed index.
        cache: folder in which devpi-server's data of that index, once made, are kept for the next run.
        folder: empty folder for the servers' data.
        notes: takes a line for whatever makes the figures less certain.
    """
    data, listed = folder / "countermark", _listed(releases)
    with ExitStack() as stack:
        server = stack.enter_context(countermark(data))
        ours = _logged_in(server, data)
        theirs = stack.enter_context(devpi(plan.programs, folder))
        fills: dict[str, _Fill] = {ours.name: lambda at, wheels: preload(at, data, wheels), theirs.name: _upload_all}
        for registry in (ours, theirs):
            _make_bases(registry, fills[registry.name])
            _make_pushed(registry, fills[registry.name])
        yield from _measure_merged(plan, ours, theirs, notes)
        yield from _measure_pushes(ours, theirs)
        _make(ours, _LISTED)
        preload(replace(ours, index=_LISTED), data, listed)
        full = stack.enter_context(devpi_filled(plan.programs, cache, folder / "full", listed))
        yield from _measure_lists(replace(ours, index=_LISTED), full, listed)


def _logged_in(server: Running, data: Path) -> Registry:
    """Return Countermark as root sees it by devpi's login."""
    password = secrets.token_hex(16)
    set_password(data, "root", password)
    registry = Registry("Countermark", server, "/root/stable", "root", password)
    credentials = json.dumps({"user": "root", "password": password}).encode()
    answer = registry.request("POST", "/+login", _JSON, credentials)
    if answer.status != http.HTTPStatus.OK:
        raise NotMeasured(f"Countermark answers {answer.status} to root's login: {answer.body[:300]!r}")
    return replace(registry, secret=json.loads(answer.body)["result"]["password"])


def _make(registry: Registry, index: str, **options: object) -> None:
    answer = registry.request("PUT", index, _JSON, json.dumps({"acl_upload": ["root"], **options}).encode())
    if answer.status != http.HTTPStatus.OK:
        raise NotMeasured(f"{registry.name} answers {answer.status} to the making of {index}: {answer.body[:300]!r}")


def _upload_all(registry: Registry, wheels: Sequence[Wheel]) -> None:
    for wheel in wheels:
        registry.upload(wheel)


def _make_bases(registry: Registry, fill: _Fill) -> None:
    """Make an index on three bases, and one that holds the same files itself."""
    bases, everything = [], []
    for base in range(_BASES):
        wheels = [make_wheel(_PROJECT, f"{base}.{number}") for number in range(_PER_BASE)]
        index = f"/root/base{base}"
        _make(registry, index)
        fill(replace(registry, index=index), wheels)
        bases.append(index.strip("/"))
        everything += wheels
    _make(registry, _MERGED, bases=bases)
    if registry.name == "Countermark":
        _make(registry, _PLAIN)
        fill(replace(registry, index=_PLAIN), everything)


def _measure_merged(plan: Plan, ours: Registry, theirs: Registry, notes: list[str]) -> Iterator[Row]:
    for media in Media:
        label = f"page of {_BASES * _PER_BASE} files over {_BASES} bases, {media.name}"
        merged, plain, peer = (
            _page(replace(registry, index=index), label, media)
            for registry, index in ((ours, _MERGED), (ours, _PLAIN), (theirs, _MERGED))
        )
        run_rounds(plan, [merged, plain, peer], notes)
        yield Figure(label, merged.rate, RATE).beside("devpi-server", peer.rate, at_least=_MORE_THAN_DEVPI)
        cpu = Figure(f"{label}: CPU each", merged.cpu, MICROSECONDS)
        yield cpu.beside("the same page without bases", plain.cpu, at_most=_OF_A_PLAIN_PAGE)
        yield cpu.beside("devpi-server", peer.cpu)


def _page(registry: Registry, label: str, media: Media) -> Series:
    names = registry.listed(_PROJECT, media)
    if len(names) != _BASES * _PER_BASE:
        raise NotMeasured(f"{registry.name} lists {len(names)} files in {registry.index}, {media.name}")
    length = len(registry.page(_PROJECT, media).body)
    path = registry.page_path(_PROJECT)
    target = Target(registry.name, registry.server.port, path, {"Accept": media.value}, length)
    return Series(label, target, registry.server)


def _make_pushed(registry: Registry, fill: _Fill) -> None:
    _make(registry, "/root/dev")
    _make(registry, "/root/prod", volatile=False)
    for number in range(1 + _PUSHES):
        fill(replace(registry, index="/root/dev"), make_tagged_wheels("bench-push", f"{number}.0", _PUSHED))


def _measure_pushes(ours: Registry, theirs: Registry) -> Iterator[Row]:
    times: dict[str, list[float]] = {ours.name: [], theirs.name: []}
    for number in range(1 + _PUSHES):
        for registry in (ours, theirs):
            taken = _push(registry, f"{number}.0", (1 + number) * _PUSHED)
            if number:
                times[registry.name].append(taken)
    figure = Figure(f"push of a release of {_PUSHED} files, visible", statistics.median(times[ours.name]), SECONDS)
    yield figure.within(_PUSH_LIMIT)
    yield figure.beside("devpi-server", statistics.median(times[theirs.name]))


def _push(registry: Registry, version: str, expected: int) -> float:
    """Return the seconds until the answer, after which the target must list all files at once."""
    order = {"name": "bench-push", "version": version, "targetindex": "root/prod"}
    begun = time.perf_counter()
    answer = registry.request("PUSH", "/root/dev", _JSON, json.dumps(order).encode())
    taken = time.perf_counter() - begun
    listed = len(replace(registry, index="/root/prod").listed("bench-push", Media.JSON))
    if answer.status != http.HTTPStatus.OK or listed != expected:
        raise NotMeasured(
            f"{registry.name} answers {answer.status} to a push and lists {listed} of {expected} files: "
            f"{answer.body[:300]!r}"
        )
    return taken


def _listed(releases: int) -> list[Wheel]:
    """Return one wheel for each release of the listed index."""
    return [make_wheel(f"bench-list-{n % _PROJECTS:02}", f"1.{n // _PROJECTS}") for n in range(releases)]


def _measure_lists(ours: Registry, theirs: Registry, wheels: Sequence[Wheel]) -> Iterator[Row]:
    times: dict[str, list[tuple[float, float]]] = {ours.name: [], theirs.name: []}
    for number in range(1 + _LISTS):
        for registry in (ours, theirs):
            taken = _list(registry, wheels)
            if number:
                times[registry.name].append(taken)
    (short, whole), (their_short, their_whole) = (
        [statistics.median(of) for of in zip(*times[registry.name], strict=True)] for registry in (ours, theirs)
    )
    what = f"{len(wheels):,} releases of {_PROJECTS} projects"
    yield Figure(f"documents of `devpi list -v`: {what}", whole, SECONDS).beside(
        "devpi-server", their_whole, at_most=_OF_DEVPIS_LIST
    )
    yield Figure(f"document of `devpi list`: {what}", short * 1e3, MILLISECONDS).beside(
        "devpi-server", their_short * 1e3
    )


def _list(registry: Registry, wheels: Sequence[Wheel]) -> tuple[float, float]:
    """Return the seconds of a list, and of one of versions; their requests follow each other as the client's do.

    Raises:
        NotMeasured: not all files are in the documents.
    """
    connection = http.client.HTTPConnection(HOST, registry.server.port, timeout=60)
    begun = time.perf_counter()
    index = _document(connection, registry, registry.index)
    short = time.perf_counter() - begun
    projects: list[str] = json.loads(index)["result"]["projects"]
    documents = [_document(connection, registry, f"{registry.index}/{project}/") for project in projects]
    taken = time.perf_counter() - begun
    connection.close()
    versions = [version for document in documents for version in json.loads(document)["result"].values()]
    found = sum(len(version.get("+links", ())) for version in versions)
    if found != len(wheels):
        raise NotMeasured(f"{registry.name} shows {found} of {len(wheels)} files in its documents")
    return short, taken


def _document(connection: http.client.HTTPConnection, registry: Registry, path: str) -> bytes:
    try:
        connection.request("GET", path, headers={"Authorization": registry.authorization, **_JSON})
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise NotMeasured(f"{registry.name} does not answer GET {path}: {error!r}") from error
    if answer.status != http.HTTPStatus.OK:
        raise NotMeasured(f"{registry.name} answers {answer.status} to {path}")
    return body
