"""Whom a request is taken to be from."""

from __future__ import annotations

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.proxies import behind, seen_behind


async def place(scope: Scope, receive: Receive, send: Send) -> None:
    """Tell which path was asked for, and where the host is said to be."""
    request = Request(scope)
    said = request.headers.get("x-outside-url", "-")
    await PlainTextResponse(f"{scope['path']} {scope['raw_path'].decode()} {said}")(scope, receive, send)


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Tell whom the request is from."""
    client = Request(scope).client
    await PlainTextResponse(client.host if client else "nobody")(scope, receive, send)


async def told(app: ASGIApp, peer: str, *forwarded: str) -> str:
    """Ask from an address, with these headers."""
    transport = httpx2.ASGITransport(app=app, client=(peer, 4000))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        return (await client.get("/", headers=[("X-Forwarded-For", value) for value in forwarded])).text


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.1.2.3", ("192.0.2.7",), "192.0.2.7"),
        ("10.1.2.3", (), "10.1.2.3"),
        ("10.1.2.3", ("198.51.100.1, 192.0.2.7",), "192.0.2.7"),
        ("10.1.2.3", ("198.51.100.1", "192.0.2.7, 10.9.9.9"), "192.0.2.7"),
        ("10.1.2.3", ("2001:db8::7",), "2001:db8::7"),
        ("192.0.2.66", ("198.51.100.1",), "192.0.2.66"),
        ("127.0.0.1", ("198.51.100.1",), "127.0.0.1"),
        ("10.1.2.3", ("198.51.100.1, 192.0.2.7:4711",), "192.0.2.7"),
        ("10.1.2.3", ("[2001:db8:0::7]:443",), "2001:db8::7"),
        ("::ffff:10.1.2.3", ("::ffff:192.0.2.7",), "192.0.2.7"),
        ("10.1.2.3", ("198.51.100.1, 10.5.5.5",), "198.51.100.1"),
        ("10.1.2.3", ("10.6.6.6, 10.5.5.5",), "10.5.5.5"),
        ("10.1.2.3", ("192.0.2.7, unknown, 10.5.5.5",), "10.5.5.5"),
        ("10.1.2.3", ("192.0.2.7, fe80::1%x",), "10.1.2.3"),
        ("10.1.2.3", ("192.0.2.7,",), "10.1.2.3"),
        ("10.1.2.3", (", ".join(["192.0.2.7", *["10.5.5.5"] * 40]),), "10.5.5.5"),
    ],
)
async def test_only_trusted_proxies_are_believed(peer: str, forwarded: tuple[str, ...], client: str) -> None:
    """The last address that no trusted proxy has counts, and nothing that a client wrote itself."""
    assert await told(behind(("10.0.0.0/8",), answer), peer, *forwarded) == client


@pytest.mark.parametrize(("peer", "client"), [("10.1.2.3", "192.0.2.7"), ("192.0.2.66", "192.0.2.66")])
async def test_a_service_sees_whom_its_trusted_gateway_serves(peer: str, client: str) -> None:
    """A service in a process of its own believes the same, and only the same."""
    assert await told(seen_behind(("10.0.0.0/8",), answer), peer, "192.0.2.7") == client


async def test_without_proxies_nobody_is_believed() -> None:
    """By default the header means nothing, also from loopback."""
    assert await told(behind((), answer), "127.0.0.1", "198.51.100.1") == "127.0.0.1"


@pytest.mark.parametrize(
    ("peer", "path", "said", "told_path", "told_url"),
    [
        ("10.1.2.3", "/a/b", "https://x.example", "/a/b", "https://x.example"),
        ("10.1.2.3", "/p/a/%2Bf/b", "https://x.example/p", "/a/%2Bf/b", "https://x.example/p"),
        ("10.1.2.3", "/p/a", "https://x.example/p/", "/a", "https://x.example/p/"),
        ("10.1.2.3", "/pa", "https://x.example/p", "/pa", "https://x.example/p"),
        ("10.1.2.3", "/a", "https://x.example/p", "/a", "https://x.example/p"),
        ("10.1.2.3", "/p/a", "http://[x", "/p/a", "http://[x"),
        ("192.0.2.66", "/p/a", "https://evil.example/p", "/p/a", "-"),
    ],
)
async def test_only_trusted_proxies_say_where_the_host_is(
    peer: str, path: str, said: str, told_path: str, told_url: str
) -> None:
    """A prefix of theirs is taken off the path; the header of anybody else is dropped."""
    transport = httpx2.ASGITransport(app=behind(("10.0.0.0/8",), place), client=(peer, 4000))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        text = (await client.get(path, headers={"X-Outside-URL": said})).text
    assert text.split(" ")[1:] == [told_path, told_url]
    assert text.split(" ")[0] == told_path.replace("%2B", "+")


async def test_a_prefix_of_the_configured_url_is_taken_off() -> None:
    """Whoever asks, and whether a proxy has taken it off already."""
    transport = httpx2.ASGITransport(app=behind((), place, "https://x.example/pkg"), client=("192.0.2.1", 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/pkg/a/b/")).text == "/a/b/ /a/b/ -"
        assert (await client.get("/a/b/")).text == "/a/b/ /a/b/ -"
