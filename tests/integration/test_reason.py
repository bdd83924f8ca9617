"""Reason phrases on the wire: ours reaches the client, nothing else does, and a gateway hands it on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx2
import pytest
from starlette.types import Message, Receive, Scope, Send

from gateway.upstream import Proxied
from shared.errors import ErrorKind, ServiceError
from shared.problems import text_answer
from shared.reason import EXTENSION, MAX_PHRASE, REASON
from tests.support.api_host import api_host
from tests.support.listening import listening, sent

WORDS = "File already exists: widget-1.0.tar.gz is in root/stable with other bytes."

App = Callable[[Scope, Receive, Send], Awaitable[None]]

POST = b"POST /legacy/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


def saying(phrase: object, status: int = 409) -> App:
    """Return an application that answers with this phrase, whether it was offered or not."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        start: Message = {"type": "http.response.start", "status": status, "headers": [(b"content-length", b"2")]}
        await send(start if phrase is None else {**start, REASON: phrase})
        await send({"type": "http.response.body", "body": b"no"})

    return app


async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse as an upload route does, having read the body."""
    while (await receive()).get("more_body", False):
        pass
    await text_answer(ServiceError(ErrorKind.CONFLICT, f"{WORDS}\nUpload a new version."))(scope, receive, send)


@asynccontextmanager
async def behind_a_gateway(service: App) -> AsyncIterator[int]:
    """Serve a gateway in front of a service of its own process, both as deployed; yields its port."""
    async with (
        listening(service) as port,
        Proxied("upload", f"http://127.0.0.1:{port}") as upstream,
        listening(api_host({"upload": upstream})) as front,
    ):
        yield front


async def test_the_first_line_of_a_refusal_is_the_reason_phrase() -> None:
    """A tool that shows the status line alone shows our sentence; the body has all of it."""
    async with listening(refusing) as port, httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(2):
            answer = await client.post("/legacy/", content=b"x" * 100_000)
            assert (answer.status_code, answer.reason_phrase) == (409, WORDS)
            assert answer.text == f"{WORDS}\nUpload a new version.\n"


@pytest.mark.parametrize(
    "phrase",
    [
        b"", b"a\r\nset-cookie: a=b", b"a\nset-cookie: a=b", b"a\r", b"\r\n\r\n<html>", b"\0", b"a\tb", b"\x7f",
        b"\xe9", b"x" * (MAX_PHRASE + 1), "text", 7, None,
    ],
)  # fmt: skip
async def test_a_hostile_phrase_is_left_out(phrase: object) -> None:
    """Whatever an application gives, no header and no answer of its own can be put in: the fixed phrase goes out."""
    async with listening(saying(phrase)) as port:
        head, _, body = (await sent(port, POST)).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 409 Conflict"
    assert {line.partition(b":")[0] for line in lines[1:]} == {b"date", b"content-length", b"connection"}
    assert body == b"no"


async def test_only_posts_are_offered_a_phrase() -> None:
    """Pages and files have the phrases that everyone knows, also when an application says another."""
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(EXTENSION in scope.get("extensions", {}))
        await saying(b"Other words")(scope, receive, send)

    async with listening(app) as port:
        for method in (b"POST", b"GET", b"PUT"):
            answer = await sent(port, POST.replace(b"POST", method))
            assert answer.startswith(
                b"HTTP/1.1 409 Other words\r\n" if method == b"POST" else b"HTTP/1.1 409 Conflict\r\n"
            )
    assert seen == [True, False, False]


async def test_a_client_that_waits_for_100_gets_it_and_then_our_words() -> None:
    """The interim answer is not touched."""
    async with listening(refusing) as port:
        head = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
        answer = await sent(port, head, b"hi")
    assert answer.startswith(f"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 409 {WORDS}\r\n".encode())


async def test_a_gateway_hands_the_phrase_on() -> None:
    """Behind a gateway in another process the client reads the same words."""
    async with behind_a_gateway(refusing) as front, httpx2.AsyncClient() as client:
        answer = await client.post(f"http://127.0.0.1:{front}/root/stable/", files={"content": b"x" * 100_000})
    assert (answer.status_code, answer.reason_phrase) == (409, WORDS)
    assert answer.text.splitlines() == [WORDS, "Upload a new version."]


@pytest.mark.parametrize(
    ("status", "phrase"), [(409, None), (200, None), (409, b"a\r\nset-cookie: a=b"), (200, b"Fine")]
)
async def test_a_gateway_hands_on_nothing_else(status: int, phrase: bytes | None) -> None:
    """Without words of our own, and for what went well, the phrase is the one that everyone knows."""
    async with behind_a_gateway(saying(phrase, status)) as front:
        answer = await sent(front, POST)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n" if status == 200 else b"HTTP/1.1 409 Conflict\r\n")
