"""The method PUSH of the devpi client: the same as POST to everything behind the protocol."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from tests.support.listening import listening, sent

PUSH = b"PUSH /root/dev HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello"
LAST = b"GET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with method, path and body, after the seconds that the query asks for."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    await asyncio.sleep(float(scope["query_string"] or 0))
    text = f"<{scope['method']} {scope['path']} ".encode() + body + b">"
    headers = [(b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


async def said(*parts: bytes) -> list[bytes]:
    """Send bytes in several writes, and return what the application was asked, in order."""
    async with listening(echo) as port:
        answer = await sent(port, *parts)
    return [piece.partition(b">")[0] for piece in answer.split(b"<")[1:]]


@pytest.mark.parametrize("cut", [*range(1, 12), len(PUSH) - 2])
async def test_a_push_is_a_post_wherever_it_is_cut(cut: int) -> None:
    """First and later requests of a connection, however the network cuts them."""
    parts = [PUSH[:cut], PUSH[cut:]]
    assert await said(*parts, *parts, LAST) == [b"POST /root/dev hello", b"POST /root/dev hello", b"GET /last "]


async def test_a_push_one_byte_at_a_time() -> None:
    """Nothing is lost or sent twice."""
    assert await said(*(PUSH[at : at + 1] for at in range(len(PUSH))), LAST) == [b"POST /root/dev hello", b"GET /last "]


async def test_a_push_while_another_request_is_being_answered() -> None:
    """A client that does not wait for an answer gets both, in order."""
    slow = b"GET /slow?0.2 HTTP/1.1\r\nhost: x\r\n\r\n"
    assert await said(slow, PUSH, LAST) == [b"GET /slow ", b"POST /root/dev hello", b"GET /last "]


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"PROPFIND", b"PURGE"])
async def test_other_methods_stay_as_they_are(method: bytes) -> None:
    """Also those that begin alike, and are cut there."""
    request = PUSH.replace(b"PUSH", method)
    for parts in ([request], [request[:1], request[1:]], [request[:2], request[2:]], [request[:3], request[3:]]):
        assert await said(*parts, LAST) == [method + b" /root/dev hello", b"GET /last "]


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_looks_like_a_push_is_not_touched(chunked: bool) -> None:
    """Only the first bytes of a request are looked at: bodies arrive as they were sent, in whatever pieces."""
    text = b"PUSH /root/dev HTTP/1.1\r\n"
    if chunked:
        head = b"POST /x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        parts = [head + b"%x\r\n" % (2 * len(text)), text, text + b"\r\n0\r\n\r\n"]
    else:
        parts = [b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (2 * len(text)), text, text]
    assert await said(*parts, LAST) == [b"POST /x " + text + text, b"GET /last "]


@pytest.mark.parametrize("head", [b"PUSH", b"push /", b"PUSH\t/", b"PUSH x", b"PUSHX /", b"PUSH  /", b"\r\nPUSH /"])
async def test_nothing_that_is_only_like_it(head: bytes) -> None:
    """What is no `PUSH /` at the very beginning is an unknown method, as before."""
    async with listening(echo) as port:
        answer = await sent(port, head + PUSH[6:])
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_a_push_behind_another_request_in_one_read_is_refused() -> None:
    """Two requests at once in one packet: the parser is past the place already, so the second is a clean 400."""
    async with listening(echo) as port:
        answer = await sent(port, PUSH + PUSH)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
