"""Measures mirrors beside other caches, in front of one made-up upstream, at hand and 30 ms away."""

from __future__ import annotations

import asyncio
import hashlib
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from bench import caches
from bench.caches import MadeUp
from bench.errors import NotMeasured
from bench.load import Target
from bench.loads import Plan, Series, of, run_rounds
from bench.machine import proportional_bytes
from bench.registry import Media, Registry
from bench.report import MEGABYTES, MICROSECONDS, MILLISECONDS, RATE, SECONDS, Figure, Row, Unit
from bench.running import HOST
from bench.upstream import PACKAGES

_DELAY = 30
"""Milliseconds before each answer of the upstream."""

_MEGABYTES = 50
"""Size of the large file."""

_CROWD = 200
"""Clients that ask for it at once."""

_FILES, _MANY = 100, 10_000
_COLD = 30
"""Pages that are asked for the first time, for the median."""

_BASES = 5
_MERGED_ROUNDS = 12
"""Of a second each: a machine that is a third slower for some seconds is to be so for both alike."""

_LOCKS = 12
"""Of each kind. The median is judged; beside it the lower quartile, to which other programs add least."""

_CROWDS = 16
"""Crowds, each of a file of a mirror that has nothing yet; the first warms up. Their quickest clients differ by a
tenth."""


_WARM_OF_DEVPI, _COLD_OF_DEVPI, _COLD_OF_PROXPI = 20.0, 0.3, 1.2
_FIRST_BYTE, _MERGED = 1.2, 1.3
_P99, _CONNECTIONS = 50.0, 32
_LOCK_COLD, _LOCK_WARM = 1.2, 0.7
_FLAT = 64.0
"""Megabytes by which memory may have grown after all projects: caches of documents are bounded at that."""

FETCHES = Unit("fetches")


def measure_mirrors(plan: Plan, projects: int, folder: Path, notes: list[str]) -> Iterator[Row]:
    """Yield the rows about mirrors.

    Args:
        projects: mirrored at the end, for the memory.
        folder: empty folder for the servers' data.
        notes: takes a line for whatever makes the figures less certain.
    """
    with ExitStack() as stack:
        source = stack.enter_context(caches.upstream(folder, milliseconds=_DELAY, megabytes=_MEGABYTES))
        ours = stack.enter_context(caches.our_mirror(folder, source, bases=_BASES))
        theirs = [
            stack.enter_context(caches.devpi_mirror(plan.programs, folder, source)),
            stack.enter_context(caches.proxpi(plan.programs, folder, source)),
        ]
        if plan.nginx is not None:
            theirs.append(stack.enter_context(caches.nginx_cache(plan.nginx, folder, source)))
        # What a cache adds is seen where the upstream adds nothing.
        source.answer_after(0)
        yield from _cold(ours, theirs, "", judged=True)
        source.answer_after(_DELAY)
        yield from _cold(ours, theirs, f", {_DELAY} ms away", judged=False)
        yield from _warm(plan, ours, theirs, notes)
        yield from _merged(plan, ours, notes)
        yield from _large_page(plan, ours, notes)
        yield from _large_file(ours, source)
        yield from _locks(ours, source, folder)
        yield from _memory(ours, projects)


def _cold(ours: Registry, theirs: Sequence[Registry], where: str, *, judged: bool) -> Iterator[Row]:
    """Ask each for pages that nobody asked for before, one after the other, in turn.

    Args:
        where: the upstream is.
        judged: whether limits hold; the second time with other pages.
    """
    times: dict[str, list[float]] = {registry.name: [] for registry in (ours, *theirs)}
    for number in range(_COLD + 1):
        for registry in (ours, *theirs):
            begun = time.perf_counter()
            listed = registry.listed(f"page-{_FILES}-{number + (0 if judged else 50)}", Media.JSON)
            if number:
                times[registry.name].append((time.perf_counter() - begun) * 1e3)
            if len(listed) != _FILES:
                raise NotMeasured(f"{registry.name} lists {len(listed)} of {_FILES} files")
    figure = Figure(f"cold page of {_FILES} files{where}", statistics.median(times.pop("Countermark")), MILLISECONDS)
    wanted = {"devpi-server": _COLD_OF_DEVPI, "proxpi": _COLD_OF_PROXPI} if judged else {}
    for name, found in times.items():
        yield figure.beside(name, statistics.median(found), at_most=wanted.get(name))


def _warm(plan: Plan, ours: Registry, theirs: Sequence[Registry], notes: list[str]) -> Iterator[Row]:
    label = f"warm page of {_FILES} files of a mirror"
    series = [_series(registry, label, registry.page_path(f"page-{_FILES}-1")) for registry in (ours, *theirs)]
    run_rounds(plan, series, notes)
    mine = of(series, label, "Countermark")
    assert mine is not None
    for registry in theirs:
        peer = of(series, label, registry.name)
        assert peer is not None
        least = _WARM_OF_DEVPI if registry.name == "devpi-server" else None
        yield Figure(label, mine.rate, RATE).beside(registry.name, peer.rate, at_least=least)


def _merged(plan: Plan, ours: Registry, notes: list[str]) -> Iterator[Row]:
    project = f"page-{_FILES}-1"
    plain = _series(ours, "plain", ours.page_path(project))
    merged = _series(ours, "merged", f"/root/merged/+simple/{project}/")
    run_rounds(replace(plan, rounds=max(plan.rounds, _MERGED_ROUNDS), seconds=1), [plain, merged], notes)
    figure = Figure(f"page merged over {_BASES} bases: time each", 1e6 / merged.rate, MICROSECONDS)
    yield figure.beside("a plain page", 1e6 / plain.rate, at_most=_MERGED)


def _large_page(plan: Plan, ours: Registry, notes: list[str]) -> Iterator[Row]:
    path = ours.page_path(f"page-{_MANY}-1")
    headers = {"Accept": Media.JSON.value, "Accept-Encoding": "gzip"}
    answer = ours.request("GET", path, headers)
    target = Target(ours.name, ours.server.port, path, headers, len(answer.body), connections=_CONNECTIONS)
    series = Series("large", target, ours.server)
    run_rounds(plan, [series], notes)
    p99 = series.median(lambda sample: sample.burst.p99)
    label = f"page of {_MANY:,} files, gzip, {_CONNECTIONS} connections: p99"
    yield Figure(label, p99, MILLISECONDS).within(_P99)


def _large_file(ours: Registry, source: MadeUp) -> Iterator[Row]:
    """Have many clients ask for one large file that nobody asked for before, directly and through a mirror in turn."""
    times: dict[str, list[list[float]]] = {"direct": [], "ours": []}
    fetched = 0.0
    for number in range(_CROWDS):
        caches.further_mirror(ours, source, f"crowd{number}")
        index = f"/root/crowd{number}"
        page = json.loads(ours.page("blob", Media.JSON).body)["files"][0]
        digest = page["hashes"]["sha256"]
        upstream = f"/files/{page['filename']}"
        direct = asyncio.run(_first_bytes(source.server.port, upstream, _CROWD, digest))
        before = source.count(upstream)
        # Whoever asks for a file has just had the page that names it.
        status = ours.request("GET", f"{index}/+simple/blob/", {"Accept": Media.JSON.value}).status
        if status != 200:
            raise NotMeasured(f"the page of a cold file is answered {status}")
        path = f"{index}/+f/{digest[:3]}/{digest[3:16]}/{page['filename']}"
        first = asyncio.run(_first_bytes(ours.server.port, path, _CROWD, digest))
        fetched = max(fetched, float(source.count(upstream) - before))
        if number:
            times["direct"].append(direct)
            times["ours"].append(first)
    yield Figure(f"{_CROWD} clients of one cold file of {_MEGABYTES} MB", fetched, FETCHES).within(1.0)
    words = "the same crowd, directly"
    for which, of_crowd in (("quickest", _quickest), ("median", _middle)):
        mine, theirs = (statistics.median(map(of_crowd, times[name])) for name in ("ours", "direct"))
        figure = Figure(f"the same: first byte, {which} client", mine, MILLISECONDS)
        yield figure.beside(words, theirs, at_most=_FIRST_BYTE)


def _quickest(crowd: list[float]) -> float:
    return min(crowd)


def _middle(crowd: list[float]) -> float:
    return statistics.median(crowd)


async def _first_bytes(port: int, path: str, clients: int, digest: str) -> list[float]:
    """Return the milliseconds until the first byte of a body, for clients at once; each reads all of it."""

    async def ask() -> float:
        begun = time.perf_counter()
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nConnection: close\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head.partition(b"\r\n")[0]:
                raise NotMeasured(f"{path} is answered with {head[:200]!r}")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            chunk = await reader.read(1 << 16)
            first, found, left = (time.perf_counter() - begun) * 1e3, hashlib.sha256(chunk), length - len(chunk)
            while left > 0 and (chunk := await reader.read(1 << 20)):
                found.update(chunk)
                left -= len(chunk)
            if found.hexdigest() != digest:
                raise NotMeasured(f"{path} came with other bytes")
            return first
        finally:
            writer.close()

    return list(await asyncio.gather(*(ask() for _ in range(clients))))


def _locks(ours: Registry, source: MadeUp, folder: Path) -> Iterator[Row]:
    """Lock a project with `PACKAGES` dependencies: directly, through mirrors that know none of them, and again.

    In turn, so that all have the same machine.
    """
    times: dict[str, list[float]] = {"direct": [], "cold": [], "warm": []}
    for number in range(_LOCKS):
        mirror = caches.further_mirror(ours, source, f"lock{number}")
        for name, url in (("direct", source.url), ("cold", mirror), ("warm", mirror)):
            times[name].append(caches.uv_lock(url, folder / "lock", "graph-0"))
    for name, wanted in (("cold", _LOCK_COLD), ("warm", _LOCK_WARM)):
        for words, of_times, at_most in (("median", statistics.median, wanted), ("lower quartile", _quarter, None)):
            figure = Figure(f"uv lock of {PACKAGES} packages, {name}, {words}", of_times(times[name]), SECONDS)
            yield figure.beside("direct", of_times(times["direct"]), at_most=at_most)


def _quarter(times: list[float]) -> float:
    return statistics.quantiles(times, n=4)[0]


def _memory(ours: Registry, projects: int) -> Iterator[Row]:
    before = proportional_bytes(ours.server.pids()) / 1e6
    asyncio.run(_ask_for(ours, projects))
    grown = proportional_bytes(ours.server.pids()) / 1e6 - before
    yield Figure(f"growth of memory (PSS) over {projects:,} mirrored projects", grown, MEGABYTES).within(_FLAT)


async def _ask_for(ours: Registry, projects: int) -> None:
    """Ask for the pages of many projects, on kept connections."""
    numbers = iter(range(projects))

    async def ask() -> None:
        reader, writer = await asyncio.open_connection(HOST, ours.server.port)
        try:
            for number in numbers:
                path = ours.page_path(f"page-10-{number}")
                head = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAccept: {Media.JSON.value}\r\n\r\n"
                writer.write(head.encode())
                answer = await reader.readuntil(b"\r\n\r\n")
                if b" 200 " not in answer.partition(b"\r\n")[0]:
                    raise NotMeasured(f"{path} is answered with {answer[:200]!r}")
                length = int(answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
        finally:
            writer.close()

    await asyncio.gather(*(ask() for _ in range(_CONNECTIONS)))


def _series(registry: Registry, label: str, path: str) -> Series:
    headers = {"Accept": Media.JSON.value}
    answer = registry.request("GET", path, headers)
    if answer.status != 200:
        raise NotMeasured(f"{registry.name} answers {answer.status} to {path}")
    target = Target(registry.name, registry.server.port, path, headers, len(answer.body))
    return Series(label, target, registry.server)
