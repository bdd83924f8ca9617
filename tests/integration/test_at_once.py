"""Answers from memory that go out while the request's head is read: the same as by the application, and bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from starlette.types import Receive, Scope, Send

from shared.service import HotPath, HotReader, Prepared
from tests.support.listening import listening, sent

BODY = b"page " * 10_000
ETAG = (b"etag", b'"1"')
PAGE = Prepared(200, [(b"content-length", b"%d" % len(BODY)), ETAG], BODY)
UNCHANGED = Prepared(304, [ETAG], b"")
LARGE = Prepared(200, [(b"content-length", b"1000000"), ETAG], b"")
"""What a file says to HEAD whose bytes are not in memory."""

FIXED = {
    "/page": PAGE,
    "/unchanged": UNCHANGED,
    "/large": LARGE,
    "/unframed": Prepared(200, [ETAG], b"no length"),
    "/split": Prepared(200, [(b"content-length", b"0"), (b"x", b"1\r\nset-cookie: a=b")], b""),
    "/own": Prepared(200, [(b"content-length", b"0"), (b"transfer-encoding", b"chunked")], b""),
}


def ready(scope: Scope) -> Prepared | None:
    """Return what lies ready; `/broken` is a fault."""
    if scope["path"] == "/broken":
        raise KeyError("broken")
    return FIXED.get(scope["path"])


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer after a while."""
    await asyncio.sleep(0.1)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"slow"})


def ask(path: str, *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    """Return a request."""
    return "\r\n".join([f"{method} {path} HTTP/{version}", "host: x", *headers, "", ""]).encode()


CLOSE = "connection: close"
KEEP = "connection: keep-alive"

# With and without the hot reader known to the server: what it does by itself must be what the messages come to.
WAYS = pytest.mark.parametrize("at_once", [True, False])


def application(at_once: bool, reader: HotReader = ready) -> Any:
    """Return an application whose hot reads the server finds, or one that hides them."""
    path = HotPath([reader], slow)

    async def hidden(scope: Scope, receive: Receive, send: Send) -> None:
        await path(scope, receive, send)

    return path if at_once else hidden


async def answers(at_once: bool, *parts: bytes) -> bytes:
    """Return all that comes back, without the dates."""
    async with listening(application(at_once)) as port:
        answer = await sent(port, *parts)
    return b"\r\n".join(line for line in answer.split(b"\r\n") if not line.startswith(b"date: "))


HEAD = b'HTTP/1.1 200 OK\r\ncontent-length: %d\r\netag: "1"\r\n'
WHOLE = HEAD % len(BODY)


@WAYS
async def test_answers_are_whole(at_once: bool) -> None:
    """GET has the body, HEAD its length alone, 304 neither; the connection is kept until the client ends it."""
    requests = [ask("/page"), ask("/page", method="HEAD"), ask("/large", method="HEAD"), ask("/unchanged", CLOSE)]
    assert await answers(at_once, *requests) == (
        WHOLE + b"\r\n" + BODY + WHOLE + b"\r\n" + HEAD % 1_000_000 + b"\r\n"
        b'HTTP/1.1 304 Not Modified\r\netag: "1"\r\nconnection: close\r\n\r\n'
    )


@WAYS
async def test_old_clients_are_told_the_end(at_once: bool) -> None:
    """HTTP/1.0 keeps no connection."""
    assert await answers(at_once, ask("/page", version="1.0")) == WHOLE + b"connection: close\r\n\r\n" + BODY


@WAYS
async def test_answers_keep_the_order_of_requests(at_once: bool) -> None:
    """What lies ready waits for an earlier request that does not, also when all came at once."""
    paths = ("/page", "/else", "/page", "/unchanged", "/else")
    answer = await answers(at_once, b"".join(map(ask, paths)) + ask("/page", CLOSE))
    kinds = [b"slow" if b"slow" in piece else b"304" if b" 304 " in piece[:20] else b"page" for piece in _split(answer)]
    assert kinds == [b"page", b"slow", b"page", b"304", b"slow", b"page"]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_nothing_is_done_behind_the_last_request(method: str, version: str) -> None:
    """What follows a request that ends the connection is neither answered nor given to the application."""
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["path"])

    async with listening(HotPath([ready], app)) as port:
        # To HTTP/1.0 the server says that it closes, whatever the client asks; the parser would go on.
        last = ask("/unchanged", CLOSE) if version == "1.1" else ask("/unchanged", KEEP, version=version)
        answer = await sent(port, last + ask("/page") + ask("/else", method=method))
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 304 ")
    assert seen == []


def _split(answer: bytes) -> list[bytes]:
    return [b"HTTP/1.1" + piece for piece in answer.split(b"HTTP/1.1")[1:]]


@WAYS
async def test_a_body_that_nobody_asked_for_is_passed_over(at_once: bool) -> None:
    """The bytes of a GET's body are never taken for the next request."""
    body = ask("/else", CLOSE)
    answer = await answers(at_once, ask("/unchanged", f"content-length: {len(body)}"), body, ask("/page", CLOSE))
    assert answer == b'HTTP/1.1 304 Not Modified\r\netag: "1"\r\n\r\n' + WHOLE + b"connection: close\r\n\r\n" + BODY


@WAYS
@pytest.mark.parametrize("path", ["/unchanged", "/else"])
async def test_a_body_that_still_waits_to_be_asked_for_is_not_awaited(at_once: bool, path: str) -> None:
    """Answered before it was told to send, a client need not send: the connection ends, and no request is swallowed."""
    head = ask(path, "expect: 100-continue", "content-length: 1000", method="HEAD")
    answer = await answers(at_once, head)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close\r\n" in answer


async def test_a_refusal_before_the_body_is_asked_for_ends_the_connection() -> None:
    """A POST that is refused while its client waits to send is the last of its connection."""
    async with listening(refusing) as port:
        answer = await sent(port, ask("/", "expect: 100-continue", "content-length: 1000", method="POST"))
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close\r\n" in answer


async def test_a_client_that_did_not_wait_keeps_its_connection() -> None:
    """Once its body is on the way, its end is known, and the next request is answered."""
    first = ask("/", "expect: 100-continue", "content-length: 4", method="POST") + b"body"
    async with listening(refusing) as port:
        answer = await sent(port, first, ask("/", CLOSE, "content-length: 0", method="POST"))
    assert answer.count(b"HTTP/1.1 401 ") == 2


async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse without reading the body."""
    await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


@WAYS
@pytest.mark.parametrize(
    ("path", "expected"), [("/broken", b"Internal Server Error"), ("/split", b""), ("/large", b"\r\n\r\n")]
)
async def test_what_cannot_be_sent_is_broken_off(at_once: bool, path: str, expected: bytes) -> None:
    """A reader that fails is a 500; a header that would split the answer, or a wrong length, ends the connection."""
    answer = await answers(at_once, ask(path))
    assert answer.endswith(expected) if expected else answer == b""
    assert b"set-cookie" not in answer


@pytest.mark.parametrize("path", ["/unframed", "/own"])
async def test_framing_is_the_servers_own(path: str) -> None:
    """Without a length, or with framing of its own, an answer goes the long way and means the same."""
    assert await answers(True, ask(path, CLOSE)) == await answers(False, ask(path, CLOSE))


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_client_that_does_not_read_is_not_answered_into_memory(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Thousands of requests at once fill the socket's buffer and then wait; all are answered once somebody reads."""
    _in_loop(loop, _crowd)


async def _crowd() -> None:
    count, answered = 3000, 0

    def counting(scope: Scope) -> Prepared | None:
        nonlocal answered
        answered += 1
        return ready(scope)

    async with listening(application(True, counting)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
        writer.write(ask("/page") * count + ask("/page", CLOSE))
        await asyncio.sleep(0.5)
        assert 0 < answered * len(BODY) < 32 << 20
        received = 0
        while chunk := await reader.read(1 << 20):
            received += len(chunk)
        writer.close()
    assert answered == count + 1
    assert received > (count + 1) * len(BODY)


def _in_loop(factory: Callable[[], asyncio.AbstractEventLoop], work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(work())
