"""Sends many uploads at once, from one thread: what a client costs must not hide what a server costs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import NotMeasured
from bench.registry import Registry, form_of
from bench.running import HOST
from bench.wheels import Wheel

_PATIENCE = 120.0
"""Seconds a crowd gets for all its uploads."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """What came of uploads that were sent at once: the seconds of all, and the milliseconds of each."""

    seconds: float
    milliseconds: list[float]

    @property
    def rate(self) -> float:
        """Uploads answered per second."""
        return len(self.milliseconds) / self.seconds


def upload_at_once(registry: Registry, lines: Sequence[Sequence[Wheel]], *, pending: bool = False) -> Crowd:
    """Upload wheels on as many lines at once as are given; each line sends one after the other.

    Each upload is a request on a connection of its own, as `twine` sends the first one of a run.

    Args:
        pending: take the answer that the publication is still pending, too.

    Raises:
        NotMeasured: one is not answered with 200, or only as pending.
    """
    requests = [[(wheel, _request(registry, wheel)) for wheel in line] for line in lines]
    return asyncio.run(_all(registry, requests, pending))


async def _all(registry: Registry, lines: list[list[tuple[Wheel, bytes]]], pending: bool) -> Crowd:
    times: list[float] = []

    async def send(line: list[tuple[Wheel, bytes]]) -> None:
        for wheel, request in line:
            begun = time.perf_counter()
            await _send(wheel, request, registry.server.port, pending)
            times.append((time.perf_counter() - begun) * 1e3)

    begun = time.perf_counter()
    try:
        async with asyncio.timeout(_PATIENCE), asyncio.TaskGroup() as group:
            for line in lines:
                group.create_task(send(line))
    except TimeoutError:
        raise NotMeasured(f"{registry.name} did not answer {len(lines)} lines of uploads in {_PATIENCE:g} s") from None
    except ExceptionGroup as faults:
        raise NotMeasured(f"{registry.name}: {faults.exceptions[0]}") from None
    return Crowd(time.perf_counter() - begun, times)


async def _send(wheel: Wheel, request: bytes, port: int, pending: bool) -> None:
    """Send one upload and read its answer to the end.

    Raises:
        NotMeasured: it is not 200, or says that the publication is pending where that is not taken.
    """
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(request)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.read()
    finally:
        writer.close()
    if head.split(b" ", 2)[1] != b"200" or (b"is pending" in body and not pending):
        raise NotMeasured(f"the upload of {wheel.filename} is answered with {(head + body)[:400]!r}")


def _request(registry: Registry, wheel: Wheel) -> bytes:
    content_type, body = form_of(wheel)
    headers = (
        f"POST {registry.index}/ HTTP/1.1",
        f"Host: {HOST}:{registry.server.port}",
        f"Authorization: {registry.authorization}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join(headers).encode() + b"\r\n\r\n" + body
