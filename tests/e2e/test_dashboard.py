"""Every page of the dashboard in a real browser, on a real deployment with a team's data.

Screenshots go to the folder that `SCREENSHOTS` names, if it does. Without Chromium these tests are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest
from playwright.sync_api import Browser, Page, StorageState

from tests.support.archives import Project, make_wheel
from tests.support.looks import DESK, FAULTS, LOOKS, assert_stands, follow, picture
from tests.support.processes import Deployment
from tests.support.team import INDEX, ORCHARD, VAULT, seed, upload
from tests.support.uploading import basic, post_file
from tests.support.waiting import until

PAGES = {
    "indexes": "/",
    "projects": INDEX,
    "search": f"{INDEX}?q=orch",
    "nothing-found": f"{INDEX}?q=zzz",
    "setup": f"{INDEX}/setup",
    "publications": f"{INDEX}/publications",
    "approvals": f"{INDEX}/approvals",
    "waiting-approvals": "/indexes/root/reviewed/approvals",
    "project": ORCHARD,
    "releases": f"{ORCHARD}/releases",
    "yanked-release": f"{ORCHARD}/releases/1.3",
    "yank": f"{ORCHARD}/change?action=yank&version=1.14",
    "remove": f"{ORCHARD}/change?action=remove&version=1.14&file=orchard-1.14-py3-none-any.whl",
    "status": f"{ORCHARD}/status",
    "tokens": "/tokens",
    "trust": "/trust",
    "jobs": "/jobs",
    "given-up-jobs": "/jobs?state=dead",
    "audit": "/audit",
    "quarantined-project": f"{INDEX}/projects/mail-templates",
    "found-releases": f"{ORCHARD}/releases?q=1.1",
    "empty-index": VAULT,
    "rights": f"{VAULT}/rights",
    "rights-grant": f"{VAULT}/rights/grant?subject=ines",
    "rights-revoke": f"{VAULT}/rights/revoke?subject=ines",
    "describe-index": f"{VAULT}/rights/describe",
    "new-index": "/indexes/new",
    "accounts": "/accounts",
    "account-add": "/accounts/add",
    "account": "/accounts/of/ines",
    "account-link": "/accounts/of/ines/link",
    "account-disable": "/accounts/of/ines/disable",
    "own-account": "/account",
    "password": "/account/password",
}


@pytest.fixture(scope="module")
def seeded(deployment: Deployment) -> Deployment:
    """The deployment with a team's data."""
    seed(deployment)
    let_wait(deployment)
    return deployment


def let_wait(deployment: Deployment) -> None:
    """Upload a file that nobody has approved, to an index of its own."""
    assert deployment.command("index", "create", "root/reviewed").returncode == 0
    token = deployment.token("--verbs", "read,upload,approve,configure", index="*")
    base = f"{deployment.api}/api/v1/indexes/root/reviewed"
    for place in ("", "/gadget-of-a-long-name"):
        demanded = httpx2.put(f"{base}/approval-demands{place}", json={"needed": 2}, headers=basic(token))
        assert demanded.status_code == 200, demanded.text
    name = "widget_with_a_long_name-1.0-py3-none-any.whl"
    sent = post_file(f"{deployment.api}/root/reviewed", token, name, make_wheel("widget-with-a-long-name", "1.0"))
    assert sent.status_code == 200, sent.text
    until("a file that waits", lambda: httpx2.get(f"{base}/approvals").json()["items"])


@pytest.mark.parametrize("name", PAGES)
def test_every_page_stands_in_every_look(seeded: Deployment, page: Page, look: str, name: str) -> None:
    """It answers, fits the window, breaks no policy, and can be read: labels, headings, contrast of 4.5 to 1."""
    assert_stands(page, f"{seeded.ui}{PAGES[name]}", f"{name}-{look}")
    assert "taken over" not in page.title()


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize(
    ("name", "path"), [("sign-in", "/"), ("signed-out", "/signed-out"), ("dead-link", "/welcome?code=x")]
)
def test_the_pages_before_the_login_stand_in_every_look(
    seeded: Deployment, chromium: Browser, look: str, name: str, path: str
) -> None:
    """Strangers get pages that fit and can be read, too."""
    scheme, viewport = LOOKS[look]
    context = chromium.new_context(color_scheme=scheme, viewport=viewport)
    page = context.new_page()
    page.goto(f"{seeded.ui}{path}")
    picture(page, f"{name}-{look}")
    assert page.evaluate(FAULTS) == []
    context.close()


def test_a_project_is_found_yanked_and_taken_back(seeded: Deployment, plain: Page) -> None:
    """Search, confirm, give a reason; pip's page shows it when the dashboard says that it is published. No script."""
    plain.goto(f"{seeded.ui}{INDEX}")
    plain.get_by_label("Search projects").fill("ledger")
    follow(plain.get_by_role("button", name="Search"))
    follow(plain.get_by_role("link", name="ledger"))
    follow(plain.get_by_role("link", name="Yank 0.1"))
    plain.get_by_label("Reason").fill("wrong on Sundays")
    follow(plain.get_by_role("button", name="Yank"))
    assert "signed and published" in plain.get_by_role("status").inner_text()
    assert "yanked" in plain.get_by_role("heading", level=1).inner_text()
    html = httpx2.get(f"{seeded.api}/root/stable/+simple/ledger/", headers={"accept": "text/html"}).text
    assert 'data-yanked="wrong on Sundays"' in html
    follow(plain.get_by_role("link", name="Un-yank 0.1"))
    follow(plain.get_by_role("button", name="Un-yank"))
    assert "yanked" not in plain.get_by_role("heading", level=1).inner_text()
    html = httpx2.get(f"{seeded.api}/root/stable/+simple/ledger/", headers={"accept": "text/html"}).text
    assert "data-yanked" not in html


def test_a_project_is_quarantined_and_comes_back(seeded: Deployment, plain: Page) -> None:
    """Its page says why; its files are offered no longer, and are again afterwards."""
    project, simple = f"{seeded.ui}{INDEX}/projects/notify", f"{seeded.api}/root/stable/+simple/notify/"
    for status, offered in (("Quarantined", False), ("Active", True)):
        plain.goto(f"{project}/status")
        plain.get_by_label(status).check()
        plain.get_by_label("Reason").fill("being looked at")
        follow(plain.get_by_role("button", name="Set status"))
        assert ("being looked at" in plain.content()) is not offered
        answer = httpx2.get(simple, headers={"accept": "text/html"})
        assert ("notify-0.1" in answer.text) is offered


def test_a_file_is_removed_for_good(seeded: Deployment, plain: Page) -> None:
    """After the confirmation it is offered no longer."""
    plain.goto(f"{seeded.ui}{INDEX}/projects/pdf-forms")
    follow(plain.get_by_role("link", name="Remove pdf_forms-0.1-py3-none-any.whl"))
    follow(plain.get_by_role("button", name="Remove for good"))
    assert "signed and published" in plain.get_by_role("status").inner_text()
    answer = httpx2.get(f"{seeded.api}/root/stable/+simple/pdf-forms/", headers={"accept": "text/html"})
    assert "pdf_forms-0.1" not in answer.text


def test_a_token_of_the_page_uploads_until_it_is_revoked(seeded: Deployment, plain: Page) -> None:
    """What the page shows once is what a tool needs, and revoking ends it."""
    plain.goto(f"{seeded.ui}/tokens")
    plain.get_by_label("Name").fill("a tool of the test")
    plain.get_by_label("Index", exact=True).select_option("root/stable")
    follow(plain.get_by_role("button", name="Make token"))
    token = plain.locator(".secret").inner_text().strip()
    upload(seeded, token, Project("web-theme", "0.2"))
    follow(plain.get_by_role("link", name="I have it"))
    assert token not in plain.content()
    follow(plain.get_by_role("link", name="Revoke a tool of the test"))
    follow(plain.get_by_role("button", name="Revoke"))
    assert "a tool of the test" not in plain.content()
    answer = httpx2.get(f"{seeded.api}/api/v1/account", headers=basic(token))
    assert answer.status_code == 401


@pytest.fixture
def tab(chromium: Browser, signed_in: StorageState) -> Iterator[Page]:
    """A signed-in tab with scripts on; complaints of the browser about the policy or about faults fail the test."""
    context = chromium.new_context(storage_state=signed_in, viewport=DESK)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert complaints == []


def _mark(page: Page) -> None:
    """Leave a mark that a page load would wipe off."""
    page.evaluate("document.body.dataset.kept = 'yes'")


def _kept(page: Page) -> bool:
    return bool(page.evaluate("document.body.dataset.kept === 'yes'"))


def test_projects_are_found_while_one_types(seeded: Deployment, tab: Page) -> None:
    """With the script the list follows the words and so does the address; going back shows what was there before."""
    tab.goto(f"{seeded.ui}{INDEX}")
    _mark(tab)
    tab.get_by_label("Search projects").press_sequentially("billing", delay=20)
    tab.wait_for_url("**/stable?q=billing")
    assert tab.locator("#list > li").count() == 2
    assert tab.get_by_role("status").inner_text() == "2 found"
    assert _kept(tab)
    assert tab.get_by_label("Search projects").evaluate("field => field === document.activeElement")
    assert tab.title() == "root/stable · Countermark"
    tab.go_back()
    tab.wait_for_url(f"{seeded.ui}{INDEX}")
    tab.locator("#list > li").nth(10).wait_for()
    assert tab.locator("header.top").count() == 1


def test_releases_are_filtered_while_one_types(seeded: Deployment, tab: Page) -> None:
    """The table holds the versions that match, and says so when there is none."""
    tab.goto(f"{seeded.ui}{ORCHARD}/releases")
    _mark(tab)
    tab.get_by_label("Find releases").press_sequentially("1.14", delay=20)
    tab.wait_for_url("**/releases?q=1.14")
    assert tab.locator("tbody > tr").count() == 1
    tab.get_by_label("Find releases").fill("9.9")
    tab.get_by_text("No version holds").wait_for()
    assert _kept(tab)


def test_more_publications_come_below_the_first(seeded: Deployment, tab: Page, plain: Page) -> None:
    """With the script the next ones are added; without it they are on a page of their own, after the same link."""
    tab.goto(f"{seeded.ui}{INDEX}/publications")
    _mark(tab)
    first = tab.locator("#list > tr").count()
    tab.get_by_role("link", name="Show more").click()
    # Not `wait_for_function`: it evaluates text in the page, which the policy forbids.
    tab.locator("#list > tr").nth(first).wait_for()
    serials = [int(text.removeprefix("Serial ")) for text in tab.locator("#list > tr > th").all_text_contents()]
    assert serials == sorted(set(serials), reverse=True)
    assert _kept(tab)
    plain.goto(f"{seeded.ui}{INDEX}/publications")
    follow(plain.get_by_role("link", name="Show more"))
    assert "after=" in plain.url
    assert plain.get_by_role("link", name="First page").count() == 1


def test_a_token_is_revoked_in_its_row(seeded: Deployment, tab: Page) -> None:
    """The question comes into the row; cancelling takes it back, answering takes the token away. No page is loaded."""
    tab.goto(f"{seeded.ui}/tokens")
    tab.get_by_label("Name").fill("short-lived")
    follow(tab.get_by_role("button", name="Make token"))
    follow(tab.get_by_role("link", name="I have it"))
    _mark(tab)
    row = tab.locator("tr", has_text="short-lived")
    row.get_by_role("link", name="Revoke short-lived").click()
    picture(tab, "token-revoke-in-its-row")
    row.get_by_role("link", name="Cancel").click()
    row.get_by_role("link", name="Revoke short-lived").click()
    row.get_by_role("button", name="Revoke").click()
    row.wait_for(state="detached")
    assert _kept(tab)


def test_the_page_of_jobs_refreshes_itself(seeded: Deployment, tab: Page) -> None:
    """It asks for its list alone, every few seconds, and says that nobody asked."""
    tab.goto(f"{seeded.ui}/jobs")
    _mark(tab)
    with tab.expect_response("**/jobs", timeout=15_000) as asked:
        pass
    answer = asked.value
    assert answer.request.headers["x-refresh"] == "1"
    assert answer.headers["vary"] == "HX-Request"
    assert "<html" not in answer.text()
    tab.get_by_text("No job is waiting").wait_for()
    assert _kept(tab)


def test_a_page_that_is_left_open_leads_to_the_login_when_the_session_ended(
    seeded: Deployment, chromium: Browser, signed_in: StorageState
) -> None:
    """What the script asks for without a session is no page in the page: the browser goes to the login."""
    context = chromium.new_context(storage_state=signed_in)
    page = context.new_page()
    page.goto(f"{seeded.ui}{INDEX}")
    context.clear_cookies()
    page.get_by_label("Search projects").press_sequentially("led")
    page.wait_for_url("**/provider/authorize?*")
    assert page.locator("header.top").count() == 1
    context.close()


def test_a_fault_that_the_script_meets_is_said_on_the_page(
    seeded: Deployment, plain: Page, chromium: Browser, signed_in: StorageState
) -> None:
    """A row whose token was revoked elsewhere meanwhile: the words of the refusal stand above what was there."""
    plain.goto(f"{seeded.ui}/tokens")
    plain.get_by_label("Name").fill("gone meanwhile")
    follow(plain.get_by_role("button", name="Make token"))
    context = chromium.new_context(storage_state=signed_in)
    page = context.new_page()
    page.goto(f"{seeded.ui}/tokens")
    plain.goto(f"{seeded.ui}/tokens")
    follow(plain.get_by_role("link", name="Revoke gone meanwhile"))
    follow(plain.get_by_role("button", name="Revoke"))
    page.get_by_role("link", name="Revoke gone meanwhile").click()
    page.get_by_role("alert").wait_for()
    picture(page, "trouble")
    assert "There is no such token of yours" in page.locator("#trouble").inner_text()
    assert page.locator("#tokens").count() == 1
    context.close()


def test_nothing_of_a_page_stays_in_the_browsers_storage(seeded: Deployment, tab: Page) -> None:
    """Private pages are not kept for going back in the history."""
    tab.goto(f"{seeded.ui}{INDEX}")
    tab.get_by_label("Search projects").press_sequentially("ledger")
    tab.wait_for_url("**/stable?q=ledger")
    stored = tab.evaluate("JSON.stringify([Object.entries(localStorage), Object.entries(sessionStorage)])")
    assert "Double entry" in tab.content()
    assert "Double entry" not in stored


def test_an_account_is_made_given_a_link_a_right_and_ended(seeded: Deployment, plain: Page, chromium: Browser) -> None:
    """An administrator adds somebody, who signs in with the link, makes an index and is disabled. No script."""
    plain.goto(f"{seeded.ui}/accounts")
    follow(plain.get_by_role("link", name="Add an account"))
    plain.get_by_label("Name").fill("nora")
    follow(plain.get_by_role("button", name="Add account"))
    follow(plain.get_by_role("link", name="Make a sign-in link").first)
    follow(plain.get_by_role("button", name="Make link"))
    link = plain.locator(".secret").inner_text().strip()
    plain.goto(f"{seeded.ui}{VAULT}/rights")
    follow(plain.get_by_role("link", name="Give somebody a right"))
    plain.get_by_label("Who").fill("nora")
    follow(plain.get_by_role("button", name="Set rights"))
    assert plain.get_by_role("row", name="nora").count() == 1
    context = chromium.new_context(java_script_enabled=False)
    hers = context.new_page()
    hers.goto(link)
    follow(hers.get_by_role("button", name="Sign in"))
    assert hers.get_by_role("link", name="root/vault").count() == 1
    follow(hers.get_by_role("link", name="New index"))
    hers.get_by_label("Name").fill("lab")
    follow(hers.get_by_role("button", name="Make index"))
    assert "nora/lab" in hers.get_by_role("heading", level=1).inner_text()
    hers.goto(f"{seeded.ui}/account/password")
    hers.get_by_label("New password (").fill("correct horse battery")
    hers.get_by_label("The new password again").fill("correct horse battery")
    follow(hers.get_by_role("button", name="Set password"))
    assert "Your password is changed" in hers.get_by_role("status").inner_text()
    follow(plain.get_by_role("link", name="Revoke nora"))
    follow(plain.get_by_role("button", name="Revoke"))
    assert plain.get_by_role("row", name="nora").count() == 0
    plain.goto(f"{seeded.ui}/accounts/of/nora/disable")
    follow(plain.get_by_role("button", name="Disable"))
    assert "disabled" in plain.get_by_role("heading", level=1).inner_text()

    def signed_out() -> bool:
        hers.goto(f"{seeded.ui}/account")
        return "/provider/authorize" in hers.url

    # Another gateway may answer, which is told some milliseconds later.
    until("her session ends", signed_out)
    context.close()


def test_pages_are_used_by_keyboard(seeded: Deployment, tab: Page) -> None:
    """The first key leads past the navigation, and what has the focus shows it."""
    tab.goto(f"{seeded.ui}{INDEX}")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Skip to content"
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.querySelector('main').contains(document.activeElement)")
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
