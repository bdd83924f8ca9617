"""The HTTP server of every listener: bounded heads, a quiet identity, an orderly end."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from starlette.types import Receive, Scope, Send

from deploy.listeners import HttpServer
from deploy.ports import port_of, take_port
from deploy.protocol import MAX_HEAD
from tests.support.listening import listening, sent


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with how many bytes the body had, after the seconds that the query asks for."""
    length, more = 0, True
    while more:
        message = await receive()
        length, more = length + len(message.get("body", b"")), message.get("more_body", False)
    await asyncio.sleep(float(scope["query_string"] or 0))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(length).encode()})


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[HttpServer, asyncio.Task[None], int]]:
    """Run a server; yields it, its task and its port."""
    listening = take_port("127.0.0.1", 0, "X")
    server = HttpServer(echo, listening)
    task = asyncio.create_task(server.run_until_stopped())
    try:
        yield server, task, port_of(listening)
    finally:
        server.stop()
        await task


async def test_a_head_that_does_not_end_is_refused() -> None:
    """Headers without end are answered 400 and cost no more memory than the bound."""
    async with serving() as (_, _, port):
        endless = b"a" * (MAX_HEAD // 4)
        answer = await sent(port, b"GET / HTTP/1.1\r\nhost: x\r\nx: ", *[endless] * 6)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"request line and headers are too large" in answer


async def test_large_heads_below_the_bound_and_large_bodies_pass() -> None:
    """Long headers of real clients, and bodies of any size, are no attack."""
    async with serving() as (_, _, port), httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        answer = await client.post("/", content=b"x" * 1_000_000, headers={"authorization": "y" * 30_000})
        again = await client.post("/", content=b"x" * 10)
    assert (answer.text, again.text) == ("1000000", "10")


async def slow_digest(scope: Scope, receive: Receive, send: Send) -> None:
    """Read a body in pieces, slower than it comes, and answer with its digest."""
    digest, more = hashlib.sha256(), True
    while more:
        message = await receive()
        assert isinstance(message.get("body", b""), bytes)
        digest.update(message.get("body", b""))
        more = message.get("more_body", False)
        await asyncio.sleep(0.005)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": digest.hexdigest().encode()})


async def test_bodies_arrive_as_they_were_sent() -> None:
    """Whatever comes while the application is busy is kept in order, with a length and in chunks."""
    pieces = [bytes([number]) * (number * number * 3 % 70_000 + 1) for number in range(150)] + [b"x"] * 20_000
    expected = hashlib.sha256(b"".join(pieces)).hexdigest()

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async with listening(slow_digest) as port, httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        chunked = await client.post("/", content=body())
        whole = await client.post("/", content=b"".join(pieces))
    assert (chunked.text, whole.text) == (expected, expected)


async def test_answers_do_not_say_what_serves_them() -> None:
    """No `server` header."""
    async with serving() as (_, _, port), httpx2.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{port}/")
    assert "server" not in answer.headers


async def test_requests_under_way_are_answered_at_the_end() -> None:
    """Stopping takes no more requests and lets those under way end."""
    async with serving() as (server, task, port), httpx2.AsyncClient() as client:
        under_way = asyncio.create_task(client.get(f"http://127.0.0.1:{port}/?0.5"))
        await asyncio.sleep(0.2)
        server.stop()
        assert (await under_way).status_code == 200
        await asyncio.wait_for(task, 10)


async def test_a_request_that_does_not_end_is_cut_off() -> None:
    """The end does not wait for ever."""
    async with serving() as (server, task, port):
        client = httpx2.AsyncClient()
        under_way = asyncio.create_task(client.get(f"http://127.0.0.1:{port}/?600", timeout=600))
        await asyncio.sleep(0.2)
        server.stop()
        await asyncio.wait_for(task, 10)
        under_way.cancel()
        await client.aclose()
