"""The dashboard's pages of accounts, rights and indexes: who is shown them, and whose forms count."""

from __future__ import annotations

import pytest

from shared.auth.principal import Verb
from tests.integration.dashboard.people.lab import RIGHTS, verbs_of
from tests.support.browser import Browser
from tests.support.dashboard import post
from tests.support.gateway import TestGateway

PAGES_OF_ADMINISTRATORS = ("/accounts", "/accounts/add", "/accounts/of/ann", "/accounts/of/ann/link")
FORMS_OF_ADMINISTRATORS = ("/accounts", "/accounts/of/ann/link", "/accounts/of/ann/disable")
PAGES_OF_OWNERS = (RIGHTS, f"{RIGHTS}/grant", f"{RIGHTS}/revoke?subject=guest", f"{RIGHTS}/describe")
FORMS_OF_OWNERS = (f"{RIGHTS}/grant", f"{RIGHTS}/revoke", f"{RIGHTS}/describe")


@pytest.mark.parametrize("path", [*PAGES_OF_ADMINISTRATORS, *PAGES_OF_OWNERS, "/indexes/new", "/account/password"])
async def test_strangers_are_led_to_the_login(gateway: TestGateway, path: str) -> None:
    """Nobody sees a page, or posts a form, without a session."""
    stranger = gateway.browser()
    page = await stranger.get(path, follow=False)
    assert (page.status_code, page.headers["location"]) == (303, "/login")
    sent = await stranger.client.post(
        path, headers={"origin": str(stranger.client.base_url).rstrip("/")}, data={"name": "x"}
    )
    assert sent.status_code in {303, 405}
    if sent.status_code == 303:
        assert sent.headers["location"] == "/login"


async def test_readers_and_owners_do_not_administrate(guest: Browser, ann: Browser) -> None:
    """Pages and forms of accounts are refused to whoever administrates nothing, and the link to them is not shown."""
    for browser in (guest, ann):
        assert 'href="/accounts"' not in (await browser.get("/")).text
        for path in PAGES_OF_ADMINISTRATORS:
            assert (await browser.get(path)).status_code == 403, path
        for path in FORMS_OF_ADMINISTRATORS:
            assert (await post(browser, "/", path, name="mallory")).status_code == 403, path


async def test_readers_do_not_configure(gateway: TestGateway, guest: Browser) -> None:
    """Who may only read an index sees no rights, and no form changes them."""
    assert "/rights" not in (await guest.get("/indexes/ann/lab")).text
    for path in PAGES_OF_OWNERS:
        assert (await guest.get(path)).status_code == 403, path
    for path in FORMS_OF_OWNERS:
        assert (await post(guest, "/", path, subject="guest", verb_remove="on")).status_code == 403, path
    assert verbs_of(gateway, "guest") == {Verb.READ}


async def test_what_one_may_not_read_has_no_rights_page(root: Browser) -> None:
    """An index whose existence is none of the visitor's business answers as one that is not there."""
    for path in PAGES_OF_OWNERS:
        assert (await root.get(path)).status_code == 404, path


@pytest.mark.parametrize("path", [*FORMS_OF_OWNERS, "/indexes/new", "/account/password"])
async def test_forms_of_other_sites_change_nothing(ann: Browser, path: str) -> None:
    """Neither another site's form nor one without this session's token is taken."""
    fields = {"subject": "guest", "verb_remove": "on", "name": "x", "visibility": "public", "owner": "ann"}
    origin = str(ann.client.base_url).rstrip("/")
    for headers, data in (
        ({"origin": "http://elsewhere.test"}, fields),
        ({"origin": origin}, fields),
        ({"origin": origin}, {**fields, "form_token": "wrong"}),
    ):
        assert (await ann.client.post(path, data=data, headers=headers)).status_code == 403
