"""The dashboard's pages on a real gateway: what each shows to whom, and under which rules for scripts."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import timedelta

import pytest

from countermark.core.names import IndexName
from gateway.accounts import NewIndex
from tests.integration.dashboard.demo import PROJECT, WHEEL
from tests.support.browser import Browser
from tests.support.dashboard import signed_in
from tests.support.gateway import TestGateway
from tests.support.registry_api import RegistryApi, file_line


async def test_home_shows_what_one_may_read_and_do(gateway: TestGateway, root: Browser) -> None:
    """An index that somebody may not read is not on their page, and is no page of its own for them."""
    home = (await root.get("/")).text
    assert "root/stable" in home
    assert "root/vault" in home
    assert "Serial 7" in home
    guest = await signed_in(gateway, "guest")
    page = (await guest.get("/")).text
    assert "root/stable" in page
    assert "vault" not in page
    assert 'href="/jobs"' not in page
    assert (await guest.get("/indexes/root/vault")).status_code == 404


async def test_an_index_made_by_another_gateway_a_moment_ago_is_found(gateway: TestGateway, root: Browser) -> None:
    """Its page, which this gateway has not been told of, is asked for again and shown; home lists it at once."""
    await gateway.accounts.create_index(NewIndex(IndexName("root", "lab")))
    assert gateway.resources.directory.index(IndexName("root", "lab")) is None
    page = await root.get("/indexes/root/lab/setup")
    if page.status_code == 307:
        page = await root.get(page.headers["location"])
    assert "root/lab" in page.text
    assert (await root.get("/indexes/root/none/setup")).status_code == 404
    await gateway.accounts.create_index(NewIndex(IndexName("root", "den")))
    assert "root/den" in (await root.get("/")).text


async def test_home_tells_unpublished_from_unknown(api: RegistryApi, root: Browser) -> None:
    """An index that was never published is empty; one of which nothing is known is said to be that."""
    api.head_status = 404
    assert "Nothing is published here yet" in (await root.get("/")).text
    api.head_status = 503
    assert "not available at the moment" in (await root.get("/")).text


async def test_projects_are_searched_and_paged(api: RegistryApi, root: Browser) -> None:
    """Search words and the cursor go to the API; the next page keeps the search."""
    page = await root.get("/indexes/root/stable")
    assert "What demo does." in page.text
    assert "?after=CURSOR" in page.text
    found = await root.get("/indexes/root/stable?q=oth&after=x")
    assert api.queries[-1] == {"q": "oth", "limit": "50", "after": "x"}
    assert "What demo does." not in found.text
    assert "matches “nothing”" in (await root.get("/indexes/root/stable?q=nothing")).text


async def test_a_project_is_shown_safely(root: Browser) -> None:
    """Description, links, files and their states are there; what could act is not."""
    page = await root.get(PROJECT)
    assert page.status_code == 200
    assert "<h3>Title</h3>" in page.text
    assert "<strong>bold</strong>" in page.text
    assert page.text.count("<script") == page.text.count("<script src=") == 1
    assert 'href="javascript:' not in page.text
    assert 'href="https://example.org/docs"' in page.text
    assert f"/+f/{file_line(WHEEL)['sha256'][:3]}/" in page.text
    assert "It is too odd." in page.text
    assert "12.3 kB" in page.text


@pytest.mark.parametrize(
    "path",
    ["/indexes/root/stable/projects/none", "/indexes/root/stable/projects/..%2e", "/indexes/no/such", "/indexes/A/!"],
)
async def test_what_is_not_there_is_said_in_words(root: Browser, path: str) -> None:
    """A wrong address is a page that says so."""
    page = await root.get(path)
    assert page.status_code == 404
    assert "There is no" in page.text


async def test_downloads_are_counted_on_the_page_where_they_are_known(api: RegistryApi, root: Browser) -> None:
    """The project's sum and each file's number are shown; a page without them is whole otherwise."""
    known = (await root.get(f"{PROJECT}/releases/1.0")).text
    assert "56,789" in known
    assert known.count("1,234") == 1
    api.counts_status = 503
    page = await root.get(PROJECT)
    assert page.status_code == 200
    assert "Downloads" not in page.text
    assert WHEEL in page.text


async def test_files_refresh_themselves_until_they_are_signed(api: RegistryApi, root: Browser) -> None:
    """The list asks again while a file waits, and stops when none does, or when what waits is withheld."""
    assert "every 2s" not in (await root.get(PROJECT)).text
    api.release["files"][0].update(state="received", serial=None)
    assert "every 2s" in (await root.get(PROJECT)).text
    api.projects[0]["status"] = "quarantined"
    page = (await root.get(PROJECT)).text
    assert "every 2s" not in page
    assert "withheld" in page


async def test_releases_are_filtered_by_their_version(root: Browser) -> None:
    """A search that finds nothing says so, and leads back to all of them."""
    assert "/releases/1.0" in (await root.get(f"{PROJECT}/releases?q=1.")).text
    page = (await root.get(f"{PROJECT}/releases?q=2.")).text
    assert "No version holds “2.”" in page
    assert "/releases/1.0" not in page


@pytest.mark.parametrize("path", ["/", "/indexes/root/stable", PROJECT, f"{PROJECT}/releases", "/tokens", "/jobs"])
async def test_a_script_gets_the_content_alone(root: Browser, path: str) -> None:
    """With the script's header there is no head and no navigation; what goes back in the history gets a whole page."""
    whole = await root.get(path)
    part = await root.client.get(path, headers={"hx-request": "true"})
    back = await root.client.get(path, headers={"hx-request": "true", "hx-history-restore-request": "true"})
    assert (part.status_code, part.headers["vary"], whole.headers["vary"]) == (200, "HX-Request", "HX-Request")
    assert "<header" not in part.text
    assert "<h1>" in part.text
    assert all("<header" in page.text for page in (whole, back))


async def test_a_script_without_a_session_is_sent_to_the_login(gateway: TestGateway) -> None:
    """A redirect would put the login's page into this one: the header lets the browser itself go there."""
    answer = await gateway.browser().client.get("/tokens", headers={"hx-request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"], answer.text) == (401, "/login", "")


async def test_pages_load_one_script_of_this_host_under_a_policy_that_allows_no_other(root: Browser) -> None:
    """The script is answered as pages name it, to be kept; the policy knows no inline script and no eval."""
    page = await root.get("/")
    policy = page.headers["content-security-policy"]
    assert "script-src 'self'; connect-src 'self';" in policy
    assert "unsafe" not in policy
    named = re.search(r'<script src="([^"]+)" integrity="sha384-([^"]+)"', page.text)
    assert named is not None
    script = await root.get(named[1])
    assert base64.b64encode(hashlib.sha384(script.content).digest()).decode() == named[2]
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"


async def test_a_page_left_open_does_not_keep_its_session(gateway: TestGateway, root: Browser) -> None:
    """What a page asks for by itself is no use of the session: after an hour without its owner it ends."""
    for _ in range(7):
        gateway.clock.advance(timedelta(minutes=10))
        answer = await root.client.get("/jobs", headers={"hx-request": "true", "x-refresh": "1"})
    assert answer.status_code == 401


async def test_what_an_uploader_was_told_stays_with_the_file(api: RegistryApi, root: Browser) -> None:
    """Each warning is a line below its file, as text."""
    api.release["files"] = [file_line(WHEEL, warnings=["The <b>first</b>.", "The second."])]
    page = (await root.get(PROJECT)).text
    assert "2 warnings" in page
    assert "<li>The &lt;b&gt;first&lt;/b&gt;.</li><li>The second.</li>" in page


async def test_a_project_without_a_release_says_what_next(root: Browser) -> None:
    """The empty project leads to the upload lines."""
    page = (await root.get("/indexes/root/stable/projects/old")).text
    assert "has no release" in page
    assert 'href="/indexes/root/stable/setup"' in page


@pytest.mark.parametrize("path", ["/setup", "/publications", "/projects/demo/releases", "/projects/demo/releases/1.0"])
async def test_the_other_pages_of_an_index(root: Browser, path: str) -> None:
    """Each answers, and knows this deployment's address or release."""
    page = await root.get(f"/indexes/root/stable{path}")
    assert page.status_code == 200
    assert "http://127.0.0.1:3141/root/stable/" in page.text or "1.0" in page.text


async def test_nobody_is_led_to_the_login(gateway: TestGateway) -> None:
    """Every page is behind the login, and answers a form without a session the same way."""
    stranger = gateway.browser()
    for path in ("/", "/indexes/root/stable", PROJECT, f"{PROJECT}/status", "/tokens", "/jobs", "/audit"):
        assert (await stranger.get(path, follow=False)).headers["location"] == "/login"
