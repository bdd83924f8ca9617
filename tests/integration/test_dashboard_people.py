"""The dashboard's pages of accounts, rights and indexes, for strangers, readers, owners and administrators."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import IndexName
from gateway.accounts import NewIndex, NewToken
from gateway.dashboard.session_tokens import LABEL
from gateway.dashboard.token_sweep import KEPT, TokenSweep
from gateway.index_rights import IndexRights
from gateway.sessions import Sessions
from shared.auth.principal import ANONYMOUS, AUTHENTICATED, Scope, Verb
from shared.catalogue.tables import Audit, Token, TokenUse
from shared.ids import TokenId
from shared.settings import Oidc, Settings
from tests.support.browser import Browser
from tests.support.dashboard import PASSWORD, post, signed_in
from tests.support.gateway import Servers, TestGateway, open_gateway
from tests.support.registry_api import RegistryApi

LAB = IndexName("ann", "lab")
RIGHTS = "/indexes/ann/lab/rights"
PAGES_OF_ADMINISTRATORS = ("/accounts", "/accounts/add", "/accounts/of/ann", "/accounts/of/ann/link")
FORMS_OF_ADMINISTRATORS = ("/accounts", "/accounts/of/ann/link", "/accounts/of/ann/disable")
PAGES_OF_OWNERS = (RIGHTS, f"{RIGHTS}/grant", f"{RIGHTS}/revoke?subject=guest", f"{RIGHTS}/describe")
FORMS_OF_OWNERS = (f"{RIGHTS}/grant", f"{RIGHTS}/revoke", f"{RIGHTS}/describe")


@pytest.fixture
async def gateway(engine: AsyncEngine, valkey_url: str, database: str, tmp_path: Path) -> AsyncIterator[TestGateway]:
    """A gateway with the administrator `root`, `ann`, who owns a private index, and `guest`, who may read it."""
    servers = Servers(engine, valkey_url, database, tmp_path)
    async with open_gateway(servers, upstreams=RegistryApi().upstreams()) as gateway:
        await gateway.accounts.init_deployment(IndexName("root", "stable"))
        await gateway.accounts.set_password("root", PASSWORD)
        for name in ("ann", "guest"):
            await gateway.accounts.create_account(name, password=PASSWORD)
        await gateway.accounts.create_index(NewIndex(LAB, "private"))
        await IndexRights(engine, gateway.clock, actor="test").set_grants(LAB, "guest", {Verb.READ})
        await gateway.resources.directory.refresh()
        yield gateway


@pytest.fixture
async def root(gateway: TestGateway) -> Browser:
    """The administrator's browser."""
    return await signed_in(gateway, "root")


@pytest.fixture
async def ann(gateway: TestGateway) -> Browser:
    """The browser of an index's owner, who administrates nothing."""
    return await signed_in(gateway, "ann")


@pytest.fixture
async def guest(gateway: TestGateway) -> Browser:
    """The browser of somebody who may read that index and no more."""
    return await signed_in(gateway, "guest")


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
    assert _verbs(gateway, "guest") == {Verb.READ}


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


async def test_owners_give_and_take_rights(gateway: TestGateway, ann: Browser) -> None:
    """The form shows what somebody has and sets exactly what is ticked; revoking asks first and takes everything."""
    page = (await ann.get(RIGHTS)).text
    assert "owns the index" in page
    form = (await ann.get(f"{RIGHTS}/grant?subject=guest")).text
    assert re.findall(r'name="verb_([a-z-]+)" checked', form) == ["read"]
    done = await post(ann, RIGHTS, f"{RIGHTS}/grant", subject="guest", verb_read="on", verb_upload="on")
    assert (done.status_code, done.headers["location"]) == (303, RIGHTS)
    assert _verbs(gateway, "guest") == {Verb.READ, Verb.UPLOAD}
    assert "Revoke all rights of guest?" in (await ann.get(f"{RIGHTS}/revoke?subject=guest")).text
    assert (await post(ann, RIGHTS, f"{RIGHTS}/revoke", subject="guest")).status_code == 303
    assert _verbs(gateway, "guest") == set()


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
    assert _verbs(gateway, "guest") == {Verb.READ}


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


async def test_administrators_make_accounts_and_links(gateway: TestGateway, root: Browser) -> None:
    """The new account's page leads to a link, which is shown once and signs in."""
    made = await post(root, "/accounts/add", "/accounts", name="nora", email="nora@example.org")
    assert (made.status_code, made.headers["location"]) == (303, "/accounts/of/nora")
    assert "nora@example.org" in (await root.get("/accounts")).text
    assert "has no password" in (await root.get("/accounts/of/nora")).text
    assert "Make a sign-in link for nora?" in (await root.get("/accounts/of/nora/link")).text
    page = await post(root, "/accounts/of/nora/link", "/accounts/of/nora/link")
    link = re.search(r"/welcome\?code=[A-Za-z0-9_-]+", page.text)
    assert link is not None
    assert page.headers["cache-control"] == "no-store"
    assert link[0] not in (await root.get("/accounts/of/nora/link")).text
    nora = gateway.browser()
    home = await nora.submit(await nora.get(link[0]))
    assert "nora" in home.text
    assert home.url.path == "/"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "ann", "email": ""}, "exists already"),
        ({"name": "no/name", "email": ""}, "no/name"),
        ({"name": "nora", "email": "nobody"}, "no e-mail address"),
    ],
)
async def test_a_faulty_account_comes_back_with_the_fault(root: Browser, fields: dict[str, str], words: str) -> None:
    """The fault is said above the form, which keeps what was filled in."""
    page = await post(root, "/accounts/add", "/accounts", **fields)
    assert page.status_code == 400
    assert words in page.text
    assert f'value="{fields["name"]}"' in page.text


async def test_administrators_end_accounts(gateway: TestGateway, root: Browser, guest: Browser) -> None:
    """It asks first; then the account's session and tokens are over, and no link can be made for it."""
    assert "Disable guest?" in (await root.get("/accounts/of/guest/disable")).text
    assert gateway.resources.directory.account("guest") is not None
    assert (await post(root, "/accounts/of/guest", "/accounts/of/guest/disable")).status_code == 303
    assert (await guest.get("/", follow=False)).headers["location"] == "/login"
    page = (await root.get("/accounts/of/guest")).text
    assert "disabled" in page
    assert "/accounts/of/guest/link" not in page
    assert (await root.get("/accounts/of/guest/link")).status_code == 409
    refused = await post(root, "/accounts", "/accounts/of/root/disable")
    assert refused.status_code == 409
    assert "nobody would administrate" in refused.text


@pytest.mark.parametrize("name", ["nobody", "no%20name", "..%2froot"])
async def test_an_account_that_is_not_there_is_said_so(root: Browser, name: str) -> None:
    """A name that nobody has, or can have, is a page that says so."""
    assert (await root.get(f"/accounts/of/{name}")).status_code == 404


async def test_accounts_are_paged(gateway: TestGateway, root: Browser) -> None:
    """Fifty to a page, by name; the next page goes on where the first ended."""
    for number in range(51):
        await gateway.accounts.create_account(f"user-{number:02}")
    first = (await root.get("/accounts")).text
    after = re.search(r'href="(/accounts\?after=[^"]+)"', first)
    assert after is not None
    second = (await root.get(after[1])).text
    shown = [re.findall(r"/accounts/of/([a-z0-9-]+)\"", page) for page in (first, second)]
    assert [len(names) for names in shown] == [50, 4]
    assert sorted(shown[0] + shown[1]) == shown[0] + shown[1]


async def test_a_password_is_changed_by_who_knows_it(gateway: TestGateway, ann: Browser) -> None:
    """It takes the present one; afterwards this browser goes on with a new session, every other is signed out."""
    other = await signed_in(gateway, "ann")
    before = ann.client.cookies["countermark_session"]
    fields = {"current": PASSWORD, "password": "another long password", "again": "another long password"}
    done = await post(ann, "/account/password", "/account/password", **fields)
    assert (done.status_code, done.headers["location"]) == (303, "/account?done=password")
    assert ann.client.cookies["countermark_session"] != before
    assert "Your password is changed" in (await ann.get(done.headers["location"])).text
    assert (await other.get("/account", follow=False)).headers["location"] == "/login"
    await signed_in(gateway, "ann", "another long password")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"current": "not the password"}, "not the account&#39;s present password"),
        ({"current": ""}, "not the account&#39;s present password"),
        ({"again": "something else entirely"}, "differ"),
        ({"password": "short", "again": "short"}, "12 to"),
        ({"password": "", "again": ""}, "Type the new password"),
    ],
)
async def test_a_password_is_not_changed_otherwise(
    gateway: TestGateway, ann: Browser, changed: dict[str, str], words: str
) -> None:
    """What is wrong is said, and the password stays what it was."""
    new = "another long password"
    page = await post(
        ann, "/account/password", "/account/password", **{"current": PASSWORD, "password": new, "again": new, **changed}
    )
    assert page.status_code == 400
    assert words in page.text
    await signed_in(gateway, "ann")


async def test_a_first_password_needs_a_fresh_session(gateway: TestGateway) -> None:
    """An open browser gives an account no lasting password, unless the person signed in a moment ago."""
    await gateway.accounts.create_account("nora")
    await gateway.resources.directory.refresh()
    nora = gateway.browser()
    await nora.submit(await nora.get(f"/welcome?code={await gateway.accounts.create_owner_link('nora')}"))
    fields = {"password": "another long password", "again": "another long password"}
    gateway.clock.advance(timedelta(minutes=11))
    for page in (
        await nora.get("/account/password"),
        await post(nora, "/account", "/account/password", **fields),
    ):
        assert page.status_code == 403
        assert "sign in with a new link" in page.text
    await post(nora, "/account", "/logout")
    await nora.submit(await nora.get(f"/welcome?code={await gateway.accounts.create_owner_link('nora')}"))
    gateway.clock.advance(timedelta(minutes=9))
    assert (await post(nora, "/account/password", "/account/password", **fields)).status_code == 303
    await signed_in(gateway, "nora", "another long password")


async def test_passwords_are_the_other_providers_matter(
    engine: AsyncEngine, valkey_url: str, database: str, tmp_path: Path
) -> None:
    """Where an external provider signs people in, a session sets no password, however young it is."""
    settings = Settings(data=tmp_path, oidc=Oidc(issuer="https://login.example.org", client_id="countermark"))
    async with open_gateway(Servers(engine, valkey_url, database, tmp_path), settings) as gateway:
        await gateway.accounts.init_deployment(IndexName("root", "stable"))
        await gateway.accounts.create_account("nora")
        await gateway.resources.directory.refresh()
        resources, nora = gateway.resources, gateway.browser()
        session = await Sessions(resources.redis, gateway.clock, resources.directory).begin("nora")
        nora.client.cookies.set("countermark_session", session)
        assert "/account/password" not in (await nora.get("/account")).text
        fields = {"password": "another long password", "again": "another long password"}
        for page in (
            await nora.get("/account/password"),
            await post(nora, "/account", "/account/password", **fields),
        ):
            assert page.status_code == 403
            assert "another provider" in page.text
        await resources.directory.refresh()
        record = resources.directory.account("nora")
        assert record is not None
        assert record.password_hash is None


async def test_wrong_present_passwords_are_counted(ann: Browser) -> None:
    """An open browser is no way to try passwords one after the other."""
    fields = {"current": "wrong", "password": "another long password", "again": "another long password"}
    answers = [(await post(ann, "/account", "/account/password", **fields)).status_code for _ in range(25)]
    assert answers[0] == 400
    assert answers[-1] == 429


async def test_ones_account_says_what_one_may(ann: Browser, guest: Browser) -> None:
    """The page names the indexes and what may be done there."""
    assert "configure" in (await ann.get("/account")).text
    page = (await guest.get("/account")).text
    assert "ann/lab" in page
    assert "configure" not in page


async def test_expired_tokens_of_the_pages_are_swept(gateway: TestGateway, engine: AsyncEngine, root: Browser) -> None:
    """They go a day after they expired, with the note of their use; those of people stay, and so does the audit."""
    await root.get("/")
    await root.get("/jobs")
    scope = Scope(None, None, frozenset({Verb.READ}))
    mine = await gateway.accounts.create_token(NewToken("root", (scope,), timedelta(minutes=6), LABEL))
    named = await gateway.accounts.create_token(NewToken("root", (scope,), timedelta(days=1), "laptop"))
    await gateway.resources.directory.last_use.flush()
    sweep = TokenSweep(engine, gateway.clock)
    gateway.clock.advance(timedelta(minutes=10))
    assert await sweep.sweep() == 0
    audited = await _count(engine, Audit)
    own = await _count(engine, Token) - 2
    assert own > 0
    assert await _count(engine, TokenUse) > 0
    gateway.clock.advance(KEPT + timedelta(minutes=10))
    assert await sweep.sweep() == own
    async with engine.connect() as connection:
        left = {TokenId(row) for row in (await connection.execute(select(Token.id))).scalars()}
    assert left == {mine.id, named.id}
    assert await _count(engine, TokenUse) == 0
    assert await _count(engine, Audit) == audited


async def _count(engine: AsyncEngine, table: type[Token | TokenUse | Audit]) -> int:
    async with engine.connect() as connection:
        return int(await connection.scalar(select(func.count()).select_from(table)) or 0)


def _verbs(gateway: TestGateway, subject: str) -> set[Verb]:
    record = gateway.resources.directory.index(LAB)
    assert record is not None
    return {grant.verb for grant in record.grants if grant.subject == subject}
