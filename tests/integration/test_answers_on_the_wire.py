"""Answers as they come out of a connection: each whole, once, and in the order of the requests, whatever its body."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from starlette.types import Receive, Scope, Send

from tests.support.listening import listening, sent

_BROKEN = "broken"
_HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r]*\r\n")


async def answering(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as the path says: `/STATUS/PIECE,PIECE`, where a piece is sent after a pause if it begins with `+`."""
    _, status, said = scope["path"].split("/")
    pieces = [piece.encode() for piece in said.split(",")] if said else []
    length = 1000 if said == _BROKEN else sum(map(len, pieces))
    headers = [] if int(status) in (204, 304) else [(b"content-length", b"%d" % length)]
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    for piece in pieces:
        if piece.startswith(b"+"):
            await asyncio.sleep(0.02)
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    if said == _BROKEN:
        raise OSError("what is to be sent cannot be read")
    await send({"type": "http.response.body", "body": b""})


async def _answers(*requests: str) -> Sequence[tuple[int, bytes]]:
    """Return statuses and bodies of requests that are sent in one write; the last one ends the connection."""
    *others, last = [f"{request} HTTP/1.1\r\nhost: x\r\n" for request in requests]
    whole = "".join([*(f"{one}\r\n" for one in others), f"{last}connection: close\r\n\r\n"])
    async with listening(answering) as port:
        answer = await sent(port, whole.encode())
    parts = _HEAD.split(answer)
    assert parts[0] == b""
    return [
        (int(status), rest.partition(b"\r\n\r\n")[2]) for status, rest in zip(parts[1::2], parts[2::2], strict=True)
    ]


async def test_answers_without_a_body_are_followed_by_the_next() -> None:
    """Of HEAD, and those that have none by their status: their heads have nothing to wait for."""
    asked = ["HEAD /200/body", "GET /304/", "GET /204/", "HEAD /404/none", "GET /200/", "GET /200/one"]
    assert await _answers(*asked) == [(200, b""), (304, b""), (204, b""), (404, b""), (200, b""), (200, b"one")]


async def test_bodies_that_take_their_time_keep_their_place() -> None:
    """What comes at once and what comes later are one body, and the next answer begins behind it."""
    asked = ["GET /200/+late", "GET /200/a,b,c", "GET /200/first,+second,third", "GET /404/+no", "GET /200/last"]
    assert await _answers(*asked) == [
        (200, b"+late"),
        (200, b"abc"),
        (200, b"first+secondthird"),
        (404, b"+no"),
        (200, b"last"),
    ]


async def test_an_answer_that_breaks_off_ends_the_connection() -> None:
    """What was sent of it is there, and nothing follows that could be taken for more of it."""
    async with listening(answering) as port:
        answer = await sent(
            port, b"GET /200/broken HTTP/1.1\r\nhost: x\r\n\r\nGET /200/two HTTP/1.1\r\nhost: x\r\n\r\n"
        )
    assert answer.endswith(b"\r\n\r\nbroken")
    assert len(_HEAD.findall(answer)) == 1


async def test_a_head_comes_before_a_body_that_does_not() -> None:
    """Whoever waits for the status has it, while the body is not there yet."""
    may_go_on = asyncio.Event()

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await may_go_on.wait()
        await send({"type": "http.response.body", "body": b"body"})

    async with listening(waiting) as port, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        may_go_on.set()
        assert await reader.read() == b"body"
        writer.close()
