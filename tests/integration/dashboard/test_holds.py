"""The dashboard's pages of what is held back: who sees it, who lifts it, and the form of the rules."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import IndexName
from gateway.accounts import NewIndex
from gateway.index_lives import Birth
from gateway.index_rights import IndexRights
from gateway.policies import NewExemption, Policies
from shared.auth.directory import IndexRecord
from shared.auth.principal import Verb
from shared.catalogue.tables import Audit, IndexBase
from shared.reading.policy import Policy
from shared.settings import Mirrors, Settings
from tests.support.browser import Browser
from tests.support.dashboard import PASSWORD, post, signed_in
from tests.support.gateway import Servers, TestGateway, open_gateway
from tests.support.registry_api import (
    AT,
    RegistryApi,
    explained_file,
    explanation,
    file_line,
    held_line,
    project_line,
)

STABLE, LAB, PYPI = IndexName("root", "stable"), IndexName("ann", "lab"), IndexName("root", "pypi")
BASE = "/indexes/ann/lab"
POLICY, EXEMPTIONS, HOLDS = f"{BASE}/policy", f"{BASE}/exemptions", f"{BASE}/holds"
PAGES_OF_OWNERS = (POLICY, EXEMPTIONS, f"{EXEMPTIONS}/give", f"{EXEMPTIONS}/revoke?id=x")
FORMS = (POLICY, f"{EXEMPTIONS}/give", f"{EXEMPTIONS}/revoke")
NEW, OLD = "thing-2.0.tar.gz", "thing-1.0.tar.gz"


@pytest.fixture
def api() -> RegistryApi:
    """What the services tell."""
    return RegistryApi(
        projects=[project_line("demo")], release={"metadata": {}, "files": [file_line("demo-1.0.tar.gz")]}
    )


@pytest.fixture
async def gateway(
    engine: AsyncEngine, valkey_url: str, database: str, tmp_path: Path, api: RegistryApi
) -> AsyncIterator[TestGateway]:
    """`ann` owns a private index that is based on the mirror of `root`; `guest` may read both."""
    settings = Settings(data=tmp_path, mirrors=Mirrors(reserved="acme-"))
    servers = Servers(engine, valkey_url, database, tmp_path)
    async with open_gateway(servers, settings, upstreams=api.upstreams()) as gateway:
        mirror = Birth(PYPI, type="mirror", settings={"mirror_url": "https://upstream.test/"})
        await gateway.accounts.init_deployment(STABLE, mirror=mirror)
        for name in ("ann", "guest"):
            await gateway.accounts.create_account(name, password=PASSWORD)
        await gateway.accounts.create_index(NewIndex(LAB, "private"))
        await IndexRights(engine, gateway.clock, actor="test").set_grants(LAB, "guest", {Verb.READ})
        await gateway.resources.directory.refresh()
        async with engine.begin() as connection:
            base = {"position": 0, "base_owner": "root", "base_name": "pypi"}
            await connection.execute(insert(IndexBase).values(index_id=_record(gateway).id, **base))
        await gateway.resources.directory.refresh()
        yield gateway


def _record(gateway: TestGateway, name: IndexName = LAB) -> IndexRecord:
    record = gateway.resources.directory.index(name)
    assert record is not None
    return record


@pytest.fixture
async def ann(gateway: TestGateway) -> Browser:
    """The owner's browser."""
    return await signed_in(gateway, "ann")


@pytest.fixture
async def guest(gateway: TestGateway) -> Browser:
    """The browser of somebody who may read and no more."""
    return await signed_in(gateway, "guest")


async def _actions(gateway: TestGateway) -> list[tuple[str, str]]:
    async with gateway.resources.engine.connect() as connection:
        rows = await connection.execute(
            select(Audit.actor, Audit.action).where(Audit.action.like("policy.%")).order_by(Audit.id)
        )
        return [(row.actor, row.action) for row in rows]


class TestWhoMay:
    """Strangers, readers, other sites."""

    @pytest.mark.parametrize("path", [*PAGES_OF_OWNERS, HOLDS, f"{BASE}/lookup?name=x"])
    async def test_strangers_are_led_to_the_login(self, gateway: TestGateway, path: str) -> None:
        """Nobody sees a page without a session."""
        page = await gateway.browser().get(path, follow=False)
        assert (page.status_code, page.headers["location"]) == (303, "/login")

    async def test_readers_see_holds_and_lift_none(self, gateway: TestGateway, guest: Browser) -> None:
        """Neither pages nor forms of the rules are for them."""
        assert "Exemptions" not in (await guest.get(HOLDS)).text
        for path in PAGES_OF_OWNERS:
            assert (await guest.get(path)).status_code == 403, path
        for path in FORMS:
            assert (await post(guest, "/", path, project="x", reason="y", days="1")).status_code == 403, path
        assert await _actions(gateway) == []

    @pytest.mark.parametrize("path", FORMS)
    async def test_forms_of_other_sites_change_nothing(self, ann: Browser, path: str) -> None:
        """Neither another site's form nor one without this session's token is taken."""
        origin = str(ann.client.base_url).rstrip("/")
        fields = {"project": "x", "reason": "y", "days": "1", "min_age": "7d"}
        for headers, data in (
            ({"origin": "http://elsewhere.test"}, fields),
            ({"origin": origin}, fields),
            ({"origin": origin}, {**fields, "form_token": "wrong"}),
        ):
            assert (await ann.client.post(path, data=data, headers=headers)).status_code == 403


class TestHolds:
    """What is held back, and leave for it."""

    async def test_the_list_says_which_rule_until_when(self, api: RegistryApi, ann: Browser) -> None:
        """Leave is given in the index whose rule it is; where one may not, its owner is named."""
        line = {"project": "thing", "version": "2.0", "files": 1, "uploaded_at": AT, "mirror": "root/pypi"}
        api.holds = [
            {**line, "hidden": held_line("too-new", "ann/lab")},
            {**line, "project": "other", "hidden": held_line("undated", "root/pypi", until=None)},
            {**line, "project": "evil", "version": None, "hidden": held_line("denied", None, reason="", until=None)},
        ]
        page = (await ann.get(HOLDS)).text
        for words in ("too new", "of ann/lab", "2 Nov 2026, 09:30 UTC", "the whole project", "somebody ends it"):
            assert words in page, words
        (link,) = re.findall(r'href="([^"]+)">Exempt<', page)
        assert html.unescape(link) == f"{EXEMPTIONS}/give?project=thing&version=2.0&seen=ann%2Flab"
        assert page.count("Ask root") == 1
        form = (await ann.get(html.unescape(link))).text
        assert 'value="thing"' in form
        assert 'value="7"' in form

    async def test_leave_is_given_seen_and_ended(self, gateway: TestGateway, ann: Browser) -> None:
        """It counts at once, leads back to the project, stands in the list, and is on record."""
        page = f"{EXEMPTIONS}/give"
        given = {"project": "Thing", "version": "2.0", "reason": "a fix", "days": "3"}
        done = await post(ann, page, page, **given, seen="ann/lab")
        assert (done.status_code, done.headers["location"]) == (303, f"{BASE}/projects/thing?done=exempt")
        elsewhere = await post(ann, page, page, **given | {"version": ""}, seen="no/where")
        assert elsewhere.headers["location"] == f"{EXEMPTIONS}?done=given"
        listed = (await ann.get(EXEMPTIONS)).text
        assert "a fix" in listed
        assert "all versions" in listed
        (first, _) = re.findall(r"revoke\?id=([0-9a-f-]+)", listed)
        assert "back again?" in (await ann.get(f"{EXEMPTIONS}/revoke?id={first}")).text
        for _ in range(2):
            assert (await post(ann, EXEMPTIONS, f"{EXEMPTIONS}/revoke", id=first)).status_code == 303
        assert (await ann.get(EXEMPTIONS)).text.count("revoke?id=") == 1
        gateway.clock.advance(timedelta(days=3))
        assert "None holds" in (await (await signed_in(gateway, "ann")).get(EXEMPTIONS)).text
        assert await _actions(gateway) == [("ann", "policy.exempt")] * 2 + [("ann", "policy.revoke")]

    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ({"days": "91"}, "within 90 days"),
            ({"days": "0"}, "within 90 days"),
            ({"days": "x"}, "Say for how many days"),
            ({"reason": " "}, "A reason is needed"),
            ({"project": "no name!"}, "no name!"),
            ({"version": "one"}, "is no version"),
        ],
    )
    async def test_a_fault_is_told_with_the_form(self, ann: Browser, changed: dict[str, str], words: str) -> None:
        """What was typed is still there."""
        page, given = f"{EXEMPTIONS}/give", {"project": "thing", "version": "2.0", "reason": "a fix", "days": "3"}
        answer = await post(ann, page, page, **{**given, **changed})
        assert answer.status_code == 400
        assert words in html.unescape(answer.text)
        assert f'value="{({**given, **changed})["version"]}"' in answer.text

    async def test_many_exemptions_have_pages(self, gateway: TestGateway, ann: Browser) -> None:
        """Each is on one of them."""
        writer = Policies(gateway.resources.engine, gateway.clock, actor="ann")
        for number in range(30):
            until = gateway.clock.now() + timedelta(hours=number + 1)
            await writer.exempt(LAB, NewExemption(f"p{number}", None, "y", until))
        first = (await ann.get(EXEMPTIONS)).text
        (address,) = re.findall(r'id="more" href="([^"]+)"', first)
        second = (await ann.get(html.unescape(address))).text
        found = re.findall(r"Revoke<span class=\"hidden\"> (p\d+)", first + second)
        assert found == [f"p{number}" for number in range(30)]


class TestPolicy:
    """The form of the rules."""

    async def test_what_is_saved_is_shown_and_counts(self, gateway: TestGateway, ann: Browser) -> None:
        """Lists have a line for each entry, a reason behind a colon."""
        form = (await ann.get(POLICY)).text
        assert "Reserved in every index by the operator: acme-." in form
        fields = {
            "min_age": "7d",
            "reserved": "lab-\r\n\r\n lab2 ",
            "denied": "evil-*: steals: all\r\nbad: is bad",
            "allowed_only": "on",
            "allowed": "a*",
            "quarantined": "Some.Thing: looked at",
        }
        done = await post(ann, POLICY, POLICY, **fields)
        assert (done.status_code, done.headers["location"]) == (303, f"{POLICY}?done=saved")
        assert _record(gateway).policy == Policy(
            LAB,
            timedelta(days=7),
            ("acme-", "lab-", "lab2"),
            {"evil-*": "steals: all", "bad": "is bad"},
            frozenset({"a*"}),
            {"some-thing": "looked at"},
        )
        form = html.unescape((await ann.get(f"{POLICY}?done=saved")).text)
        for words in ('value="7d"', "bad: is bad\nevil-*: steals: all", "some-thing: looked at", "lab-\nlab2<"):
            assert words in form, words
        await post(ann, POLICY, POLICY, **{name: "" for name in fields if name != "allowed_only"})
        assert _record(gateway).policy == Policy(LAB, reserved=("acme-",))
        assert await _actions(gateway) == [("ann", "policy.change")] * 2

    async def test_a_fault_keeps_what_was_typed(self, gateway: TestGateway, ann: Browser) -> None:
        """And changes nothing."""
        fields = {"min_age": "soon", "reserved": "UP", "denied": "evil", "allowed": "", "quarantined": ""}
        answer = await post(ann, POLICY, POLICY, **fields)
        text = html.unescape(answer.text)
        assert answer.status_code == 400
        for words in ("such as 7d", "'UP' is no beginning", "Say why 'evil'", 'value="soon"', ">evil</textarea>"):
            assert words in text, words
        assert _record(gateway).policy == Policy(LAB, reserved=("acme-",))

    async def test_lists_that_are_too_long_for_a_form_stay(self, gateway: TestGateway, ann: Browser) -> None:
        """The minimum age can be changed all the same."""
        allowed = [f"project-number-{number}" for number in range(1000)]
        await Policies(gateway.resources.engine, gateway.clock, actor="ann").change(LAB, {"allowed": allowed})
        page = (await ann.get(POLICY)).text
        assert "too long for this form" in page
        assert "<textarea" not in page
        assert (await post(ann, POLICY, POLICY, min_age="1d")).status_code == 303
        policy = _record(gateway).policy
        assert policy is not None
        assert (policy.min_age, policy.allowed) == (timedelta(days=1), frozenset(allowed))


class TestPagesOfIndexesAndProjects:
    """What mirrors show on the other pages."""

    async def test_an_index_shows_how_its_mirrors_stand(self, api: RegistryApi, ann: Browser) -> None:
        """Upstream, last confirmed, failing since; a mirror hosts nothing itself."""
        api.mirrors = [
            {"index": "root/pypi", "url": "https://upstream.test/", "projects": 12, "confirmed_at": AT, "failing": 1}
            | {"failing_since": AT, "failure": "it answers 503"}
        ]
        api.projects = []
        for index in ("ann/lab", "root/pypi"):
            page = (await ann.get(f"/indexes/{index}")).text
            for words in ("https://upstream.test/", "failing", "it answers 503", "Look up a project", f"{index}/holds"):
                assert words in page, (index, words)
        assert "A mirror hosts nothing itself" in page
        assert "/holds" not in (await ann.get("/indexes/root/stable")).text

    async def test_a_name_is_looked_up(self, ann: Browser) -> None:
        """Normalised; what is no name is said to be none."""
        found = await ann.get(f"{BASE}/lookup?name=Some.Thing", follow=False)
        assert found.headers["location"] == f"{BASE}/projects/some-thing"
        assert (await ann.get(f"{BASE}/lookup?name=a%20b")).status_code == 400

    async def test_a_mirrored_project_has_a_page(self, api: RegistryApi, ann: Browser) -> None:
        """What is shown, what is held back by which rule, who is asked, how the upstream stands."""
        api.explained = explanation(
            "thing", explained_file(NEW, "2.0", held_line("too-new", "ann/lab")), explained_file(OLD, "1.0")
        )
        page = (await ann.get(f"{BASE}/projects/thing?done=exempt")).text
        for words in (
            NEW,
            OLD,
            "too new",
            "they would take 2.0",
            "it answers 503",
            "Done. It is shown here",
            "inherited",
        ):
            assert words in page, words
        assert "Exempt<" in page
        await ann.get(f"{BASE}/projects/thing/releases/2.0")
        assert api.queries[-1] == {"version": "2.0"}

    async def test_what_nobody_has_is_not_found(self, api: RegistryApi, ann: Browser) -> None:
        """An upstream that is away is no absence; a service that is away is said to be."""
        nothing = explanation("thing")
        for member in nothing["members"]:
            member["state"] = "nothing"
        api.explained = nothing
        assert (await ann.get(f"{BASE}/projects/thing")).status_code == 404
        nothing["members"][1]["state"] = "away"
        page = await ann.get(f"{BASE}/projects/thing")
        assert (page.status_code, "gives no answer" in page.text) == (200, True)
        api.explained = None
        assert (await ann.get(f"{BASE}/projects/thing")).status_code == 503

    async def test_a_hosted_project_shows_what_is_held_back_of_it(self, api: RegistryApi, guest: Browser) -> None:
        """Without leave for readers; without the explanation, the page is whole."""
        assert "demo-1.0.tar.gz" in (await guest.get(f"{BASE}/projects/demo")).text
        api.explained = explanation("demo", explained_file("demo-2.0.tar.gz", "2.0", held_line("too-new", "ann/lab")))
        page = (await guest.get(f"{BASE}/projects/demo")).text
        assert "demo-2.0.tar.gz" in page
        assert "Ask ann" in page
        assert "Exempt<" not in page

    async def test_what_others_wrote_is_escaped(self, api: RegistryApi, ann: Browser) -> None:
        """Reasons and failures may hold anything."""
        hidden = held_line("denied", "ann/lab", reason="<script>alert(1)</script>")
        api.explained = explanation("thing", explained_file(NEW, "2.0", hidden))
        assert "<script>alert" not in (await ann.get(f"{BASE}/projects/thing")).text
