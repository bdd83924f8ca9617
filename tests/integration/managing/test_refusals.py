"""Changes of projects that the API refuses: without sense, without the right, from other sites, without end."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from packaging.utils import NormalizedName

from shared.auth.principal import Scope, Verb
from tests.integration.managing.deployment import API, W10, W11, Deployment
from tests.support.archives import make_wheel
from tests.support.factories import make_file, make_token
from tests.support.uploading import basic, form_body


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "?limit=0", None, 422),
        ("GET", "?after=W10", None, 422),
        ("GET", "?after=" + "A" * 3000, None, 422),
        ("GET", "?q=" + "A" * 201, None, 422),
        ("GET", "/nothing", None, 404),
        ("GET", "/..%2Fwidget", None, 404),
        ("GET", "/widget/releases/2.0", None, 404),
        ("GET", "/widget/releases/" + "9" * 5000, None, 404),
        ("PATCH", "/nothing", {"status": "active"}, 404),
        ("PATCH", "/widget", {"status": "gone"}, 422),
        ("PATCH", "/widget", {"status": "archived", "reason": "a\nb"}, 422),
        ("PATCH", "/widget", {"status": "archived", "why": "?"}, 422),
        ("POST", "/widget/releases/1.0/yank", {"reason": "x" * 513}, 422),
        ("POST", "/widget/releases/1.0/yank", {"reason": 7}, 422),
        ("POST", "/widget/releases/1.0/files/other-1.0.tar.gz/yank", None, 404),
        ("POST", "/widget/releases/1.0/files/.hidden/yank", None, 404),
        ("DELETE", "/widget/releases/2.0", None, 404),
        ("DELETE", "/widget", None, 404),
    ],
)
async def test_what_makes_no_sense_is_refused_in_a_problem_document(
    deployment: Deployment, method: str, path: str, body: Any, status: int
) -> None:
    """Every bad input has its status and changes nothing."""
    await make_file(deployment.resources.engine, deployment.index, W10)
    answer = await deployment.http.request(method, f"{API}{path}", json=body, headers=deployment.owner)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert await deployment.audited() == []


@pytest.mark.parametrize(
    ("method", "path", "verb"),
    [
        ("PATCH", "/widget", Verb.CONFIGURE),
        ("POST", "/widget/releases/1.0/yank", Verb.UPLOAD),
        ("DELETE", "/widget/releases/1.0/yank", Verb.UPLOAD),
        ("DELETE", "/widget/releases/1.0", Verb.REMOVE),
        ("POST", f"/widget/releases/1.0/files/{W10}/yank", Verb.UPLOAD),
        ("DELETE", f"/widget/releases/1.0/files/{W10}/yank", Verb.UPLOAD),
        ("DELETE", f"/widget/releases/1.0/files/{W10}", Verb.REMOVE),
        ("DELETE", f"/widget/releases/1.0/files/{W10}/hold", Verb.CONFIGURE),
    ],
)
async def test_each_change_needs_its_right(deployment: Deployment, method: str, path: str, verb: Verb) -> None:
    """Nobody: 401 with a challenge; a stranger, a token of another project or without the verb: 403."""
    engine, index = deployment.resources.engine, deployment.index
    await make_file(engine, index, W10)
    others = frozenset(Verb) - {verb}
    tokens = [
        await make_token(engine, "mallory"),
        await make_token(engine, "root", [Scope(index.name, NormalizedName("gadget"), frozenset(Verb))]),
        await make_token(engine, "root", [Scope(index.name, None, others)]),
    ]
    await deployment.resources.directory.refresh()
    body = {"status": "archived"} if method == "PATCH" else None
    for headers in ({}, basic("cmk_1" + "0" * 49)):
        answer = await deployment.http.request(method, f"{API}{path}", json=body, headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"][:5]) == (401, "Basic")
    for token in tokens:
        answer = await deployment.http.request(method, f"{API}{path}", json=body, headers=basic(token))
        assert answer.status_code == 403, answer.text
    assert await deployment.audited() == []
    right = await make_token(engine, "root", [Scope(index.name, NormalizedName("widget"), frozenset({verb}))])
    await deployment.resources.directory.refresh()
    answer = await deployment.http.request(method, f"{API}{path}", json=body, headers=basic(right))
    assert answer.status_code == 200, answer.text


async def test_pages_of_other_sites_change_nothing(deployment: Deployment) -> None:
    """A browser that knows a password for this host is not used by another site's page, to mark or to upload."""
    await deployment.upload("widget-1.0")
    body, form = form_body(W11, make_wheel("widget", "1.1"))
    for origin in ("https://evil.test", "null"):
        headers = deployment.owner | {"origin": origin}
        yank = await deployment.http.post(f"{API}/widget/releases/1.0/yank", headers=headers)
        assert (yank.status_code, yank.headers["content-type"]) == (403, "application/problem+json")
        upload = await deployment.http.post("/root/stable/", content=body, headers=headers | form)
        assert (upload.status_code, upload.headers["content-type"]) == (403, "text/plain; charset=utf-8")
    assert await deployment.audited() == []
    own = deployment.owner | {"origin": "http://127.0.0.1:3141"}
    assert (await deployment.http.post(f"{API}/widget/releases/1.0/yank", headers=own)).status_code == 200


async def test_a_body_without_end_is_refused_before_it_fills_the_memory(deployment: Deployment) -> None:
    """Whoever sends it: a change says little, and 413 comes after a mebibyte."""
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while taken < 50 << 20:
            taken += 65536
            yield b" " * 65536

    answer = await deployment.http.post(f"{API}/widget/releases/1.0/yank", content=endless())
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
    assert taken < 2 << 20
