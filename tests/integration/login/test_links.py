"""People sign in by a one-time link, once."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import update

from gateway.limits import LINK_BY_ADDRESS
from shared.catalogue.tables import Account
from shared.limit_settings import RateLimits
from tests.integration.login.signing_in import owner_link, sign_in
from tests.support.gateway import TestGateway


async def test_the_link_signs_in_once(gateway: TestGateway) -> None:
    """Opening the link shows a page, its button signs in, and the link is then dead for everybody."""
    link, owner, stranger = await owner_link(gateway), gateway.browser(), gateway.browser()
    page = await owner.get(link)
    assert "Welcome, root" in page.text
    home = await owner.submit(page)
    assert (home.status_code, home.url.path) == (200, "/")
    assert "root/stable" in home.text
    again = await stranger.get(link)
    assert again.status_code == 410
    assert (await stranger.get("/", follow=False)).headers["location"] == "/login"


async def test_looking_at_a_link_does_not_use_it_up(gateway: TestGateway) -> None:
    """Programs that preview links only ask for the page."""
    link = await owner_link(gateway)
    for _ in range(3):
        assert (await gateway.browser().get(link)).status_code == 200
    owner = gateway.browser()
    assert (await owner.submit(await owner.get(link))).url.path == "/"


async def test_of_two_who_press_the_button_one_gets_in(gateway: TestGateway) -> None:
    """A link is used up by compare-and-set."""
    link, first, second = await owner_link(gateway), gateway.browser(), gateway.browser()
    pages = [await first.get(link), await second.get(link)]
    assert (await first.submit(pages[0])).url.path == "/"
    late = await second.submit(pages[1])
    assert late.status_code == 410
    assert "countermark_session" not in second.cookie_names()


async def test_the_link_can_set_a_password(gateway: TestGateway) -> None:
    """The owner may choose a password, which then signs in; it must be typed twice and be long enough."""
    link, owner = await owner_link(gateway), gateway.browser()
    page = await owner.get(link)
    short = await owner.submit(page, {"password": "short", "again": "short"})
    typo = await owner.submit(page, {"password": "a new password", "again": "a new passwort"})
    assert (short.status_code, typo.status_code) == (400, 400)
    done = await owner.submit(page, {"password": "a new password", "again": "a new password"})
    assert done.url.path == "/"
    assert (await sign_in(gateway, gateway.browser(), password="a new password")).url.path == "/"
    assert (await sign_in(gateway, gateway.browser())).status_code == 403


async def test_a_link_expires_and_goes_with_its_account(gateway: TestGateway) -> None:
    """A link that is too old, or whose account was disabled, is as dead as a used one."""
    link = await owner_link(gateway)
    gateway.clock.advance(timedelta(hours=24))
    assert (await gateway.browser().get(link)).status_code == 410
    fresh = await owner_link(gateway)
    async with gateway.resources.engine.begin() as connection:
        await connection.execute(update(Account).values(disabled_at=gateway.clock.now()))
    assert (await gateway.browser().get(fresh)).status_code == 410


async def test_guessing_links_is_limited(gateway: TestGateway) -> None:
    """An address that tries many links is told to wait."""
    browser = gateway.browser()
    answers = [await browser.get("/welcome?code=guess") for _ in range(LINK_BY_ADDRESS.most(RateLimits()) + 1)]
    assert [answer.status_code for answer in answers] == [410] * LINK_BY_ADDRESS.most(RateLimits()) + [429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 300
