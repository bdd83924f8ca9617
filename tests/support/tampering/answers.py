"""What a tampering server sends in the place of what is there."""

from __future__ import annotations

import functools
import time
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

from tests.support.tampering.server import Answer, Reply, send

BOMB_BYTES = 256 * 1024 * 1024
"""What a bomb decodes to."""


def replaced(body: bytes) -> Answer:
    """Return what sends other bytes."""
    return lambda handler, _honest: send(handler, Reply(200, body))


def refused(status: int) -> Answer:
    """Return what answers with a status and nothing else."""
    return lambda handler, _honest: send(handler, Reply(status))


def altered(change: Callable[[bytes], bytes]) -> Answer:
    """Return what sends the honest bytes, changed."""
    return lambda handler, honest: send(handler, Reply(200, change(honest().body)))


def flipped(handler: BaseHTTPRequestHandler, honest: Callable[[], Reply]) -> None:
    """Send the honest bytes with one bit of the last one changed."""
    body = honest().body
    send(handler, Reply(200, body[:-1] + bytes([body[-1] ^ 1])))


def halved(handler: BaseHTTPRequestHandler, honest: Callable[[], Reply]) -> None:
    """Send the first half of the honest bytes, as if they were all."""
    reply = honest()
    send(handler, Reply(reply.status, reply.body[: len(reply.body) // 2], reply.headers))


def endless(handler: BaseHTTPRequestHandler, _honest: Callable[[], Reply]) -> None:
    """Send bytes until the client hangs up."""
    _begin(handler)
    while True:
        handler.wfile.write(b" " * 65536)


def bomb(handler: BaseHTTPRequestHandler, _honest: Callable[[], Reply]) -> None:
    """Send a quarter of a megabyte that decodes to a quarter of a gigabyte."""
    send(handler, Reply(200, _bomb(), {"content-encoding": "gzip"}))


def dripping(gap: float) -> Answer:
    """Return what sends one byte each `gap` seconds, until the client hangs up."""

    def drip(handler: BaseHTTPRequestHandler, _honest: Callable[[], Reply]) -> None:
        _begin(handler)
        while True:
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(gap)

    return drip


def _begin(handler: BaseHTTPRequestHandler) -> None:
    """Begin an answer that ends with the connection."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()


@functools.cache
def _bomb() -> bytes:
    deflater = zlib.compressobj(9, wbits=31)
    zeros = bytes(1024 * 1024)
    return b"".join(deflater.compress(zeros) for _ in range(BOMB_BYTES // len(zeros))) + deflater.flush()
