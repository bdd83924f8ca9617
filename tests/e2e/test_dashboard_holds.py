"""The dashboard's pages of mirrors and of what is held back, in a real browser, before an upstream of this machine."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
import uvicorn
from playwright.sync_api import Page
from starlette.types import ASGIApp

from tests.support.looks import assert_stands, follow
from tests.support.processes import Deployment, program, run, start_deployment
from tests.support.upstream import Upstream
from tests.support.waiting import until

PROD, PYPI = "/indexes/root/prod", "/indexes/root/pypi"
pytestmark = pytest.mark.embedded

PASSWORD = "correct horse battery"
PAGES = {
    "mirror": PYPI,
    "index-with-mirrors": PROD,
    "holds": f"{PROD}/holds",
    "no-holds": f"{PYPI}/holds",
    "mirrored-project": f"{PROD}/projects/requests-like",
    "reserved-name": f"{PROD}/projects/acme-tools",
    "policy": f"{PROD}/policy",
    "exemptions": f"{PROD}/exemptions",
    "exemption-give": f"{PROD}/exemptions/give?project=requests-like&version=2.33.0",
}


@contextmanager
def in_a_thread(app: ASGIApp) -> Iterator[str]:
    """Serve an application beside the test; gives its URL."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_level="critical"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    until("the upstream serves", lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


def an_upstream() -> Upstream:
    """Return a public index with a release of today, an old one, and one without a date."""
    upstream = Upstream()
    today = (datetime.now(UTC) - timedelta(hours=3)).isoformat().replace("+00:00", "Z")
    for version, fields in (("2.31.0", {}), ("2.32.0", {"yanked": "broken"}), ("2.33.0", {"upload-time": today})):
        upstream.add("requests-like", f"requests_like-{version}-py3-none-any.whl", fields=fields)
        upstream.add("requests-like", f"requests_like-{version}.tar.gz", fields=fields)
    upstream.add("undated", "undated-1.0.tar.gz", fields={"upload-time": None})
    return upstream


@pytest.fixture(scope="module")
def seeded() -> Iterator[Deployment]:
    """A deployment whose `root/prod` is based on the mirror of that upstream, and holds back what is younger than 7
    days.
    """
    temporary = tempfile.TemporaryDirectory(prefix="cm-", ignore_cleanup_errors=True)
    with temporary as folder, in_a_thread(an_upstream()) as url:
        environment = {"COUNTERMARK_MIRRORS__NETWORKS": "127.0.0.0/8", "COUNTERMARK_MIRRORS__RESERVED": "acme-"}
        running = start_deployment(Path(folder) / "data", environment=environment)
        try:
            _seed(running, url)
            yield running
        finally:
            running.process.end()


def _seed(deployment: Deployment, upstream: str) -> None:
    secret = deployment.data.with_name("password")
    secret.write_text(PASSWORD)
    done = deployment.command("user", "passwd", "root", "--password-file", str(secret))
    assert done.returncode == 0, done.stderr
    auth = {"authorization": "Basic " + base64.b64encode(f"root:{PASSWORD}".encode()).decode()}
    with httpx2.Client(base_url=deployment.api, headers=auth, timeout=30) as client:

        def ask(method: str, path: str, body: object) -> None:
            answer = client.request(method, path, json=body, headers={"accept": "application/json"})
            assert answer.status_code in {200, 201}, answer.text

        ask("PATCH", "/root/pypi", [f"mirror_url={upstream}/simple/"])
        ask("PUT", "/root/prod", {"bases": ["root/pypi"], "volatile": False})
        policy = {"min_age": "7d", "denied": {"evil-*": "steals credentials"}, "quarantined": {"odd": "looked at"}}
        ask("PATCH", "/api/v1/indexes/root/prod/policy", policy)
        given = {"project": "some-fix", "version": "1.2", "reason": "closes a hole we have", "days": 14}
        ask("POST", "/api/v1/indexes/root/prod/exemptions", given)
        for project in ("requests-like", "undated"):
            page = client.get(f"/root/prod/+simple/{project}/")
            assert page.status_code == 200, page.text


@pytest.mark.parametrize("name", PAGES)
def test_every_page_stands_in_every_look(seeded: Deployment, page: Page, look: str, name: str) -> None:
    """It answers, fits the window, breaks no policy, and can be read: labels, headings, contrast of 4.5 to 1."""
    assert_stands(page, f"{seeded.ui}{PAGES[name]}", f"{name}-{look}")


def test_a_release_is_let_through_and_held_back_again(seeded: Deployment, plain: Page) -> None:
    """From the list of holds, with a reason; installers see it at once, and no more when that is revoked. No script.

    Its address follows: what the page does not list is refused, by the rule that the page names.
    """
    simple = f"{seeded.api}/root/prod/+simple/requests-like/"
    name = "requests_like-2.33.0.tar.gz"
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    address = f"{seeded.api}/root/prod/+f/{sha256[:3]}/{sha256[3:16]}/{name}"
    assert "2.33.0" not in httpx2.get(simple).text
    refused = httpx2.get(address)
    assert (refused.status_code, refused.json()["rule"]) == (403, "too-new")
    plain.goto(f"{seeded.ui}{PROD}/holds")
    follow(plain.get_by_role("link", name="Exempt requests-like 2.33.0"))
    plain.get_by_label("Reason").fill("closes a hole")
    follow(plain.get_by_role("button", name="Exempt"))
    assert "It is shown here" in plain.get_by_role("status").inner_text()
    assert "2.33.0" in httpx2.get(simple).text
    assert httpx2.get(address).content == name.encode()
    plain.goto(f"{seeded.ui}{PROD}/exemptions")
    follow(plain.get_by_role("link", name="Revoke requests-like 2.33.0"))
    follow(plain.get_by_role("button", name="Revoke"))
    assert "has ended" in plain.get_by_role("status").inner_text()
    assert "2.33.0" not in httpx2.get(simple).text
    assert httpx2.get(address).status_code == 403


def test_rules_are_changed_in_the_form(seeded: Deployment, plain: Page) -> None:
    """A name that is denied is gone with the next request, and comes back."""
    simple = f"{seeded.api}/root/prod/+simple/requests-like/"
    for denied, status in (("evil-*: steals credentials\nrequests-like: not here", 404), ("evil-*: steals", 200)):
        plain.goto(f"{seeded.ui}{PROD}/policy")
        plain.get_by_label("Denied names").fill(denied)
        follow(plain.get_by_role("button", name="Save"))
        assert "It counts for every page" in plain.get_by_role("status").inner_text()
        assert httpx2.get(simple).status_code == status


def test_the_client_explains(seeded: Deployment) -> None:
    """In words, with the rule and the day; what is not shown ends 1."""
    argv = (program("countermark"), "explain", "requests-like==2.33.0", "--repository", f"{seeded.api}/root/prod")
    done = run(*argv)
    assert done.returncode == 1, done.stderr
    assert "too-new: files must be 7 days old here (root/prod), until" in done.stdout
    assert "pip, uv, poetry, pdm and others that read simple pages: nothing" in done.stdout
    assert "if nothing were held back: 2.33.0" in done.stdout
