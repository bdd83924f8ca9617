"""What stands around every application: ids, log lines, stripped headers, health."""

from __future__ import annotations

import asyncio
import re

import httpx2
import pytest
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.testing import capture_logs

from shared.asking import AskedFrom, current_source
from shared.auth.principal import Principal
from shared.http import (
    NotReady,
    SecurityHeaders,
    bind_principal,
    claims_identity,
    health_routes,
    machine_stack,
    readiness,
)


async def _echo(request: Request) -> Response:
    return JSONResponse(
        {"headers": [name for name, _ in request.headers.items()], "id": request.headers["x-request-id"]}
    )


async def _signed_in(_request: Request) -> Response:
    bind_principal(Principal(account="alice"))
    return Response("12345", 503)


_ROUTES = Starlette(routes=[Route("/", _echo), Route("/in", _signed_in)])


def _client(app: ASGIApp = _ROUTES) -> httpx2.AsyncClient:
    stack = machine_stack(app, listener="api")
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=stack), base_url="http://test")


async def test_a_sane_request_id_is_kept() -> None:
    """A caller's id is passed on and sent back, so that one id follows a request through all processes."""
    async with _client() as client:
        answer = await client.get("/", headers={"X-Request-Id": "build-4711.a"})
    assert answer.headers.get_list("x-request-id") == ["build-4711.a"]
    assert answer.json()["id"] == "build-4711.a"


@pytest.mark.parametrize(
    "given", ["short", "x" * 65, "has space in it", "new%0aline-id", '{"json":"no"}', "-leading-dash"]
)
async def test_another_request_id_is_replaced(given: str) -> None:
    """Text of strangers does not get into logs and answers as an id."""
    async with _client() as client:
        answer = await client.get("/", headers={"X-Request-Id": given})
    assert given not in (answer.headers["x-request-id"], answer.json()["id"])
    assert answer.headers["x-request-id"] == answer.json()["id"]


async def test_two_request_ids_are_none() -> None:
    """A header sent twice is not chosen from."""
    async with _client() as client:
        answer = await client.get("/", headers=[("X-Request-Id", "first-id-1"), ("X-Request-Id", "second-id-2")])
    assert answer.headers["x-request-id"] not in {"first-id-1", "second-id-2"}


async def test_an_id_that_the_application_said_is_said_once() -> None:
    """A service behind this listener has named the request already; its headers, which it may keep, stay the same."""
    headers = ((b"vary", b"accept"), (b"x-request-id", b"of-the-service"))

    async def service(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async with _client(service) as client:
        answer = await client.get("/", headers={"X-Request-Id": "request-0005"})
    assert answer.headers.raw == [(b"vary", b"accept"), (b"x-request-id", b"request-0005")]
    assert headers[1][1] == b"of-the-service"


async def test_ids_of_requests_differ() -> None:
    """A request without an id gets one of 32 digits that no other has."""
    async with _client() as client:
        ids = {(await client.get("/")).headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)


async def test_the_peer_is_noted_while_its_request_runs() -> None:
    """The audit finds the address below the listener, and nothing of it afterwards."""
    noted: list[str | None] = []

    async def service(_scope: Scope, _receive: Receive, send: Send) -> None:
        noted.append(current_source())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with AskedFrom(("7" * 100, 1)):
        async with _client(service) as client:
            await client.get("/")
        with AskedFrom(None):
            noted.append(current_source())
    assert noted == ["127.0.0.1", "7" * 64]
    assert current_source() is None


@pytest.mark.parametrize(
    "name",
    [
        "X-Remote-User", "X-Remote-Group", "Remote-User", "Remote-Groups", "X-Forwarded-User", "X-Forwarded-Groups",
        "X-Forwarded-Email", "X-Forwarded-Preferred-Username", "X-Auth-Request-User", "X-Auth-Request-Access-Token",
        "X-WEBAUTH-USER", "X-WebAuth-Role", "X_Remote_User", "Remote_User", "X-Forwarded_User", "X-authentik-username",
        "Tailscale-User-Login", "Cf-Access-Jwt-Assertion", "X-MS-CLIENT-PRINCIPAL-NAME",
    ],
)  # fmt: skip
async def test_headers_that_claim_an_identity_are_dropped(name: str) -> None:
    """No service ever sees a header that says who is asking, however it is spelled."""
    async with _client() as client:
        answer = await client.get("/", headers={name: "root"})
    assert name.lower() not in answer.json()["headers"]


@pytest.mark.parametrize(
    "name",
    [
        b"authorization", b"x-forwarded-for", b"x-forwarded-proto", b"cookie", b"x-devpi-auth", b"x-users",
        b"my-x-user", b"not-remote-user", b"accept\nx-forwarded-for\nhost",
    ],
)  # fmt: skip
def test_other_headers_stay(name: bytes) -> None:
    """Credentials, which are checked, and the ingress's notes of the connection pass."""
    assert not claims_identity(name)


async def test_each_request_has_one_line_with_what_it_was() -> None:
    """The canonical line names method, path, status, time, bytes and principal, and never the query."""
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        async with _client() as client:
            await client.get("/in?code=secret", headers={"X-Request-Id": "request-0003"})
            await client.get("/")
    assert [line["event"] for line in lines] == ["request", "request"]
    duration = lines[0].pop("duration_ms")
    assert 0 <= duration < 5000
    assert lines[0] == {
        "event": "request",
        "log_level": "warning",
        "listener": "api",
        "method": "GET",
        "path": "/in",
        "status": 503,
        "bytes": 5,
        "principal": "alice",
        "request_id": "request-0003",
    }
    assert "principal" not in lines[1]


async def test_browsers_are_told_to_be_strict() -> None:
    """Pages run no script, are framed nowhere and are not kept; what an answer sets itself stays."""

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        await Response("x", headers={"cache-control": "max-age=5"})(scope, receive, send)

    for https in (False, True):
        transport = httpx2.ASGITransport(app=SecurityHeaders(page, https=https))
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            headers = (await client.get("/")).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "script-src" not in headers["content-security-policy"]
        assert headers["cache-control"] == "max-age=5"
        assert ("strict-transport-security" in headers) is https


async def _fine() -> None:
    return None


async def _refused() -> None:
    raise ConnectionRefusedError("10.0.0.5:5432 with password hunter2")


async def _hangs() -> None:
    await asyncio.sleep(60)


async def test_ready_only_when_every_resource_answers() -> None:
    """`/readyz` is 200 when all pings return, else 503 with the names of those that did not."""
    app = Starlette(
        routes=[
            *health_routes({"catalogue": _fine}),
            Route("/bad", readiness({"catalogue": _refused, "queue": _hangs, "objects": _fine}, timeout_seconds=0.01)),
        ]
    )
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://test") as client:
        alive, ready, bad = [await client.get(path) for path in ("/healthz", "/readyz", "/bad")]
    assert (alive.status_code, ready.status_code, ready.json()) == (200, 200, {"status": "ready"})
    assert bad.status_code == 503
    assert bad.json()["failed"] == {"catalogue": "ConnectionRefusedError", "queue": "timed out"}
    assert "hunter2" not in bad.text


async def test_what_is_only_reported_refuses_nothing() -> None:
    """A reader without the catalogue is degraded and ready; our own sentences are shown, words of other errors not."""

    async def away() -> None:
        raise NotReady("Postgres does not answer: start it")

    routes = [
        Route("/reader", readiness({"clock": _fine}, reported={"catalogue": away, "objects": _refused})),
        Route("/writer", readiness({"catalogue": away})),
    ]
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(Starlette(routes=routes)), base_url="http://x"
    ) as http:
        reader, writer = await http.get("/reader"), await http.get("/writer")
    assert (reader.status_code, writer.status_code) == (200, 503)
    sentence = "Postgres does not answer: start it"
    failed = reader.json().pop("failed")
    assert reader.json()["status"] == "degraded"
    assert failed["catalogue"] == sentence
    assert " " not in failed["objects"]
    assert writer.json() == {"status": "unavailable", "failed": {"catalogue": sentence}}


async def test_a_lasting_fault_is_logged_once() -> None:
    """Whoever asks every few seconds does not fill the log; what changes is told."""
    broken = True

    async def catalogue() -> None:
        if broken:
            raise NotReady("it is away")

    app = Starlette(routes=[Route("/readyz", readiness({"catalogue": catalogue}))])
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://x") as http:
        with capture_logs() as logs:
            for _ in range(3):
                await http.get("/readyz")
            broken = False
            for _ in range(3):
                await http.get("/readyz")
    assert [line["event"] for line in logs] == ["not_ready", "ready_again"]
