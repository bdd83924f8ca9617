"""The API host hands requests on as they are, but for what nobody behind it may believe."""

from __future__ import annotations

from collections.abc import Mapping

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.upstream import Mounted, Upstream
from shared.service import Prepared, Service
from tests.support.api_host import api_host


def _service(name: str) -> Service:
    """A service that says what it was asked."""

    async def answer(request: Request) -> Response:
        body = b"".join([chunk async for chunk in request.stream()])
        seen = {"service": name, "method": request.method, "path": request.url.path, "bytes": len(body)}
        return JSONResponse({**seen, "headers": [header for header, _ in request.headers.items()]})

    methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"]
    return Service(name=name, app=Starlette(routes=[Route("/{path:path}", answer, methods=methods)]))


def _client(upstreams: Mapping[str, Upstream]) -> httpx2.AsyncClient:
    api = api_host(upstreams)
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=api), base_url="http://test")


def _all() -> httpx2.AsyncClient:
    return _client({name: Mounted(_service(name)) for name in ("upload", "index", "download")})


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
async def test_methods_are_the_services_matter(method: str) -> None:
    """A method that a face does not have reaches its service, which refuses it."""
    async with _all() as client:
        answer = await client.request(method, "/root/stable/+simple/demo/")
    assert (answer.json()["service"], answer.json()["method"]) == ("index", method)


async def test_a_posted_form_reaches_upload_whole() -> None:
    """Bodies pass through."""
    async with _all() as client:
        answer = await client.post("/root/stable/", files={"content": b"x" * 300_000})
    assert answer.json()["service"] == "upload"
    assert answer.json()["bytes"] > 300_000


async def test_identity_headers_do_not_reach_a_service() -> None:
    """A header that claims who is asking is dropped, credentials that can be checked are not."""
    headers = {
        "X-Remote-User": "root",
        "X-Forwarded-User": "root",
        "X-WEBAUTH-USER": "root",
        "Authorization": "Bearer x",
    }
    async with _all() as client:
        seen = (await client.get("/root/stable/+simple/", headers=headers)).json()["headers"]
    assert "authorization" in seen
    assert not {"x-remote-user", "x-forwarded-user", "x-webauth-user"} & set(seen)


async def test_unknown_paths_are_problem_documents_for_programs_and_text_for_upload_tools() -> None:
    """Each face's errors take its form, and nothing redirects to a login."""
    async with _all() as client:
        get = await client.get("/+nothing")
        form = await client.post("/+nothing", files={"content": b"x"})
        root = await client.get("/")
    assert (get.status_code, get.headers["content-type"]) == (404, "application/problem+json")
    assert (form.status_code, form.headers["content-type"].partition(";")[0]) == (404, "text/plain")
    assert (root.status_code, "http://ui.test/" in root.json()["detail"]) == (404, True)


async def test_a_service_that_does_not_run_here_is_503() -> None:
    """A gateway without one of the services says so instead of 404, which clients would take for a missing project."""
    async with _client({"index": Mounted(_service("index"))}) as client:
        answer = await client.get("/root/stable/+f/abc/def/x.whl")
        health = await client.get("/healthz")
    assert answer.status_code == 503
    assert "download" in answer.json()["detail"]
    assert health.status_code == 200


async def test_an_error_of_a_service_is_500_with_the_request_id() -> None:
    """What nothing expected is answered by the gateway, with the id under which it is in the log."""

    async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise KeyError("secret")

    service = Service("index", broken)
    async with _client({"index": Mounted(service)}) as client:
        answer = await client.get("/simple/", headers={"x-request-id": "request-0005"})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] == "request-0005"


async def test_hot_readers_of_mounted_services_answer_first() -> None:
    """What a service has in memory never reaches the routes."""

    def reader(scope: Scope) -> Prepared | None:
        if scope["path"] == "/simple/hot/":
            return Prepared(200, [(b"content-type", b"text/html")], b"hot")
        return None

    service = Service("index", _service("index").app, hot=(reader,))
    async with _client({"index": Mounted(service)}) as client:
        hot = await client.get("/simple/hot/")
        head = await client.head("/simple/hot/")
        cold = await client.get("/simple/cold/")
        posted = await client.post("/simple/hot/")
    assert (hot.text, head.content) == ("hot", b"")
    assert "x-request-id" not in hot.headers
    assert cold.json()["service"] == "index"
    assert posted.json()["method"] == "POST"


async def test_the_rest_of_the_api_is_the_gateways_own() -> None:
    """Accounts, tokens and the intake of leaks do not go to a service; what a service owns below an index does."""
    async with _all() as client:
        for path, service in [
            ("/api/v1/tokens", "gateway"),
            ("/_/secrets/disclose-token", "gateway"),
            ("/_/oidc/mint-token", "gateway"),
            ("/api/v1/indexes/root/stable/grants", "gateway"),
            ("/api/v1/indexes/root/stable/projects/demo", "upload"),
            ("/api/v1/indexes/root/stable/head", "index"),
            ("/api/v1/indexes/root/stable/downloads/demo", "download"),
        ]:
            assert (await client.post(path)).json()["service"] == service
