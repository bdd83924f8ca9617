"""Connections to servers outside: what is sent, which are kept, and how little a server can do that answers badly."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from shared.outgoing import USER_AGENT, Outgoing, Patience, Unreachable
from shared.outside import LOOPBACK, Outside
from tests.support.ci_issuer import server_tls
from tests.support.plain_server import HELLO, failure_of, let_names_mean, plain_server, read_all


@pytest.fixture
async def outgoing() -> AsyncIterator[Outgoing]:
    """What asks; loopback is allowed."""
    async with Outgoing(Outside(networks=LOOPBACK)) as outgoing:
        yield outgoing


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
        async with plain_server() as (port, heard):
            assert await read_all(outgoing, f"http://127.0.0.1:{port}{target}#f") == b"hello"
        assert heard.requests[0][0].split(b"\r\n")[0] == f"GET {target} HTTP/1.1".encode()

    async def test_a_space_is_no_part_of_an_address(self, outgoing: Outgoing) -> None:
        """It would end the path."""
        async with plain_server() as (port, heard):
            assert "no plain" in await failure_of(outgoing, f"http://127.0.0.1:{port}/a b")
        assert heard.requests == []

    async def test_no_other_header(self, outgoing: Outgoing, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Neither cookies of an answer before, nor what the environment says of proxies and passwords; no answer is
        asked for that is packed."""
        (tmp_path / "netrc").write_text("default login me password secret\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        answer = HELLO.replace(b"\r\n\r\n", b"\r\nset-cookie: a=b; path=/\r\n\r\n")
        async with plain_server(answer) as (port, heard):
            for _ in range(2):
                await read_all(outgoing, f"http://127.0.0.1:{port}/")
        fields = {f"host: 127.0.0.1:{port}", f"user-agent: {USER_AGENT}", "accept: */*", "accept-encoding: identity"}
        for request in heard.requests[0]:
            assert {line.lower() for line in request.decode().split("\r\n")[1:] if line} == fields


class TestKept:
    """Connections are used again when they are in order, and only then."""

    async def test_for_the_next_request(self, outgoing: Outgoing) -> None:
        """Until everything is closed."""
        async with plain_server() as (port, heard):
            for _ in range(3):
                assert await read_all(outgoing, f"http://127.0.0.1:{port}/") == b"hello"
            assert [len(requests) for requests in heard.requests] == [3]
            await outgoing.__aexit__(None, None, None)
            async with asyncio.timeout(5):
                while heard.open:
                    await asyncio.sleep(0.01)

    async def test_closed_meanwhile(self, outgoing: Outgoing) -> None:
        """A connection that the server closed is not used, whether it said so or not."""

        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(HELLO)
            await writer.drain()

        async with plain_server(serve=serve) as (port, heard):
            for _ in range(2):
                assert await read_all(outgoing, f"http://127.0.0.1:{port}/") == b"hello"
                async with asyncio.timeout(5):
                    while heard.open:
                        await asyncio.sleep(0.01)
        async with plain_server(HELLO.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")) as (port, heard):
            for _ in range(2):
                assert await read_all(outgoing, f"http://127.0.0.1:{port}/") == b"hello"
            assert [len(requests) for requests in heard.requests] == [1, 1]

    async def test_closed_under_the_request(self, outgoing: Outgoing) -> None:
        """Then it is sent again, over another connection; once, and not forever."""
        async with plain_server(lambda number, request: HELLO if (number, request) != (0, 2) else b"") as (port, heard):
            for _ in range(3):
                assert await read_all(outgoing, f"http://127.0.0.1:{port}/") == b"hello"
            assert [len(requests) for requests in heard.requests] == [2, 2]
        async with plain_server(lambda *_: b"") as (port, heard):
            assert "does not answer: it closed the connection" in await failure_of(
                outgoing, f"http://127.0.0.1:{port}/"
            )
            assert len(heard.requests) == 2

    @pytest.mark.parametrize("length", [5, 200_000, 1_000_000])
    async def test_after_a_body_and_a_long_silence(self, outgoing: Outgoing, length: int) -> None:
        """Nothing is expected of a server that was not asked: its silence is no fault."""
        large = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % length + bytes(length)
        async with plain_server(lambda number, request: HELLO if request > 1 else large) as (port, heard):
            async with outgoing.get(f"http://127.0.0.1:{port}/", {}, patience=Patience(read=0.3)) as answer:
                chunks = answer.chunks()
                found = len(await anext(chunks))
                # Meanwhile the rest arrives, and no more is read from the connection than is bounded.
                await asyncio.sleep(0.1)
                found += sum([len(chunk) async for chunk in chunks])
            assert found == length
            await asyncio.sleep(0.6)
            for _ in range(2):
                assert await read_all(outgoing, f"http://127.0.0.1:{port}/") == b"hello"
            assert [len(requests) for requests in heard.requests] == [3]

    async def test_not_with_the_rest_of_a_body(self, outgoing: Outgoing) -> None:
        """What was not read would be the next answer."""
        rest = b"HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n" + bytes(3_000_000)
        async with plain_server(rest) as (port, heard):
            for _ in range(2):
                async with outgoing.get(f"http://127.0.0.1:{port}/", {}) as answer:
                    assert answer.status == 200
            assert [len(requests) for requests in heard.requests] == [1, 1]

    async def test_what_comes_after_an_answer_is_none(self, outgoing: Outgoing) -> None:
        """A second answer to one request is not taken for the answer to the next one."""
        async with plain_server(HELLO + HELLO.replace(b"hello", b"wrong")) as (port, _):
            for _ in range(3):
                with suppress(Unreachable):
                    assert await read_all(outgoing, f"http://127.0.0.1:{port}/") == b"hello"

    async def test_no_more_than_allowed(self, outgoing: Outgoing) -> None:
        """Many questions share the connections to a server."""

        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(0.05)
            writer.write(HELLO)
            await writer.drain()

        async with plain_server(serve=serve) as (port, heard):
            answers = await asyncio.gather(*(read_all(outgoing, f"http://127.0.0.1:{port}/") for _ in range(150)))
            assert answers == [b"hello"] * 150
            assert 2 <= heard.most <= 64


class TestAddresses:
    """Connections go to the addresses that were judged, in their order."""

    async def test_the_next_one(self, outgoing: Outgoing, monkeypatch: pytest.MonkeyPatch) -> None:
        """When the first takes no connection; the name stays the one of the link."""
        async with plain_server() as (port, heard):
            let_names_mean(monkeypatch, "127.0.0.2", "127.0.0.1")
            assert await read_all(outgoing, f"http://index.test:{port}/") == b"hello"
        assert f"host: index.test:{port}\r\n".encode() in heard.requests[0][0].lower()

    async def test_are_not_told(self, outgoing: Outgoing, monkeypatch: pytest.MonkeyPatch) -> None:
        """To whoever asks for a name that leads inside."""
        let_names_mean(monkeypatch, "127.0.0.2", "127.0.0.3")
        for scheme in ("http", "https"):
            said = await failure_of(outgoing, f"{scheme}://index.test:9/")
            assert said == "index.test:9 cannot be reached: Connection refused"

    async def test_only_they(self, outgoing: Outgoing) -> None:
        """The library cannot resolve a name, were it ever given one."""
        async with plain_server() as (port, _):
            await read_all(outgoing, f"http://127.0.0.1:{port}/")
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
        let_names_mean(monkeypatch, "127.0.0.1")
        async with plain_server(tls=tls) as (port, _):
            for _ in range(2):
                assert await read_all(outgoing, f"https://localhost:{port}/") == b"hello"
            assert told == ["localhost"]
            said = await failure_of(outgoing, f"https://index.test:{port}/")
        assert "its certificate is not accepted: Hostname mismatch" in said
        assert "'index.test'" in said
        assert told == ["localhost", "index.test"]

    async def test_of_nobody_who_is_trusted(self, outgoing: Outgoing, tmp_path: Path) -> None:
        """No answer is taken from there."""
        tls, _ = server_tls(tmp_path / "other")
        async with plain_server(tls=tls) as (port, heard):
            said = await failure_of(outgoing, f"https://localhost:{port}/")
        assert "its certificate is not accepted: " in said
        assert not any(heard.requests)

    async def test_a_server_without(self, outgoing: Outgoing) -> None:
        """Is told apart, and so is one that never speaks."""

        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(0 if speaks else 30)
            writer.write(HELLO)

        speaks = True
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            assert "cannot be reached: TLS fails: " in await failure_of(outgoing, url)
            speaks = False
            assert "cannot be reached: it does not take connections" in await failure_of(outgoing, url)


def test_nothing_is_loaded_before_it_is_asked() -> None:
    """Processes that ask nobody outside begin without the library."""
    code = "import sys, shared.outgoing, deploy.open_resources; print('aiohttp' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
