"""Requests to servers outside: which addresses are asked, where redirects lead, and what is never waited for."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import lru_cache
from ipaddress import ip_network

import pytest

from shared.outgoing import USER_AGENT, Outgoing, Patience, Unreachable
from shared.outside import Outside

_LOOPBACK = Outside(networks=(ip_network("127.0.0.0/8"),))

Respond = Callable[[str, dict[str, str]], bytes | None]
"""Path and headers of a request -> the whole answer; None for no answer at all."""


@asynccontextmanager
async def _server(respond: Respond) -> AsyncIterator[str]:
    """Serve on a free port; yields the URL without a slash at its end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            answer = respond(head[0].split(" ")[1], headers)
            if answer is None:
                await asyncio.sleep(30)
            else:
                writer.write(answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # The client went away, or the test is over.
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def _answer(body: bytes = b"", *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def _read(url: str, outside: Outside = _LOOPBACK, *, most: int = 1000, **options: object) -> tuple[str, bytes]:
    async with (
        Outgoing(outside) as outgoing,
        outgoing.get(url, {"accept": "text/x"}, **options) as answer,  # type: ignore[arg-type]
    ):
        return answer.url, await answer.read(most)


async def test_an_answer_is_read_decoded() -> None:
    """The path is sent as written, with the headers; compressed bodies are unpacked."""
    seen: dict[str, str] = {}

    def respond(path: str, headers: dict[str, str]) -> bytes:
        seen.update(headers, path=path)
        return _answer(gzip.compress(b"hello"), "content-encoding: gzip")

    async with _server(respond) as url:
        assert await _read(f"{url}/a%2Bb/+c?d=e") == (f"{url}/a%2Bb/+c?d=e", b"hello")
    assert (seen["path"], seen["accept"], seen["user-agent"]) == ("/a%2Bb/+c?d=e", "text/x", USER_AGENT)
    assert seen["host"] == url.removeprefix("http://")


async def test_what_is_not_public_is_not_asked() -> None:
    """Unless its network is allowed; by name or by address, and wherever a redirect leads."""
    async with _server(lambda path, headers: _answer(b"secret")) as url:
        for private in (url, url.replace("127.0.0.1", "localhost"), url.replace("127.0.0.1", "[::ffff:127.0.0.1]")):
            with pytest.raises(Unreachable, match="not public") as caught:
                await _read(f"{private}/", Outside())
            assert caught.value.refused
    location = "location: http://10.1.2.3/"
    async with _server(lambda path, headers: _answer(b"", location, status="302 Found")) as url:
        with pytest.raises(Unreachable, match=r"10\.1\.2\.3 has an address that is not public"):
            await _read(f"{url}/")


async def test_which_addresses_a_name_has_inside_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told to whoever reads a mirror is no way to ask for names of the network that this machine is in."""

    async def resolve(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.9.8.7", 0))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    with pytest.raises(Unreachable, match="not public") as caught:
        await _read("http://wiki.internal.test/")
    assert "10.9.8.7" not in str(caught.value)


async def test_a_crowd_of_questions_is_no_fault_of_the_server() -> None:
    """Who waits too long for a free connection is told so: the server did not fail."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(0.6)
                writer.write(_answer(b"x"))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with Outgoing(_LOOPBACK) as outgoing:

        async def read() -> bytes:
            async with outgoing.get(url, {}, patience=Patience(read=1.0)) as answer:
                return await answer.read(10)

        answers = await asyncio.gather(*(read() for _ in range(200)), return_exceptions=True)
    server.close()
    failed = [answer for answer in answers if isinstance(answer, Unreachable)]
    assert failed
    assert all(failure.crowded for failure in failed)
    assert b"x" in answers


async def test_connections_to_many_places_are_given_up_without_harm() -> None:
    """Pages may name any number of servers: those asked longest ago are let go, whoever comes by meanwhile."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(_answer(b"x"))

    async with AsyncExitStack() as stack, Outgoing(_LOOPBACK) as outgoing:
        urls = []
        for _ in range(110):
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            stack.callback(server.close)
            urls.append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")

        async def read(url: str) -> bytes:
            async with outgoing.get(url, {}) as answer:
                return await answer.read(10)

        for some in (urls[:90], urls[90:], urls[:1]):
            assert await asyncio.gather(*map(read, some)) == [b"x"] * len(some)
        assert len(outgoing._connections) <= 65


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/", "http://u:p@127.0.0.1/", "http://[::1", ""])
async def test_other_urls_are_not_asked(url: str) -> None:
    """Nothing is sent for them."""
    with pytest.raises(Unreachable, match="URL"):
        await _read(url)


async def test_redirects_are_bounded_and_take_no_credentials_along() -> None:
    """The same place gets them again, another one does not."""
    seen: list[str | None] = []

    def other(path: str, headers: dict[str, str]) -> bytes:
        seen.append(headers.get("authorization"))
        return _answer(b"there")

    async with _server(other) as there:

        def here(path: str, headers: dict[str, str]) -> bytes:
            seen.append(headers.get("authorization"))
            target = {"/1": "/2", "/2": f"{there}/3"}.get(path, path)
            return _answer(b"", f"location: {target}", status="302 Found")

        async with _server(here) as url:
            assert await _read(f"{url}/1", authorization="Basic eA==") == (f"{there}/3", b"there")
            assert seen == ["Basic eA==", "Basic eA==", None]
            with pytest.raises(Unreachable, match="redirects more than 5 times"):
                await _read(f"{url}/loop")


async def test_whoever_must_not_leave_a_server_does_not() -> None:
    """Redirects of the same server are followed; the other one is not even asked."""
    seen: list[str] = []

    def other(path: str, headers: dict[str, str]) -> bytes:
        seen.append(path)
        return _answer(b"there")

    async with _server(other) as there:

        def here(path: str, headers: dict[str, str]) -> bytes:
            target = {"/1": "/2", "/away": f"{there}/3"}.get(path)
            return _answer(b"here") if target is None else _answer(b"", f"location: {target}", status="302 Found")

        async with _server(here) as url, Outgoing(_LOOPBACK) as outgoing:
            async with outgoing.get(f"{url}/1", {}, stays=True) as answer:
                assert await answer.read(100) == b"here"
            with pytest.raises(Unreachable, match="redirects to another server"):
                async with outgoing.get(f"{url}/away", {}, stays=True):
                    pass
    assert seen == []


async def test_size_and_silence_are_bounded() -> None:
    """A body larger than wanted, one that inflates, a head that never comes and a body that breaks off."""
    async with _server(lambda path, headers: _answer(b"x" * 1001)) as url:
        with pytest.raises(Unreachable, match="more than 1000 bytes"):
            await _read(f"{url}/")
    bomb = _answer(gzip.compress(bytes(1 << 20)), "content-encoding: gzip")
    async with _server(lambda path, headers: bomb) as url:
        with pytest.raises(Unreachable, match="more than 1000 bytes"):
            await _read(f"{url}/")
    async with _server(lambda path, headers: None) as url:
        with pytest.raises(Unreachable, match="did not answer within"):
            await _read(f"{url}/", patience=Patience(head=0.2))
        with pytest.raises(Unreachable, match="does not answer"):
            await _read(f"{url}/", patience=Patience(read=0.2))
    async with _server(lambda path, headers: _answer(b"x" * 99)[:-9]) as url:
        with pytest.raises(Unreachable, match="broke off"):
            await _read(f"{url}/")


async def test_a_place_that_is_not_there() -> None:
    """A closed port and a name that does not exist are said as such."""
    with pytest.raises(Unreachable, match="cannot be reached"):
        await _read("http://127.0.0.1:9/")
    with pytest.raises(Unreachable, match="cannot be resolved"):
        await _read("http://nowhere.invalid/")


async def test_a_name_is_resolved_once_for_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crowd asks one question; what is remembered is judged all the same, and asked for again when it is dead."""
    loop, asked = asyncio.get_running_loop(), []
    means = ["127.0.0.1"]

    async def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        await asyncio.sleep(0.05)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in means]

    monkeypatch.setattr(loop, "getaddrinfo", resolve)
    async with _server(lambda path, headers: _answer(b"hello")) as url, Outgoing(_LOOPBACK) as outgoing:
        named = url.replace("127.0.0.1", "index.test")

        async def read() -> bytes:
            async with outgoing.get(f"{named}/", {}) as answer:
                return await answer.read(1000)

        assert set(await asyncio.gather(*(read() for _ in range(20)))) == {b"hello"}
        assert asked == ["index.test"]
        outgoing._admits = lru_cache(Outside().admits)
        with pytest.raises(Unreachable, match="not public"):
            await read()
    asked.clear()
    async with Outgoing(_LOOPBACK) as outgoing:
        for _ in range(2):
            with pytest.raises(Unreachable, match="cannot be reached"):
                await read()
    assert asked == ["index.test", "index.test"]


async def test_a_name_that_means_another_address_a_moment_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leads there only if that one is judged as well: what was judged is what is asked; one bad address is enough."""
    loop, reached = asyncio.get_running_loop(), []
    means = [["127.0.0.1"], ["10.0.0.1"], ["127.0.0.1", "169.254.169.254"], []]

    async def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in means.pop(0)]

    def answer(path: str, headers: dict[str, str]) -> bytes:
        reached.append(path)
        return _answer(b"hello")

    monkeypatch.setattr(loop, "getaddrinfo", resolve)
    async with _server(answer) as url, Outgoing(_LOOPBACK) as outgoing:
        named = url.replace("127.0.0.1", "index.test")
        # Asked twice for one question of the resolver: the second answer of a hostile one would come in between.
        for _ in range(2):
            async with outgoing.get(f"{named}/", {}) as found:
                assert await found.read(1000) == b"hello"
        for words in ("has an address that is not public", "has an address that is not public", "has no address"):
            outgoing._resolver.forget("index.test", int(url.rpartition(":")[2]))
            with pytest.raises(Unreachable, match=words):
                async with outgoing.get(f"{named}/", {}):
                    pass
        assert (reached, means) == (["/", "/"], [])
