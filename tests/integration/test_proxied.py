"""Services in other processes, reached over real HTTP."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from structlog.testing import capture_logs

from gateway.upstream import Proxied, Upstream
from shared.auth.directory import Directory, TokenRecord
from shared.auth.tokens import new_secret, token_sha256
from shared.auth.verifier import Verifier
from shared.catalogue.engine import open_engine
from shared.errors import ServiceError
from shared.ids import TokenId, new_uuid
from tests.support.api_host import api_host
from tests.support.clock import SettableClock
from tests.support.listening import listening
from tests.support.serving import served

SECRET = new_secret()


class Backend:
    """A service that says what it was asked, and remembers what happened to it."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.sent = 0
        self.broken_off = asyncio.Event()
        self.ready = 200
        self.app = Starlette(
            routes=[
                Route("/readyz", self.readyz),
                Route("/simple/redirect/", self.redirect),
                Route("/simple/slow/", self.slow),
                Route("/simple/half/", self.half),
                Route("/{path:path}", self.echo, methods=["GET", "HEAD", "POST", "PUT"]),
            ]
        )

    async def readyz(self, _request: Request) -> Response:
        """Say whether it is ready."""
        return PlainTextResponse("", self.ready)

    async def redirect(self, _request: Request) -> Response:
        """Send the caller elsewhere."""
        return RedirectResponse("http://evil.test/", 302, headers={"keep-alive": "timeout=5", "x-kept": "yes"})

    async def slow(self, _request: Request) -> Response:
        """Stream until the reader leaves."""

        async def chunks() -> AsyncIterator[bytes]:
            try:
                while True:
                    self.sent += 1
                    yield b"x" * 65_536
                    await asyncio.sleep(0.001)
            finally:
                self.gone.set()

        return StreamingResponse(chunks())

    async def half(self, _request: Request) -> Response:
        """Break off in the middle of an answer."""

        async def chunks() -> AsyncIterator[bytes]:
            yield b"half"
            raise ConnectionAbortedError

        return StreamingResponse(chunks(), headers={"content-length": "8"})

    async def echo(self, request: Request) -> Response:
        """Say what was asked."""
        length = 0
        try:
            async for chunk in request.stream():
                length += len(chunk)
        except ClientDisconnect:
            self.broken_off.set()
            raise
        asked = {"path": request.scope["raw_path"].decode(), "query": request.url.query, "bytes": length}
        return JSONResponse({**asked, "headers": dict(request.headers)})


@asynccontextmanager
async def gateway_for(backend: Backend) -> AsyncIterator[tuple[str, Proxied]]:
    """Serve a gateway in front of the backend, both over real sockets."""
    async with served(backend.app) as url, Proxied("index", url) as upstream:
        upstreams: dict[str, Upstream] = dict.fromkeys(("upload", "index", "download"), upstream)
        async with served(api_host(upstreams)) as front:
            yield front, upstream


async def test_a_request_passes_as_it_is() -> None:
    """Path bytes, query and headers arrive; those of the connection and claims of identity do not."""
    async with gateway_for(Backend()) as (front, _), httpx2.AsyncClient(base_url=front) as client:
        headers = {"Connection": "close, X-Hop", "X-Hop": "1", "TE": "trailers", "X-Remote-User": "root", "X-End": "2"}
        answer = await client.get("/simple/a%2Bb~c/?x=%20y", headers=headers)
    seen = answer.json()
    assert (seen["path"], seen["query"]) == ("/simple/a%2Bb~c/", "x=%20y")
    assert seen["headers"]["x-end"] == "2"
    assert seen["headers"]["x-request-id"] == answer.headers["x-request-id"]
    assert not {"x-hop", "te", "x-remote-user"} & set(seen["headers"])
    assert "transfer-encoding" not in seen["headers"]


async def test_the_service_is_told_whom_the_gateway_serves() -> None:
    """Its one address as the gateway found it, in place of what the client wrote about itself."""
    async with gateway_for(Backend()) as (front, _), httpx2.AsyncClient(base_url=front) as client:
        answer = await client.get("/simple/a/", headers=[("X-Forwarded-For", "198.51.100.9"), ("x-a", "b")])
    assert answer.json()["headers"]["x-forwarded-for"] == "127.0.0.1"


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_large_body_is_streamed_through(chunked: bool) -> None:
    """With and without a length, 40 MB arrive whole."""
    size, part = 40 << 20, b"x" * 65_536

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(size // len(part)):
            yield part

    headers = {} if chunked else {"content-length": str(size)}
    async with gateway_for(Backend()) as (front, _), httpx2.AsyncClient(base_url=front, timeout=30) as client:
        answer = await client.post("/root/stable/", content=chunks(), headers=headers)
    assert answer.json()["bytes"] == size


class OneToken(Directory):
    """A directory that knows one token, and has no catalogue to ask."""

    async def look_again(self) -> None:
        """Find nothing new."""

    def token(self, secret_sha256: str) -> TokenRecord | None:
        """Return the one token."""
        if secret_sha256 != token_sha256(SECRET):
            return None
        return TokenRecord(TokenId(new_uuid()), "root", (), datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=1))


@pytest.mark.parametrize(
    ("authorization", "status"),
    [((), b"401"), (("authorization: Bearer wrong",), b"401"), ((f"authorization: Bearer {SECRET}",), b"100")],
)
async def test_a_form_is_asked_for_from_who_has_a_token_alone(authorization: tuple[str, ...], status: bytes) -> None:
    """Without a token that is known the service is not asked, and a waiting client is never told to send its file."""
    directory = OneToken(open_engine("postgresql+asyncpg://localhost/never-asked"))
    verifier = Verifier(directory, SettableClock(datetime(2026, 1, 1, tzinfo=UTC)))
    lines = ["POST /root/stable/ HTTP/1.1", "host: x", "expect: 100-continue", "content-length: 9", *authorization]
    head = "\r\n".join([*lines, "content-type: multipart/form-data; boundary=b", "", ""]).encode()
    backend = Backend()
    async with (
        served(backend.app) as url,
        Proxied("upload", url) as upstream,
        listening(api_host({"upload": upstream}, verifier=verifier)) as port,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)
        assert (await asyncio.wait_for(reader.readline(), 10)).split()[1] == status
        if status == b"401":
            assert b"content-type: text/plain" in await asyncio.wait_for(reader.read(), 10)
        writer.close()


async def test_head_has_headers_and_no_body() -> None:
    """The length of what GET would give comes through."""
    async with gateway_for(Backend()) as (front, _), httpx2.AsyncClient(base_url=front) as client:
        answer = await client.head("/simple/")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


async def test_a_redirect_is_handed_on_and_not_followed() -> None:
    """The gateway speaks to configured hosts only; the client decides about the redirect."""
    async with gateway_for(Backend()) as (front, _), httpx2.AsyncClient(base_url=front) as client:
        answer = await client.get("/simple/redirect/")
    assert (answer.status_code, answer.headers["location"]) == (302, "http://evil.test/")
    assert answer.headers["x-kept"] == "yes"
    assert "keep-alive" not in answer.headers


async def test_a_reader_who_leaves_frees_the_service() -> None:
    """The service stops sending soon after the client has gone."""
    backend = Backend()
    async with gateway_for(backend) as (front, _):
        async with httpx2.AsyncClient(base_url=front) as client, client.stream("GET", "/simple/slow/") as answer:
            async for _chunk in answer.aiter_raw():
                break
        await asyncio.wait_for(backend.gone.wait(), 5)
    assert backend.sent > 0


async def test_half_an_upload_is_not_taken_for_a_whole_one() -> None:
    """A client that leaves in the middle of its body breaks the service's request off as well."""
    backend = Backend()
    async with gateway_for(backend) as (front, _):
        host, _, port = front.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /root/stable/ HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()
        await asyncio.wait_for(backend.broken_off.wait(), 5)
        assert await reader.read() == b""


async def test_half_an_answer_is_not_taken_for_a_whole_one() -> None:
    """When the service breaks off, the client's connection is broken off too."""
    async with gateway_for(Backend()) as (front, _), httpx2.AsyncClient(base_url=front) as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get("/simple/half/")


async def test_a_service_that_is_away_is_503_with_words() -> None:
    """Nobody listens: the client hears which service, and when to try again; readiness names it, and the log why."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with Proxied("index", f"http://127.0.0.1:{taken.getsockname()[1]}") as upstream:
            api = api_host({"index": upstream, "upload": upstream}, {"index": upstream.ping})
            async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=api), base_url="http://x") as client:
                with capture_logs() as logged:
                    page = await client.get("/simple/demo/")
                form = await client.post("/legacy/", files={"content": b"x"})
                ready = await client.get("/readyz")
    assert (page.status_code, page.headers["retry-after"]) == (503, "1")
    assert "index service cannot be reached" in page.json()["detail"]
    (why,) = (entry for entry in logged if entry["event"] == "service_unreachable")
    assert why["service"] == "index"
    assert why["error"].startswith("ConnectError")
    assert (form.status_code, form.headers["content-type"].partition(";")[0]) == (503, "text/plain")
    assert (ready.status_code, ready.json()["failed"]) == (503, {"index": "ServiceError"})


async def test_a_service_is_ready_when_it_says_so() -> None:
    """The gateway asks each service's own readiness."""
    backend = Backend()
    async with gateway_for(backend) as (_, upstream):
        await upstream.ping()
        backend.ready = 503
        with pytest.raises(ServiceError, match="cannot be reached"):
            await upstream.ping()


@pytest.mark.parametrize("url", ["index:8000", "http://", "ftp://index", "http://index/path", ""])
def test_a_service_url_is_a_host(url: str) -> None:
    """A wrong address stops the start, with the service's name."""
    with pytest.raises(ValueError, match="index service"):
        Proxied("index", url)
