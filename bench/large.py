"""Measures a large upload, with the memory it takes, and a large download."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import secrets
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from bench.countermark import countermark, registry_of
from bench.devpi import devpi
from bench.errors import NotMeasured
from bench.load import Target
from bench.loads import Plan, Series, of, run_rounds
from bench.machine import cpu_seconds, forget_most, resident_bytes
from bench.nginx import Static, nginx
from bench.pypiserver import pypiserver
from bench.registry import Media, Registry
from bench.report import MEGABYTES, MICROSECONDS, SPEED, Figure, Row
from bench.running import HOST
from bench.wheels import make_large_wheel

_DOWNLOAD = 100
"""Megabytes of the file that is downloaded."""

_ROUNDS = 2
"""Large uploads to each server; the median counts."""

_MORE_THAN_DEVPI = 2.0
"""How many times devpi-server's speed is wanted of a large upload."""

_GROWTH = 64 * 1.048576
"""Megabytes (10^6 bytes) by which all processes together may grow meanwhile."""

_OF_NGINX = 0.2
"""Which part of nginx's speed is wanted of a large download."""

_PROJECT = "bench-large"

_PATIENCE = 300.0
"""Seconds to wait for the answer to a large upload."""


def measure_large(plan: Plan, megabytes: int, folder: Path, notes: list[str]) -> Iterator[Row]:
    """Yield the rows about large files.

    Args:
        megabytes: size of the uploaded file.
        folder: empty folder for the servers' data and the files.
        notes: takes a line for whatever makes the figures less certain.
    """
    with ExitStack() as stack:
        data = folder / "countermark"
        ours = registry_of(stack.enter_context(countermark(data)), data)
        theirs = (
            stack.enter_context(devpi(plan.programs, folder)),
            stack.enter_context(pypiserver(plan.programs, folder)),
        )
        uploads: dict[str, list[Uploaded]] = {registry.name: [] for registry in (ours, *theirs)}
        # The first upload of a few megabytes loads what only uploads need.
        for number, size in enumerate([2, *[megabytes] * _ROUNDS]):
            file = folder / make_large_wheel(_PROJECT, f"1.{number}", folder, size)
            for registry in (ours, *theirs):
                done = _upload(registry, file)
                if number:
                    uploads[registry.name].append(done)
            file.unlink()
        yield from _rows(f"upload of {megabytes} MB", uploads, ours.name)
        file = folder / make_large_wheel(_PROJECT, "2.0", folder, _DOWNLOAD)
        for registry in (ours, *theirs):
            _upload(registry, file)
        yield from _downloads(plan, (ours, *theirs), file, stack, notes)


@dataclass(frozen=True, slots=True)
class Uploaded:
    """An upload: megabytes per second until the answer, microseconds of the server's CPU for each megabyte, and
    megabytes by which the server grew."""

    speed: float
    cpu: float
    growth: float


def _rows(label: str, uploads: Mapping[str, Sequence[Uploaded]], ours: str) -> Iterator[Row]:
    speeds = {name: statistics.median(one.speed for one in done) for name, done in uploads.items()}
    cpus = {name: statistics.median(one.cpu for one in done) for name, done in uploads.items()}
    speed = Figure(label, speeds[ours], SPEED)
    yield speed.beside("devpi-server", speeds["devpi-server"], at_least=_MORE_THAN_DEVPI)
    yield speed.beside("pypiserver", speeds["pypiserver"])
    cpu = Figure(f"{label}: CPU for each MB", cpus[ours], MICROSECONDS)
    yield cpu.beside("devpi-server", cpus["devpi-server"])
    yield cpu.beside("pypiserver", cpus["pypiserver"])
    growth = max(one.growth for one in uploads[ours])
    yield Figure(f"{label}: growth of RSS (HWM), all processes", growth, MEGABYTES).within(_GROWTH)


def _upload(registry: Registry, file: Path) -> Uploaded:
    """Upload a file."""
    head, tail = _form_around(file)
    pids = registry.server.pids()
    forget_most(pids)
    before = resident_bytes(pids, "VmRSS")
    length = len(head) + file.stat().st_size + len(tail)
    connection = http.client.HTTPConnection(HOST, registry.server.port, timeout=_PATIENCE, blocksize=1 << 18)
    begun, used = time.perf_counter(), cpu_seconds(pids)
    try:
        connection.putrequest("POST", f"{registry.index}/")
        connection.putheader("Authorization", registry.authorization)
        connection.putheader("Content-Type", f"multipart/form-data; boundary={_BOUNDARY}")
        connection.putheader("Content-Length", str(length))
        connection.endheaders()
        connection.send(head)
        with file.open("rb") as content:
            connection.send(content)
        connection.send(tail)
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise NotMeasured(f"{registry.name} does not take {file.name}: {error!r}") from error
    finally:
        connection.close()
    taken, used = time.perf_counter() - begun, cpu_seconds(pids) - used
    if answer.status != http.HTTPStatus.OK or b"is pending" in text:
        raise NotMeasured(f"{registry.name} answers {answer.status} to {file.name}: {text[:300]!r}")
    most = resident_bytes(pids, "VmHWM")
    growth = sum(max(0, most[pid] - held) for pid, held in before.items() if pid in most)
    return Uploaded(length / taken / 1e6, used * 1e12 / length, growth / 1e6)


_BOUNDARY = secrets.token_hex(16)


def _form_around(file: Path) -> tuple[bytes, bytes]:
    """Return what stands before and behind the file in the form."""
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    version = file.name.split("-")[1]
    fields = {
        ":action": "file_upload",
        "protocol_version": "1",
        "metadata_version": "2.1",
        "name": _PROJECT,
        "version": version,
        "filetype": "bdist_wheel",
        "pyversion": "py3",
        "requires_python": ">=3.9",
        "sha256_digest": digest,
    }
    head = io.BytesIO()
    for name, value in fields.items():
        head.write(f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode())
    head.write(
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="content"; filename="{file.name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
    )
    return head.getvalue(), f"\r\n--{_BOUNDARY}--\r\n".encode()


def _downloads(
    plan: Plan, registries: Sequence[Registry], file: Path, stack: ExitStack, notes: list[str]
) -> Iterator[Row]:
    label, length = f"download of {_DOWNLOAD} MB", file.stat().st_size
    places = [(one.name, one.server, _address(one, file.name)) for one in registries]
    if plan.nginx is not None:
        static = Static("application/octet-stream", file)
        places.append(("nginx", stack.enter_context(nginx(plan.nginx, file.parent, {"/file": static})), "/file"))
    series = [
        Series(label, Target(name, server.port, path, {}, length, connections=1), server)
        for name, server, path in places
    ]
    run_rounds(plan, series, notes)
    speed = Figure(f"{label}, one connection", series[0].megabytes, SPEED)
    for name in ("nginx", "devpi-server", "pypiserver"):
        peer = of(series, label, name)
        if peer is not None:
            yield speed.beside(name, peer.megabytes, at_least=_OF_NGINX if name == "nginx" else None)


def _address(registry: Registry, file_name: str) -> str:
    """Return the path of a file as the registry's page links it."""
    page = registry.page_path(_PROJECT)
    if registry.name == "pypiserver":
        return f"/packages/{file_name}"
    files = json.loads(registry.page(_PROJECT, Media.JSON).body)["files"]
    url = next(file["url"] for file in files if file["filename"] == file_name)
    return str(urlsplit(urljoin(f"http://{HOST}{page}", url)).path)
