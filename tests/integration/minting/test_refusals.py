"""Exchanges that are refused, and publishers that end."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from shared.auth.verifier import BadCredentials
from shared.catalogue.tables import Publisher
from tests.integration.minting.site import PASSWORD, SHUT, STABLE, Site, code_of
from tests.support.ci_claims import github_job


async def test_a_body_that_is_none_is_told_so(site: Site) -> None:
    """Whatever comes, the answer has the shape that clients read."""
    twice = b'{"token": "a", "token": "b"}'
    for content in (b"", b"[]", b"{}", b'{"token": 1}', twice, b'{"token": "x.y.z"}', b"\xff"):
        answer = await site.http.post("/_/oidc/mint-token", content=content)
        assert code_of(answer)[0] == "invalid-payload", content


async def test_an_issuer_that_nobody_registered_is_not_asked(site: Site) -> None:
    """Nothing is fetched from it, though it is there."""
    code, description = code_of(await site.mint())
    assert (code, site.issuer.asked) == ("invalid-payload", [])
    assert site.issuer.url in description
    gone = await site.added()
    await site.http.delete(f"/api/v1/indexes/{STABLE}/publishers/{gone['id']}", auth=("root", PASSWORD))
    assert code_of(await site.mint())[0] == "invalid-payload"
    assert site.issuer.asked == []


@pytest.mark.parametrize(
    ("claims", "code", "named"),
    [
        ({"aud": ["countermark"]}, "invalid-token", "audience"),
        ({"aud": ["countermark", "other"]}, "invalid-token", "audience"),
        ({"aud": "other"}, "invalid-token", "audience"),
        ({"exp": 1}, "invalid-token", "exp"),
        ({"nbf": 4_000_000_000}, "invalid-token", "nbf"),
        ({"jti": None}, "invalid-token", "jti"),
        ({"repository": "evil/thing"}, "invalid-publisher", "'evil/thing'"),
        ({"event_name": "pull_request_target"}, "invalid-publisher", "event_name"),
        ({"job_workflow_ref": "acme/thing/.github/workflows/x.yml@refs/tags/v1"}, "invalid-publisher", "'acme/thing/"),
    ],
)
async def test_claims_that_do_not_hold_are_named(site: Site, claims: dict[str, Any], code: str, named: str) -> None:
    """What the token says is told, what is registered is not."""
    await site.added()
    found, description = code_of(await site.mint(github_job() | claims))
    assert (found, named in description) == (code, True), description
    assert "release.yml" not in description
    assert await site.audit("publisher.mint") == []


async def test_ids_are_pinned_by_the_first_token(site: Site) -> None:
    """A repository of the same name that was made since is another one; ids can be registered from the start."""
    await site.added()
    await site.minted()
    code, description = code_of(await site.mint(github_job(repository_id="9999")))
    assert code == "invalid-publisher"
    assert "repository_id" in description
    assert "4711" not in description
    await site.added(project="second", repository="acme/second", owner_id="1")
    assert "repository_owner_id" in code_of(await site.mint(github_job("acme/second")))[1]


async def test_the_publisher_ends_with_whoever_registered_it(site: Site) -> None:
    """With the account, with its right to upload, and with the index."""
    grants = f"/api/v1/indexes/{SHUT}/grants"
    for verbs in (["configure", "upload"], ["configure"]):
        await site.http.put(grants, json={"subject": "bob", "verbs": verbs}, auth=("alice", PASSWORD))
        if "upload" in verbs:
            await site.added(SHUT, "bob")
            assert (await site.mint()).status_code == 200
    code, description = code_of(await site.mint())
    assert (code, "may not upload" in description) == ("invalid-publisher", True)
    await site.added(SHUT, "alice", project="mine", repository="acme/mine")
    token = (await site.mint(github_job("acme/mine"))).json()["token"]
    for account in ("alice", "bob"):
        await site.gateway.accounts.disable_account(account)
    await site.gateway.resources.directory.refresh()
    with pytest.raises(BadCredentials):
        await site.verifier.verify(f"Bearer {token}")
    assert code_of(await site.mint())[0] == "invalid-payload"


async def test_a_removed_publisher_takes_its_tokens_along(site: Site) -> None:
    """At once; and what it is kept as stays in the catalogue."""
    publisher = await site.added()
    token = (await site.mint()).json()["token"]
    for _ in range(2):
        path = f"/api/v1/indexes/{STABLE}/publishers/{publisher['id']}"
        assert (await site.http.delete(path, auth=("root", PASSWORD))).status_code == 204
    with pytest.raises(BadCredentials):
        await site.verifier.verify(f"Bearer {token}")
    async with site.gateway.resources.engine.connect() as connection:
        query = select(Publisher.removed_by).where(Publisher.id == UUID(publisher["id"]))
        assert await connection.scalar(query) == "root"
