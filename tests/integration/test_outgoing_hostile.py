"""Connections to servers outside that answer badly: how little they can do, and what is packed."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from shared.outgoing import Outgoing, Patience, Unreachable
from shared.outgoing_connections import AT_ONCE
from shared.outside import LOOPBACK, Outside
from tests.support.plain_server import HELLO, Serve, failure_of, plain_server, read_all

_ENDLESS_HEADS = {
    "line": (b"HTTP/1.1 200 ", b"a" * 4096),
    "name": (b"HTTP/1.1 200 OK\r\n", b"a" * 4096),
    "value": (b"HTTP/1.1 200 OK\r\nx: ", b"a" * 4096),
    "fields": (b"HTTP/1.1 200 OK\r\n", b"a: b\r\n" * 100),
    "no HTTP": (b"SSH-2.0-x\r\n", b"x"),
}

_CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"

_ENDLESS_BODIES = {
    "length of a chunk": b"0" * 4096,
    "extension of a chunk": b"5;a=" + b"a" * 4096,
    "trailer": b"0\r\nx: " + b"a" * 65536,
    "trailers": b"0\r\n" + b"x: y\r\n" * 1000,
    "no chunk": b"zz\r\n",
}


@pytest.fixture
async def outgoing() -> AsyncIterator[Outgoing]:
    """What asks; loopback is allowed."""
    async with Outgoing(Outside(networks=LOOPBACK)) as outgoing:
        yield outgoing


def _drip(first: bytes, again: bytes) -> Serve:
    """Send something, and then something again and again."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        await asyncio.sleep(0.05)
        while True:
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(0.001)

    return serve


class TestHostile:
    """Whatever a server sends, a question ends, and takes little memory."""

    @pytest.mark.parametrize(("first", "again"), _ENDLESS_HEADS.values(), ids=_ENDLESS_HEADS.keys())
    async def test_heads_without_an_end(self, outgoing: Outgoing, first: bytes, again: bytes) -> None:
        """Are no HTTP as soon as they are too long."""
        async with plain_server(serve=_drip(first, again)) as (port, _), asyncio.timeout(5):
            said = await failure_of(outgoing, f"http://127.0.0.1:{port}/")
        assert said == f"127.0.0.1:{port} does not answer: what it sends is no HTTP"

    @pytest.mark.parametrize("again", _ENDLESS_BODIES.values(), ids=_ENDLESS_BODIES.keys())
    async def test_bodies_without_an_end(self, outgoing: Outgoing, again: bytes) -> None:
        """What is no body is silence."""
        async with plain_server(serve=_drip(_CHUNKED, again)) as (port, heard), asyncio.timeout(5):
            assert "broke off" in await failure_of(outgoing, f"http://127.0.0.1:{port}/", read=0.3)
            while heard.open:
                await asyncio.sleep(0.01)

    @pytest.mark.parametrize("cut", [_CHUNKED, _CHUNKED + b"5\r\nhe", HELLO[:-1]], ids=["chunks", "chunk", "length"])
    async def test_bodies_that_are_cut(self, outgoing: Outgoing, cut: bytes) -> None:
        """Are told apart from whole ones, at once."""

        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(cut)
            await asyncio.sleep(0.05)

        async with plain_server(serve=serve) as (port, _), asyncio.timeout(2):
            assert "broke off: it ended too early" in await failure_of(outgoing, f"http://127.0.0.1:{port}/")
            async with outgoing.get(f"http://127.0.0.1:{port}/", {}) as answer:
                with pytest.raises(Unreachable, match="broke off: it ended too early"):
                    async for _ in answer.chunks():
                        pass

    async def test_an_answer_that_is_always_about_to_come(self, outgoing: Outgoing) -> None:
        """Is bounded in time."""
        go_on = b"HTTP/1.1 100 Continue\r\n\r\n"
        async with plain_server(serve=_drip(go_on, go_on)) as (port, _):
            with pytest.raises(Unreachable, match=r"did not answer within 0\.3 s"):
                async with outgoing.get(f"http://127.0.0.1:{port}/", {}, patience=Patience(head=0.3)):
                    pass

    async def test_all_waiting_for_a_head_has_one_end(
        self, outgoing: Outgoing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """For the addresses of a name, for a connection that is free, and for redirects that each come in time."""

        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(0.2)
            writer.write(b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n")

        async def nobody_knows(*_: object, **__: object) -> list[object]:
            await asyncio.sleep(30)
            return []

        async def is_too_long(url: str) -> None:
            with pytest.raises(Unreachable, match=r"did not answer within 0\.3 s") as caught:
                async with outgoing.get(url, {}, patience=Patience(head=0.3)):
                    pass
            assert not caught.value.crowded

        async with plain_server(serve=serve) as (port, _):
            await is_too_long(f"http://127.0.0.1:{port}/")
        async with plain_server(HELLO) as (port, _), AsyncExitStack() as stack:
            for _ in range(AT_ONCE):
                await stack.enter_async_context(outgoing.get(f"http://127.0.0.1:{port}/", {}))
            await is_too_long(f"http://127.0.0.1:{port}/")
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", nobody_knows)
        await is_too_long("http://index.test/")

    async def test_a_slow_reader_makes_the_server_wait(self, outgoing: Outgoing) -> None:
        """Of a body that nobody takes, little is held here."""
        sent = 0

        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
            while True:
                writer.write(bytes(65536))
                await writer.drain()
                sent += 65536

        async with plain_server(serve=serve) as (port, _), outgoing.get(f"http://127.0.0.1:{port}/", {}) as answer:
            chunks = answer.chunks()
            assert await anext(chunks)
            await asyncio.sleep(0.5)
            before = sent
            await asyncio.sleep(0.3)
            assert sent == before
            assert sent < 30 << 20  # Most of it in the buffers of the two sockets.
            async for _ in chunks:
                if sent > before:
                    break

    async def test_fields(self, outgoing: Outgoing) -> None:
        """Of one name they are one; bytes that are no text do no harm."""
        head = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nX-B: \xff\xc3\xa4\r\ncontent-length: 0\r\n\r\n"
        async with plain_server(head) as (port, _), outgoing.get(f"http://127.0.0.1:{port}/", {}) as answer:
            assert (answer.headers["x-a"], answer.headers["x-b"]) == ("1, 2", "\xff\xc3\xa4")


def _packed(body: bytes, coding: str = "gzip") -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class TestPacked:
    """Bodies are unpacked where they are read as a whole, and nowhere else."""

    async def test_chunks_are_as_sent(self, outgoing: Outgoing) -> None:
        """What is packed is stored as such."""
        packed = gzip.compress(b"hello")
        async with plain_server(_packed(packed)) as (port, _), outgoing.get(f"http://127.0.0.1:{port}/", {}) as answer:
            assert b"".join([chunk async for chunk in answer.chunks()]) == packed

    @pytest.mark.parametrize("coding", ["gzip", "GZip", "x-gzip"])
    async def test_members(self, outgoing: Outgoing, coding: str) -> None:
        """Gzip may be several pieces; nothing at all is nothing."""
        two = gzip.compress(b"hello ") + gzip.compress(b"you")
        for packed, body in ((two, b"hello you"), (b"", b"")):
            async with plain_server(_packed(packed, coding)) as (port, _):
                assert await read_all(outgoing, f"http://127.0.0.1:{port}/") == body

    @pytest.mark.parametrize(
        ("body", "coding", "words"),
        [
            (gzip.compress(b"hello" * 100)[:-9], "gzip", "broke off"),
            (gzip.compress(b"hello") + b"junk", "gzip", "no gzip"),
            (b"hello", "gzip", "no gzip"),
            (b"hello", "br", "not asked for: br"),
            (gzip.compress(gzip.compress(b"hello")), "gzip, gzip", "not asked for: gzip, gzip"),
            (gzip.compress(bytes(64 << 20)), "gzip", "more than 1048576 bytes"),
        ],
    )
    async def test_what_cannot_be(self, outgoing: Outgoing, body: bytes, coding: str, words: str) -> None:
        """Is said as such."""
        async with plain_server(_packed(body, coding)) as (port, _):
            assert words in await failure_of(outgoing, f"http://127.0.0.1:{port}/")
