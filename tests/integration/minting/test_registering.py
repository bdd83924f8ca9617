"""Who registers publishers, of projects that are there and of those that are not yet."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from packaging.utils import canonicalize_name

from countermark.core.names import IndexName
from gateway.trusted_publishing.identities import parse_identity
from gateway.trusted_publishing.registry import NewPublisher, Publishers
from tests.integration.minting.site import PASSWORD, SHUT, STABLE, Site, code_of
from tests.support.ci_claims import github_job
from tests.support.factories import MadeIndex, make_project

# --- pending ------------------------------------------------------------------------------------------------------


async def test_a_publisher_may_wait_for_its_project(site: Site) -> None:
    """The first exchange makes it real, and drops those of others that wait for the name."""
    await site.http.put(
        f"/api/v1/indexes/{STABLE}/grants", json={"subject": "bob", "verbs": ["upload"]}, auth=("root", PASSWORD)
    )
    await site.http.put(
        f"/api/v1/indexes/{STABLE}/grants",
        json={"subject": "alice", "verbs": ["upload", "configure"]},
        auth=("root", PASSWORD),
    )
    first = await site.added()
    await site.added(user="alice", repository="acme/rival")
    assert first["state"] == "pending"
    rivals = [site.issuer.token(github_job(name)) for name in ("acme/thing", "acme/rival")]
    answers = await asyncio.gather(*(site.exchange(token) for token in rivals))
    assert sorted(answer.status_code for answer in answers) == [200, 422], [answer.text for answer in answers]
    listed = await site.http.get(f"/api/v1/indexes/{STABLE}/publishers", auth=("root", PASSWORD))
    assert [item["state"] for item in listed.json()["items"]] == ["active"]
    assert [row["detail"]["why"] for row in await site.audit("publisher.remove")] == [
        "another publisher got the project"
    ]


async def test_a_name_that_was_taken_meanwhile_is_told(site: Site) -> None:
    """Whoever made the project did so without this publisher, which so gets no right to it."""
    await site.added()
    record = site.gateway.resources.directory.index(STABLE)
    assert record is not None
    await make_project(site.gateway.resources.engine, MadeIndex(record.id, STABLE, public=True), "thing")
    assert code_of(await site.mint())[0] == "invalid-pending-publisher"
    assert (await site.added(project="other"))["state"] == "pending"
    registered = await site.added(environment="x")
    assert (registered["state"], registered["pending_until"]) == ("active", None)


async def test_waiting_ends_after_thirty_days(site: Site) -> None:
    """Then it is as if it had never been registered, and can be registered again."""
    await site.added()
    site.gateway.clock.advance(timedelta(days=30))
    assert code_of(await site.mint())[0] == "invalid-publisher"
    await site.added()
    assert (await site.mint()).status_code == 200


# --- registering --------------------------------------------------------------------------------------------------


async def test_only_who_may_configure_and_upload_registers(site: Site) -> None:
    """Nobody, a stranger, and one who may upload alone do not."""
    assert (await site.http.post(f"/api/v1/indexes/{SHUT}/publishers", json={})).status_code in {401, 422}
    assert (await site.add(SHUT, "bob")).status_code == 403
    grants = f"/api/v1/indexes/{SHUT}/grants"
    for verbs, status in ((["read", "upload"], 403), (["configure"], 403), (["configure", "upload"], 201)):
        await site.http.put(grants, json={"subject": "bob", "verbs": verbs}, auth=("alice", PASSWORD))
        assert (await site.add(SHUT, "bob", project=f"p{len(verbs)}{status}")).status_code == status


async def test_what_cannot_be_registered_is_told(site: Site) -> None:
    """The same twice, what is no identity, and a mirror."""
    await site.added()
    assert (await site.add()).status_code == 409
    wrong: dict[str, str] = {"workflow": "x", "repository": "thing", "issuer": "http://ci.acme.test", "project": "-"}
    for name, value in wrong.items():
        payload: dict[str, Any] = {name: value}
        answer = await site.add(**payload)
        assert answer.status_code == 400, answer.text
    assert (await site.add(more="x")).status_code == 422
    assert (await site.add(IndexName("root", "none"))).status_code == 404


async def test_an_account_registers_so_many_a_day(site: Site) -> None:
    """Then it has to wait; the next day it goes on."""
    publishers = Publishers(site.gateway.resources.engine, site.gateway.clock, actor="root")
    identity = parse_identity("github", None, {"repository": "acme/thing", "workflow": "release.yml"})
    for number in range(100):
        await publishers.add(NewPublisher(STABLE, canonicalize_name(f"p{number}"), identity, "root"))
    answer = await site.add(project="one-more")
    assert answer.status_code == 429
    site.gateway.clock.advance(timedelta(days=1, seconds=1))
    await site.added(project="one-more")
