"""Connections to servers outside: what is sent, which are kept, and how little a server can do that answers badly."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from shared.outgoing import USER_AGENT, Outgoing, Patience, Unreachable
from shared.outside import LOOPBACK, Outside
from tests.support.ci_issuer import server_tls

_HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Heard:
    """What a server noticed.

    Attributes:
        requests: the heads of requests, for each connection.
        open: connections that are not closed, at the moment and at most.
    """

    def __init__(self) -> None:
        self.requests: list[list[bytes]] = []
        self.open = self.most = 0


@asynccontextmanager
async def _server(
    answer: bytes | Callable[[int, int], bytes] = _HELLO,
    *,
    serve: Serve | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[tuple[int, Heard]]:
    """Serve on a free port.

    Args:
        answer: to every request; or of the numbers of the connection and of the request on it, nothing closes it.
        serve: in its place, what follows the head of a connection's first request.
    """
    heard = Heard()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, requests = len(heard.requests), list[bytes]()
        heard.requests.append(requests)
        heard.open += 1
        heard.most = max(heard.open, heard.most)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                requests.append(await reader.readuntil(b"\r\n\r\n"))
                if serve is not None:
                    await serve(reader, writer)
                    break
                said = answer if isinstance(answer, bytes) else answer(number, len(requests))
                if not said:
                    break
                writer.write(said)
                await writer.drain()
        heard.open -= 1
        writer.transport.abort()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1], heard
    finally:
        server.close()


@pytest.fixture
async def outgoing() -> AsyncIterator[Outgoing]:
    """What asks; loopback is allowed."""
    async with Outgoing(Outside(networks=LOOPBACK)) as outgoing:
        yield outgoing


def _means(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let all names mean these addresses."""

    async def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)


async def _read(outgoing: Outgoing, url: str, most: int = 1 << 20, *, read: float = 5.0) -> bytes:
    async with outgoing.get(url, {}, patience=Patience(connect=0.5, read=read)) as answer:
        return await answer.read(most)


async def _failure(outgoing: Outgoing, url: str, *, read: float = 5.0) -> str:
    with pytest.raises(Unreachable) as caught:
        await _read(outgoing, url, read=read)
    return str(caught.value)


class TestSent:
    """Requests say what they are told to, and nothing else."""

    @pytest.mark.parametrize(
        "target",
        [
            "/a%2Bb/+f/%2e%2E/%zz",
            "/a/../b/./c",
            "//a//b/",
            "/%7e~!$&'()*,;=:@/x;y=1",
            "/a?b=c%20d&e=%2F?f",
            '/[x]|\\^"<>{}`',
        ],
    )
    async def test_paths_byte_for_byte(self, outgoing: Outgoing, target: str) -> None:
        """A link is an address, whatever another spelling of it may mean."""
        async with _server() as (port, heard):
            assert await _read(outgoing, f"http://127.0.0.1:{port}{target}#f") == b"hello"
        assert heard.requests[0][0].split(b"\r\n")[0] == f"GET {target} HTTP/1.1".encode()

    async def test_a_space_is_no_part_of_an_address(self, outgoing: Outgoing) -> None:
        """It would end the path."""
        async with _server() as (port, heard):
            assert "no plain" in await _failure(outgoing, f"http://127.0.0.1:{port}/a b")
        assert heard.requests == []

    async def test_no_other_header(self, outgoing: Outgoing, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Neither cookies of an answer before, nor what the environment says of proxies and passwords."""
        (tmp_path / "netrc").write_text("default login me password secret\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        answer = _HELLO.replace(b"\r\n\r\n", b"\r\nset-cookie: a=b; path=/\r\n\r\n")
        async with _server(answer) as (port, heard):
            for _ in range(2):
                await _read(outgoing, f"http://127.0.0.1:{port}/")
        fields = {f"Host: 127.0.0.1:{port}".lower(), f"user-agent: {USER_AGENT}"}
        for request in heard.requests[0]:
            assert {line.lower() for line in request.decode().split("\r\n")[1:] if line} == fields


class TestKept:
    """Connections are used again when they are in order, and only then."""

    async def test_for_the_next_request(self, outgoing: Outgoing) -> None:
        """Until everything is closed."""
        async with _server() as (port, heard):
            for _ in range(3):
                assert await _read(outgoing, f"http://127.0.0.1:{port}/") == b"hello"
            assert [len(requests) for requests in heard.requests] == [3]
            await outgoing.__aexit__(None, None, None)
            async with asyncio.timeout(5):
                while heard.open:
                    await asyncio.sleep(0.01)

    async def test_closed_meanwhile(self, outgoing: Outgoing) -> None:
        """A connection that the server closed is not used, whether it said so or not."""

        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(_HELLO)
            await writer.drain()

        async with _server(serve=serve) as (port, heard):
            for _ in range(2):
                assert await _read(outgoing, f"http://127.0.0.1:{port}/") == b"hello"
                async with asyncio.timeout(5):
                    while heard.open:
                        await asyncio.sleep(0.01)
        async with _server(_HELLO.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")) as (port, heard):
            for _ in range(2):
                assert await _read(outgoing, f"http://127.0.0.1:{port}/") == b"hello"
            assert [len(requests) for requests in heard.requests] == [1, 1]

    async def test_closed_under_the_request(self, outgoing: Outgoing) -> None:
        """Then it is sent again, over another connection; once, and not forever."""
        async with _server(lambda number, request: _HELLO if (number, request) != (0, 2) else b"") as (port, heard):
            for _ in range(3):
                assert await _read(outgoing, f"http://127.0.0.1:{port}/") == b"hello"
            assert [len(requests) for requests in heard.requests] == [2, 2]
        async with _server(lambda *_: b"") as (port, heard):
            assert "does not answer: it closed the connection" in await _failure(outgoing, f"http://127.0.0.1:{port}/")
            assert len(heard.requests) == 2

    async def test_not_with_the_rest_of_a_body(self, outgoing: Outgoing) -> None:
        """What was not read would be the next answer."""
        rest = b"HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n" + bytes(3_000_000)
        async with _server(rest) as (port, heard):
            for _ in range(2):
                async with outgoing.get(f"http://127.0.0.1:{port}/", {}) as answer:
                    assert answer.status == 200
            assert [len(requests) for requests in heard.requests] == [1, 1]

    async def test_what_comes_after_an_answer_is_none(self, outgoing: Outgoing) -> None:
        """A second answer to one request is not taken for the answer to the next one."""
        async with _server(_HELLO + _HELLO.replace(b"hello", b"wrong")) as (port, _):
            for _ in range(3):
                with suppress(Unreachable):
                    assert await _read(outgoing, f"http://127.0.0.1:{port}/") == b"hello"

    async def test_no_more_than_allowed(self, outgoing: Outgoing) -> None:
        """Many questions share the connections to a server."""

        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(0.05)
            writer.write(_HELLO)
            await writer.drain()

        async with _server(serve=serve) as (port, heard):
            answers = await asyncio.gather(*(_read(outgoing, f"http://127.0.0.1:{port}/") for _ in range(150)))
            assert answers == [b"hello"] * 150
            assert 2 <= heard.most <= 64


class TestAddresses:
    """Connections go to the addresses that were judged, in their order."""

    async def test_the_next_one(self, outgoing: Outgoing, monkeypatch: pytest.MonkeyPatch) -> None:
        """When the first takes no connection; the name stays the one of the link."""
        async with _server() as (port, heard):
            _means(monkeypatch, "127.0.0.2", "127.0.0.1")
            assert await _read(outgoing, f"http://index.test:{port}/") == b"hello"
        assert f"host: index.test:{port}\r\n".encode() in heard.requests[0][0].lower()

    async def test_are_not_told(self, outgoing: Outgoing, monkeypatch: pytest.MonkeyPatch) -> None:
        """To whoever asks for a name that leads inside."""
        _means(monkeypatch, "127.0.0.2", "127.0.0.3")
        for scheme in ("http", "https"):
            said = await _failure(outgoing, f"{scheme}://index.test:9/")
            assert said == "index.test:9 cannot be reached: Connection refused"

    async def test_only_they(self, outgoing: Outgoing) -> None:
        """The library cannot resolve a name, were it ever given one."""
        async with _server() as (port, _):
            await _read(outgoing, f"http://127.0.0.1:{port}/")
            (connections,) = outgoing._connections.values()
            with pytest.raises(aiohttp.ClientConnectorDNSError):
                await connections._session.get(f"http://localhost:{port}/")


class TestTls:
    """The certificate is that of the name in the link, though an address is connected to."""

    @pytest.fixture
    def tls(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
        """A server's, of an authority that is trusted here."""
        tls, files = server_tls(tmp_path / "tls")
        monkeypatch.setenv("SSL_CERT_FILE", str(files.authority))
        return tls

    async def test_of_the_name(self, outgoing: Outgoing, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
        """The server is told which one; another name at the same address is refused, and said so."""
        told: list[str | None] = []
        tls.sni_callback = lambda _, name, __: told.append(name)
        _means(monkeypatch, "127.0.0.1")
        async with _server(tls=tls) as (port, _):
            for _ in range(2):
                assert await _read(outgoing, f"https://localhost:{port}/") == b"hello"
            assert told == ["localhost"]
            said = await _failure(outgoing, f"https://index.test:{port}/")
        assert "its certificate is not accepted: Hostname mismatch" in said
        assert "'index.test'" in said
        assert told == ["localhost", "index.test"]

    async def test_of_nobody_who_is_trusted(self, outgoing: Outgoing, tmp_path: Path) -> None:
        """No answer is taken from there."""
        tls, _ = server_tls(tmp_path / "other")
        async with _server(tls=tls) as (port, heard):
            said = await _failure(outgoing, f"https://localhost:{port}/")
        assert "its certificate is not accepted: " in said
        assert not any(heard.requests)

    async def test_a_server_without(self, outgoing: Outgoing) -> None:
        """Is told apart, and so is one that never speaks."""

        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(0 if speaks else 30)
            writer.write(_HELLO)

        speaks = True
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            assert "cannot be reached: TLS fails: " in await _failure(outgoing, url)
            speaks = False
            assert "cannot be reached: it does not take connections" in await _failure(outgoing, url)


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
        async with _server(serve=_drip(first, again)) as (port, _), asyncio.timeout(5):
            said = await _failure(outgoing, f"http://127.0.0.1:{port}/")
        assert said == f"127.0.0.1:{port} does not answer: what it sends is no HTTP"

    @pytest.mark.parametrize("again", _ENDLESS_BODIES.values(), ids=_ENDLESS_BODIES.keys())
    async def test_bodies_without_an_end(self, outgoing: Outgoing, again: bytes) -> None:
        """What is no body is silence."""
        async with _server(serve=_drip(_CHUNKED, again)) as (port, heard), asyncio.timeout(5):
            assert "broke off" in await _failure(outgoing, f"http://127.0.0.1:{port}/", read=0.3)
            while heard.open:
                await asyncio.sleep(0.01)

    @pytest.mark.parametrize("cut", [_CHUNKED, _CHUNKED + b"5\r\nhe", _HELLO[:-1]], ids=["chunks", "chunk", "length"])
    async def test_bodies_that_are_cut(self, outgoing: Outgoing, cut: bytes) -> None:
        """Are told apart from whole ones, at once."""

        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(cut)
            await asyncio.sleep(0.05)

        async with _server(serve=serve) as (port, _), asyncio.timeout(2):
            assert "broke off: it ended too early" in await _failure(outgoing, f"http://127.0.0.1:{port}/")
            async with outgoing.get(f"http://127.0.0.1:{port}/", {}) as answer:
                with pytest.raises(Unreachable, match="broke off: it ended too early"):
                    async for _ in answer.chunks():
                        pass

    async def test_an_answer_that_is_always_about_to_come(self, outgoing: Outgoing) -> None:
        """Is bounded in time."""
        go_on = b"HTTP/1.1 100 Continue\r\n\r\n"
        async with _server(serve=_drip(go_on, go_on)) as (port, _):
            with pytest.raises(Unreachable, match=r"did not answer within 0\.3 s"):
                async with outgoing.get(f"http://127.0.0.1:{port}/", {}, patience=Patience(head=0.3)):
                    pass

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

        async with _server(serve=serve) as (port, _), outgoing.get(f"http://127.0.0.1:{port}/", {}) as answer:
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
        async with _server(head) as (port, _), outgoing.get(f"http://127.0.0.1:{port}/", {}) as answer:
            assert (answer.headers["x-a"], answer.headers["x-b"]) == ("1, 2", "\xff\xc3\xa4")


def _packed(body: bytes, coding: str = "gzip") -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class TestPacked:
    """Bodies are unpacked where they are read as a whole, and nowhere else."""

    async def test_chunks_are_as_sent(self, outgoing: Outgoing) -> None:
        """What is packed is stored as such."""
        packed = gzip.compress(b"hello")
        async with _server(_packed(packed)) as (port, _), outgoing.get(f"http://127.0.0.1:{port}/", {}) as answer:
            assert b"".join([chunk async for chunk in answer.chunks()]) == packed

    @pytest.mark.parametrize("coding", ["gzip", "GZip", "x-gzip"])
    async def test_members(self, outgoing: Outgoing, coding: str) -> None:
        """Gzip may be several pieces; nothing at all is nothing."""
        two = gzip.compress(b"hello ") + gzip.compress(b"you")
        for packed, body in ((two, b"hello you"), (b"", b"")):
            async with _server(_packed(packed, coding)) as (port, _):
                assert await _read(outgoing, f"http://127.0.0.1:{port}/") == body

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
        async with _server(_packed(body, coding)) as (port, _):
            assert words in await _failure(outgoing, f"http://127.0.0.1:{port}/")


def test_nothing_is_loaded_before_it_is_asked() -> None:
    """Processes that ask nobody outside begin without the library."""
    code = "import sys, shared.outgoing, deploy.open_resources; print('aiohttp' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
