"""The dashboard's pages of accounts, and what one's own account says and changes."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import IndexName
from gateway.accounts import NewToken
from gateway.dashboard.session_tokens import LABEL
from gateway.dashboard.token_sweep import KEPT, TokenSweep
from gateway.sessions import Sessions
from shared.auth.principal import Scope, Verb
from shared.catalogue.tables import Audit, Token, TokenUse
from shared.ids import TokenId
from shared.settings import Oidc, Settings
from tests.support.browser import Browser
from tests.support.dashboard import PASSWORD, post, signed_in
from tests.support.gateway import Servers, TestGateway, open_gateway


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
