"""The HTTP server of every listener: bounded heads, a quiet identity, an orderly end."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
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


REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


@pytest.mark.skipif(not hasattr(socket, "TCP_DEFER_ACCEPT"), reason="the kernel tells of each connection at once")
async def test_a_connection_comes_with_its_request() -> None:
    """Who connects and sends nothing yet costs the process nothing, and is answered when a request comes."""
    taken, loop = 2, asyncio.get_running_loop()
    for _ in range(5):
        async with serving() as (server, _, port):
            begun = loop.time()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            other, asking = await asyncio.open_connection("127.0.0.1", port)
            asking.write(REQUEST.replace(b"close", b"keep-alive"))
            assert (await other.readline()).startswith(b"HTTP/1.1 200 ")
            taken = len(server.server_state.connections)
            in_time = loop.time() - begun < 0.5
            writer.write(REQUEST)
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
            writer.close()
            asking.close()
        if in_time:  # Of a machine that stood still for a second the silent one was accepted meanwhile.
            break
    assert taken == 1


async def test_who_takes_time_before_a_request_is_answered() -> None:
    """After a while the process has the connection all the same."""
    async with serving() as (server, _, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(20):
            while not server.server_state.connections:
                await asyncio.sleep(0.05)
        writer.write(REQUEST[:7])
        await asyncio.sleep(0.05)
        writer.write(REQUEST[7:])
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_who_connects_and_goes_harms_nobody() -> None:
    """As checks of load balancers do."""
    async with serving() as (server, _, port):
        for _ in range(50):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
        assert (await sent(port, REQUEST)).startswith(b"HTTP/1.1 200 ")
        async with asyncio.timeout(20):
            while server.server_state.connections:
                await asyncio.sleep(0.05)


async def test_a_head_that_does_not_end_is_refused() -> None:
    """Headers without end are answered 400 and cost no more memory than the bound."""
    async with serving() as (_, _, port):
        endless = b"a" * (MAX_HEAD // 4)
        answer = await sent(port, b"GET / HTTP/1.1\r\nhost: x\r\nx: ", *[endless] * 6)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"request line and headers are too large" in answer


CHUNKED = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"


async def told_headers(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body to its end, and answer with the request's headers as they are then."""
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": repr(scope["headers"]).encode()})


@pytest.mark.parametrize("one_write", [True, False])
async def test_trailers_are_no_headers(one_write: bool) -> None:
    """What stands behind a body in chunks is read and forgotten: nobody can add a header after the fact."""
    parts = [CHUNKED, b"1\r\na\r\n", b"0\r\nx-forwarded-for: 192.0.2.1\r\nauthorization: Basic eA==\r\n\r\n"]
    async with listening(told_headers) as port:
        answer = await sent(port, *([b"".join(parts)] if one_write else parts))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"transfer-encoding" in answer
    assert b"forwarded" not in answer
    assert b"authorization" not in answer


@pytest.mark.parametrize(
    ("beginning", "more"),
    [
        (b"0\r\n", b"x: yyy\r\n" * (MAX_HEAD // 32)),
        (b"0\r\nx: ", b"y" * (MAX_HEAD // 4)),
        (b"1;x=", b"y" * (MAX_HEAD // 4)),
    ],
    ids=["lines of trailers", "one trailer", "a chunk's extension"],
)
async def test_what_surrounds_chunks_is_bounded(beginning: bytes, more: bytes) -> None:
    """Trailers and extensions without end are answered 400, and the connection is closed."""
    async with serving() as (_, _, port):
        answer = await sent(port, CHUNKED, b"1\r\na\r\n", beginning, *[more] * 5)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"trailers or chunk extensions are too large" in answer


async def test_a_refusal_is_not_written_into_an_answer() -> None:
    """Where an answer has begun, the connection ends and nothing is written that could be taken for its content."""

    async def early(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"500")]})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass

    async with listening(early) as port:
        answer = await sent(port, CHUNKED, b"1\r\na\r\n0\r\nx: ", *[b"y" * (MAX_HEAD // 4)] * 5)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"begun")


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
