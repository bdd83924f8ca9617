"""The dashboard's pages of indexes and of the rights in them."""

from __future__ import annotations

import re

import pytest

from countermark.core.names import IndexName
from shared.auth.principal import ANONYMOUS, AUTHENTICATED, Verb
from tests.integration.dashboard.people.lab import RIGHTS, verbs_of
from tests.support.browser import Browser
from tests.support.dashboard import post
from tests.support.gateway import TestGateway


async def test_owners_give_and_take_rights(gateway: TestGateway, ann: Browser) -> None:
    """The form shows what somebody has and sets exactly what is ticked; revoking asks first and takes everything."""
    page = (await ann.get(RIGHTS)).text
    assert "owns the index" in page
    form = (await ann.get(f"{RIGHTS}/grant?subject=guest")).text
    assert re.findall(r'name="verb_([a-z-]+)" checked', form) == ["read"]
    done = await post(ann, RIGHTS, f"{RIGHTS}/grant", subject="guest", verb_read="on", verb_upload="on")
    assert (done.status_code, done.headers["location"]) == (303, RIGHTS)
    assert verbs_of(gateway, "guest") == {Verb.READ, Verb.UPLOAD}
    assert "Revoke all rights of guest?" in (await ann.get(f"{RIGHTS}/revoke?subject=guest")).text
    assert (await post(ann, RIGHTS, f"{RIGHTS}/revoke", subject="guest")).status_code == 303
    assert verbs_of(gateway, "guest") == set()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"subject": "nobody-here", "verb_read": "on"}, "There is no account nobody-here"),
        ({"subject": "", "verb_read": "on"}, "Say who is meant"),
        ({"subject": "guest"}, "Tick at least one right"),
        ({"subject": ":no group", "verb_read": "on"}, "is no group"),
        ({"subject": "gu\x01est", "verb_read": "on"}, "printable characters"),
        ({"subject": ANONYMOUS, "verb_read": "on"}, "ann/lab is private"),
        ({"subject": "ann", "verb_read": "on"}, "keeps every right"),
    ],
)
async def test_a_faulty_grant_comes_back_with_the_fault(
    gateway: TestGateway, ann: Browser, fields: dict[str, str], words: str
) -> None:
    """The fault is said above the form, which keeps what was filled in; nothing is changed."""
    page = await post(ann, RIGHTS, f"{RIGHTS}/grant", **fields)
    assert page.status_code == 400
    assert words in page.text
    assert f'name="subject" value="{fields["subject"]}"' in page.text
    assert verbs_of(gateway, "guest") == {Verb.READ}


async def test_a_subject_with_a_null_byte_is_refused(ann: Browser) -> None:
    """What the catalogue cannot hold is a fault of the form, and no right of anybody's."""
    fields = {"subject": "gu\0est", "verb_read": "on"}
    assert (await post(ann, RIGHTS, f"{RIGHTS}/grant", **fields)).status_code == 400
    assert (await post(ann, RIGHTS, f"{RIGHTS}/revoke", **fields)).status_code == 400


async def test_configuring_the_default_index_is_called_what_it_is(
    gateway: TestGateway, root: Browser, ann: Browser
) -> None:
    """Its form says that the right administrates, and gives it to accounts alone; other indexes' groups may have it."""
    rights = "/indexes/root/stable/rights"
    words = "administrate this deployment: accounts, sign-in links, jobs"
    for path in (rights, f"{rights}/grant"):
        assert words in (await root.get(path)).text
    assert words not in (await ann.get(f"{RIGHTS}/grant")).text
    for subject in (":developers", AUTHENTICATED, ANONYMOUS):
        page = await post(root, rights, f"{rights}/grant", subject=subject, verb_read="on", verb_configure="on")
        assert page.status_code == 400
        assert "Give that to accounts by name" in page.text
    done = await post(root, rights, f"{rights}/grant", subject="guest", verb_read="on", verb_configure="on")
    assert done.status_code == 303
    done = await post(ann, RIGHTS, f"{RIGHTS}/grant", subject=":developers", verb_read="on", verb_configure="on")
    assert done.status_code == 303


async def test_the_owners_own_rights_cannot_be_revoked(ann: Browser) -> None:
    """No question is offered for what would lock the owner out."""
    assert (await ann.get(f"{RIGHTS}/revoke?subject=ann")).status_code == 404
    assert (await post(ann, RIGHTS, f"{RIGHTS}/revoke", subject="ann")).status_code == 409


async def test_an_index_is_described(ann: Browser) -> None:
    """The line shows where indexes are listed; what cannot be a line comes back with the fault."""
    assert (await post(ann, RIGHTS, f"{RIGHTS}/describe", description="Trials of ann")).status_code == 303
    assert "Trials of ann" in (await ann.get("/")).text
    page = await post(ann, RIGHTS, f"{RIGHTS}/describe", description="x" * 301)
    assert page.status_code == 400
    assert "1 to 300 printable characters" in page.text


async def test_people_make_indexes_of_their_own(gateway: TestGateway, guest: Browser, root: Browser) -> None:
    """One's own, or anybody's for administrators; of others it is forbidden."""
    fields = {"name": "mine", "visibility": "private", "description": ""}
    made = await post(guest, "/indexes/new", "/indexes/new", owner="guest", **fields)
    assert (made.status_code, made.headers["location"]) == (303, "/indexes/guest/mine/setup")
    assert (await post(guest, "/indexes/new", "/indexes/new", owner="ann", **fields)).status_code == 403
    made = await post(root, "/indexes/new", "/indexes/new", owner="ann", **fields)
    assert (made.status_code, made.headers["location"]) == (303, "/")
    names = {str(record.name): record.public for record in gateway.resources.directory.indexes()}
    assert names == {"ann/lab": False, "ann/mine": False, "guest/mine": False, "root/stable": True}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"name": "no/such"}, "no/such"),
        ({"name": ""}, "guest/"),
        ({"visibility": "some"}, "Choose who may read"),
        ({"description": "x" * 301}, "1 to 300 printable characters"),
    ],
)
async def test_a_faulty_index_comes_back_with_the_fault(
    gateway: TestGateway, guest: Browser, changed: dict[str, str], words: str
) -> None:
    """The fault is said above the form; nothing is made."""
    fields = {"owner": "guest", "name": "mine", "visibility": "private", "description": "", **changed}
    page = await post(guest, "/indexes/new", "/indexes/new", **fields)
    assert page.status_code == 400
    assert words in page.text
    assert gateway.resources.directory.index(IndexName("guest", "mine")) is None
