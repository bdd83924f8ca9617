"""The dashboard's pages on a real gateway, with services that answer as the API does."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import IndexName
from gateway.accounts import NewIndex
from shared.auth.principal import Scope, Verb
from shared.auth.tokens import token_sha256
from shared.auth.verifier import BadCredentials, Verifier
from shared.catalogue.tables import Outbox
from tests.support.browser import Browser
from tests.support.dashboard import PASSWORD, post, signed_in
from tests.support.gateway import Servers, TestGateway, open_gateway
from tests.support.registry_api import RegistryApi, file_line, project_line

STABLE = IndexName("root", "stable")
PROJECT = "/indexes/root/stable/projects/demo"
WHEEL = "demo-1.0-py3-none-any.whl"


@pytest.fixture
def api() -> RegistryApi:
    """An index with three projects, and a release with two files."""
    description = "# Title\n\n<script>alert(1)</script>\n\n**bold** [w](https://example.org) [no](javascript:alert(1))"
    metadata = {"summary": "A demo.", "description": description, "description_content_type": "text/markdown"}
    links = {"home_page": "javascript:alert(1)", "project_urls": {"Docs": "https://example.org/docs"}}
    files = [file_line(WHEEL), file_line("demo-1.0.tar.gz", state="failed", serial=None, error="It is too odd.")]
    projects = [project_line("demo"), project_line("other"), project_line("old", status="archived", releases=0)]
    projects[2]["latest_version"] = None
    return RegistryApi(projects, {"metadata": {**metadata, **links}, "files": files})


@pytest.fixture
async def gateway(
    engine: AsyncEngine, valkey_url: str, database: str, api: RegistryApi, tmp_path: Path
) -> AsyncIterator[TestGateway]:
    """A gateway before that API, with the owner `root` and `guest`, who owns nothing."""
    servers = Servers(engine, valkey_url, database, tmp_path)
    async with open_gateway(servers, upstreams=api.upstreams()) as gateway:
        await gateway.accounts.init_deployment(STABLE)
        await gateway.accounts.create_index(NewIndex(IndexName("root", "vault"), "private"))
        await gateway.accounts.set_password("root", PASSWORD)
        await gateway.accounts.create_account("guest", password=PASSWORD)
        await gateway.resources.directory.refresh()
        yield gateway


@pytest.fixture
async def root(gateway: TestGateway) -> Browser:
    """The owner's browser, signed in."""
    return await signed_in(gateway, "root")


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


async def test_pages_read_by_a_token_that_can_nothing_else_and_ends_with_the_session(
    api: RegistryApi, gateway: TestGateway, root: Browser
) -> None:
    """All pages of a session ask as the person who looks, with one token; signing out revokes it."""
    await root.get("/")
    await root.get("/indexes/root/stable")
    (header,) = api.read_with
    verifier = Verifier(gateway.resources.directory, gateway.clock)
    reader = await verifier.verify(header)
    assert (reader.account, [scope.verbs for scope in reader.scopes or ()]) == ("root", [frozenset({Verb.READ})])
    digest = token_sha256(header.partition(" ")[2])
    assert digest is not None
    record = gateway.resources.directory.token(digest)
    assert record is not None
    assert record.expires_at <= gateway.clock.now() + timedelta(minutes=5)
    await root.submit(await root.get("/"))
    await gateway.resources.directory.refresh()
    with pytest.raises(BadCredentials):
        await verifier.verify(header)


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


async def test_yank_asks_first_and_then_goes_to_the_api(api: RegistryApi, gateway: TestGateway, root: Browser) -> None:
    """The form becomes one request, made with a token for that verb and project alone, soon to expire."""
    ask = await root.get(f"{PROJECT}/change?action=yank&version=1.0&file={WHEEL}")
    assert f"Yank {WHEEL}?" in ask.text
    assert not api.asked
    done = await post(root, PROJECT, f"{PROJECT}/change", action="yank", version="1.0", file=WHEEL, reason="broken")
    assert (done.status_code, done.headers["location"]) == (303, f"{PROJECT}/releases/1.0?done=published")
    assert "signed and published" in (await root.get(done.headers["location"])).text
    (asked,) = api.asked
    files = f"/api/v1{PROJECT}/releases/1.0/files/{WHEEL}/yank"
    assert (asked.method, asked.path, asked.body) == ("POST", files, {"reason": "broken"})
    principal = await Verifier(gateway.resources.directory, gateway.clock).verify(asked.authorization)
    assert principal.scopes == (Scope(STABLE, "demo", frozenset({Verb.UPLOAD})),)  # type: ignore[arg-type]
    assert asked.authorization not in api.read_with


@pytest.mark.parametrize(
    ("fields", "request_line"),
    [
        ({"action": "unyank", "version": "1.0"}, ("DELETE", "/releases/1.0/yank", None)),
        ({"action": "remove", "version": "1.0"}, ("DELETE", "/releases/1.0", None)),
        ({"action": "remove", "version": "1.0", "file": WHEEL}, ("DELETE", f"/releases/1.0/files/{WHEEL}", None)),
    ],
)
async def test_the_other_changes(
    api: RegistryApi, root: Browser, fields: dict[str, str], request_line: tuple[str, str, object]
) -> None:
    """Each is the request that the API names for it."""
    done = await post(root, PROJECT, f"{PROJECT}/change", **fields)
    assert done.status_code == 303, done.text
    method, path, body = request_line
    assert [(asked.method, asked.path, asked.body) for asked in api.asked] == [
        (method, f"/api/v1{PROJECT}{path}", body)
    ]


async def test_the_status_is_changed(api: RegistryApi, root: Browser) -> None:
    """The form shows what each status means; the change goes to the API, and a pending one is said to be that."""
    api.change = (202, {"state": "pending"})
    assert "No file is offered" in (await root.get(f"{PROJECT}/status")).text
    done = await post(root, PROJECT, f"{PROJECT}/status", status="quarantined", reason="")
    assert done.headers["location"] == f"{PROJECT}?done=pending"
    assert "waiting to be signed" in (await root.get(done.headers["location"])).text
    assert api.asked[0].body == {"status": "quarantined", "reason": None}
    assert (await post(root, PROJECT, f"{PROJECT}/status", status="gone")).status_code == 400


async def test_a_refusal_is_shown_in_the_apis_words(api: RegistryApi, root: Browser) -> None:
    """What the API says no to is a page with its sentence."""
    api.change = (409, {"detail": "This release is under review."})
    done = await post(root, PROJECT, f"{PROJECT}/change", action="yank", version="1.0")
    assert done.status_code == 409
    assert "This release is under review." in done.text


async def test_who_may_not_gets_no_button_and_no_way(api: RegistryApi, gateway: TestGateway) -> None:
    """Without a right there is no button, no confirmation, and the form is refused before the API is asked."""
    guest = await signed_in(gateway, "guest")
    page = (await guest.get(PROJECT)).text
    assert "/change?" not in page
    assert "/status" not in page
    assert (await guest.get(f"{PROJECT}/change?action=yank&version=1.0")).status_code == 403
    refused = await post(guest, PROJECT, f"{PROJECT}/change", action="remove", version="1.0")
    assert refused.status_code == 403
    assert (await guest.get("/jobs")).status_code == 403
    assert not api.asked


@pytest.mark.parametrize("path", [f"{PROJECT}/change", f"{PROJECT}/status", "/tokens", "/jobs/1/retry"])
async def test_a_form_of_another_site_changes_nothing(api: RegistryApi, root: Browser, path: str) -> None:
    """A form without this session's token, or from another origin, is refused."""
    fields = {"action": "yank", "version": "1.0", "status": "archived", "label": "x", "days": "1", "verb_read": "on"}
    ours = str(root.client.base_url).rstrip("/")
    for origin, token in ((ours, "wrong"), ("http://evil.test", "wrong"), (ours, "")):
        answer = await root.client.post(path, data={**fields, "form_token": token}, headers={"origin": origin})
        assert answer.status_code == 403
    assert not api.asked
    assert "You have no token yet" in (await root.get("/tokens")).text


async def test_nobody_is_led_to_the_login(gateway: TestGateway) -> None:
    """Every page is behind the login, and answers a form without a session the same way."""
    stranger = gateway.browser()
    for path in ("/", "/indexes/root/stable", PROJECT, f"{PROJECT}/status", "/tokens", "/jobs", "/audit"):
        assert (await stranger.get(path, follow=False)).headers["location"] == "/login"


async def test_a_token_is_shown_once_works_and_is_revoked(gateway: TestGateway, root: Browser) -> None:
    """The secret is on the page that answers the form alone; revoking ends it at once."""
    fields = {"label": "my machine", "index": "root/stable", "project": "Demo", "verb_upload": "on", "days": "7"}
    made = await post(root, "/tokens", "/tokens", **fields)
    secret = re.search(r'class="secret"[^>]*><code>([^<]+)<', made.text)
    assert secret is not None, made.text
    verifier = Verifier(gateway.resources.directory, gateway.clock)
    principal = await verifier.verify(f"Bearer {secret[1]}")
    assert principal.scopes == (Scope(STABLE, "demo", frozenset({Verb.UPLOAD})),)  # type: ignore[arg-type]
    listed = (await root.get("/tokens")).text
    assert "my machine" in listed
    assert secret[1] not in listed
    revoke = re.search(r'href="(/tokens/[^"]+/revoke)"', listed)
    assert revoke is not None
    assert "Revoke “my machine”?" in (await root.get(revoke[1])).text
    assert (await post(root, "/tokens", revoke[1])).status_code == 303
    assert "my machine" not in (await root.get("/tokens")).text
    with pytest.raises(BadCredentials):
        await verifier.verify(f"Bearer {secret[1]}")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"verb_upload": ""}, None),
        ({"days": "0"}, "between 1 and 366 days"),
        ({"days": "x"}, "between 1 and 366 days"),
        ({"label": " "}, "Give the token a name"),
        ({"project": "no/such"}, "cannot be right"),
        ({"index": "root/none"}, "There is no index root/none"),
    ],
)
async def test_a_faulty_token_form_comes_back_with_the_fault(
    root: Browser, changed: dict[str, str], words: str | None
) -> None:
    """The fault is said above the form, which keeps what was filled in; nothing is made."""
    fields = {"label": "laptop", "index": "root/stable", "project": "", "days": "7", "verb_upload": "on", **changed}
    if words is None:
        del fields["verb_upload"]
    page = await post(root, "/tokens", "/tokens", **fields)
    assert page.status_code == 400
    assert (words or "Choose at least one thing") in page.text
    assert "You have no token yet" in page.text


async def test_the_token_form_does_not_tell_private_indexes_apart(gateway: TestGateway, root: Browser) -> None:
    """An index that the visitor may not read answers as one that is not there; who may read it gets a token for it."""
    guest = await signed_in(gateway, "guest")
    fields = {"label": "x", "project": "", "days": "7", "verb_read": "on"}
    for name in ("root/vault", "root/nothing"):
        page = await post(guest, "/tokens", "/tokens", index=name, **fields)
        assert (page.status_code, f"There is no index {name}." in page.text) == (400, True)
    assert (await post(root, "/tokens", "/tokens", index="root/vault", **fields)).status_code == 200


async def test_a_reason_is_a_line_of_printable_text(api: RegistryApi, root: Browser) -> None:
    """What no page could show is refused before anybody is asked to keep it."""
    for reason in ("a\0b", "a\x1bb", "x" * 501):
        page = await post(root, PROJECT, f"{PROJECT}/status", status="quarantined", reason=reason)
        assert (page.status_code, "printable characters" in page.text) == (400, True)
    assert api.asked == []


async def test_one_account_cannot_revoke_anothers_token(gateway: TestGateway, root: Browser) -> None:
    """Another's token is not there, on the page and for the form."""
    await post(root, "/tokens", "/tokens", label="my machine", index="", project="", days="7", verb_read="on")
    revoke = re.search(r'href="(/tokens/[^"]+/revoke)"', (await root.get("/tokens")).text)
    assert revoke is not None
    guest = await signed_in(gateway, "guest")
    assert (await guest.get(revoke[1])).status_code == 404
    assert (await post(guest, "/tokens", revoke[1])).status_code == 404
    assert "my machine" in (await root.get("/tokens")).text


async def test_administrators_see_jobs_and_try_dead_ones_again(
    gateway: TestGateway, engine: AsyncEngine, root: Browser
) -> None:
    """A job that was given up is listed with its error; the button opens it again, once."""
    assert "publish" in (await root.get("/jobs")).text
    assert "No job was given up" in (await root.get("/jobs?state=dead")).text
    async with engine.begin() as connection:
        job = await connection.scalar(select(func.min(Outbox.id)))
        dead = (
            update(Outbox).where(Outbox.id == job).values(dead_at=func.now(), attempts=9, last_error="the disk is full")
        )
        await connection.execute(dead)
    assert "the disk is full" in (await root.get("/jobs?state=dead")).text
    again = await post(root, "/jobs?state=dead", f"/jobs/{job}/retry")
    assert (again.status_code, again.headers["location"]) == (303, "/jobs")
    assert "No job was given up" in (await root.get("/jobs?state=dead")).text
    assert (await post(root, "/jobs", f"/jobs/{job}/retry")).status_code == 404


async def test_administrators_see_the_audit_log(root: Browser) -> None:
    """What changed rights is there, newest first, with who did it."""
    page = (await root.get("/audit")).text
    assert page.index("account.create") < page.index("deployment.create")
    assert "index.create" in page
