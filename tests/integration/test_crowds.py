"""Requests that come at once, at the server of every listener: they begin in turn, and none is lost over that."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from deploy.listeners import HttpServer
from deploy.ports import port_of, take_port
from shared.service import HotPath, Prepared
from shared.turnstile import Turnstile
from tests.integration.test_listeners import echo
from tests.support.listening import listening, sent

CROWD, STEPS = 200, 20


def get(path: str) -> bytes:
    """Return a request that is the last of its connection."""
    return f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()


def post(body: bytes) -> bytes:
    """Return a request with a body that is the last of its connection."""
    return b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body


def said(answer: bytes) -> bytes:
    """Return the body of an answer of `echo`, which comes as one chunk."""
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    return answer.partition(b"\r\n\r\n")[2].split(b"\r\n")[1]


async def at_once(port: int, requests: list[bytes]) -> list[bytes]:
    """Connect for each of some requests, then send all in one step, and return the answers."""
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in requests]
    for (_, writer), request in zip(connections, requests, strict=True):
        writer.write(request)
    answers = await asyncio.gather(*(reader.read() for reader, _ in connections))
    for _, writer in connections:
        writer.close()
    return answers


class Slow:
    """An application whose answers take some turns of the loop, and a reader that has nothing ready but `/hot`."""

    def __init__(self) -> None:
        self.parsed = 0
        self.parsed_before_the_first_answer: int | None = None

    def hot(self, scope: Scope) -> Prepared | None:
        """Answer what lies ready."""
        self.parsed += 1
        return Prepared(200, [(b"content-length", b"3")], b"hot") if scope["path"] == "/hot" else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer after some turns."""
        for _ in range(STEPS):
            await asyncio.sleep(0)
        if self.parsed_before_the_first_answer is None:
            self.parsed_before_the_first_answer = self.parsed
        await echo(scope, receive, send)


async def test_the_first_of_a_crowd_does_not_wait_for_the_others_to_be_read() -> None:
    """One begins in each turn of the loop; the others are not even parsed when the first is answered."""
    app = Slow()
    async with listening(HotPath([app.hot], app)) as port:
        answers = await at_once(port, [get("/")] * CROWD)
    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
    assert app.parsed_before_the_first_answer is not None
    assert app.parsed_before_the_first_answer <= 2 * STEPS


async def test_what_lies_ready_takes_nobodys_turn() -> None:
    """Behind one that takes its time, all that lie ready are answered in the next turn."""
    app = Slow()
    async with listening(HotPath([app.hot], app)) as port:
        answers = await at_once(port, [get("/"), *[get("/hot")] * (CROWD - 1)])
    assert sum(answer.endswith(b"hot") for answer in answers) == CROWD - 1
    assert app.parsed_before_the_first_answer == CROWD


async def test_bodies_of_those_who_wait_arrive_whole() -> None:
    """Whatever was sent of a body before its request began: nothing, a part, or more than is let wait."""
    bodies = [b"x" * length for length in (0, 1, 40_000, 70_000, 1_000_000)] * 8
    async with listening(HotPath([], echo)) as port:
        answers = await at_once(port, [post(body) for body in bodies])
    assert [int(said(answer)) for answer in answers] == [len(body) for body in bodies]


async def test_pieces_of_a_request_that_waits_belong_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they are small, and where a `PUSH` is cut in two."""
    monkeypatch.setattr("shared.turnstile.PATIENCE", 0.2)
    path = HotPath([], echo)
    path.turnstile = Turnstile(at_once=0)
    async with listening(path) as port:
        request = post(b"some body").replace(b"POST", b"PUSH")
        answer = await sent(port, *[request[at : at + 7] for at in range(0, len(request), 7)])
    assert said(answer) == b"9"


async def test_who_went_away_before_the_turn_begins_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is there to be answered."""
    monkeypatch.setattr("shared.turnstile.PATIENCE", 0.2)
    begun = list[str]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.append(scope["path"])
        await echo(scope, receive, send)

    path = HotPath([], app)
    path.turnstile = Turnstile(at_once=0)
    async with listening(path) as port:
        _, gone = await asyncio.open_connection("127.0.0.1", port)
        # Closing it resets it: an end that is only of what is sent may mean that an answer is waited for.
        gone.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.write(get("/gone"))
        await asyncio.sleep(0.05)
        gone.close()
        assert (await sent(port, get("/stays"))).startswith(b"HTTP/1.1 200 ")
    assert begun == ["/stays"]


async def test_what_lies_ready_is_answered_also_to_who_sends_no_more() -> None:
    """Some clients close their side behind the request."""
    app = Slow()
    path = HotPath([app.hot], app)
    path.turnstile = Turnstile(at_once=0)
    async with listening(path) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("/hot"))
        writer.write_eof()
        assert (await reader.read()).endswith(b"hot")
        writer.close()


async def test_who_waits_when_the_server_stops_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The request arrived, and the client cannot know that it did not begin."""
    monkeypatch.setattr("shared.turnstile.PATIENCE", 60.0)
    path = HotPath([], echo)
    path.turnstile = Turnstile(at_once=0)
    assert (await _stopped(path, get("/"))).startswith(b"HTTP/1.1 200 ")


async def _stopped(app: ASGIApp, request: bytes) -> bytes:
    """Send a request, stop the server, and return the answer."""
    taken = take_port("127.0.0.1", 0, "X")
    server = HttpServer(app, taken)
    running = asyncio.create_task(server.run_until_stopped())
    answer = asyncio.create_task(sent(port_of(taken), request))
    await asyncio.sleep(0.3)
    assert not answer.done()
    server.stop()
    await running
    return await answer
