"""The exchange of identity tokens, on a real catalogue: what is minted, for whom, and once."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select

from gateway.dashboard.token_sweep import KEPT, TokenSweep
from gateway.trusted_publishing.forgetting import Forgetting
from shared.auth.permissions import Decision, authorize
from shared.auth.principal import Verb
from shared.auth.verifier import BadCredentials
from shared.catalogue.tables import Token, UsedIdentity
from tests.integration.minting.site import SHUT, STABLE, Site, code_of
from tests.support.ci_claims import github_job, gitlab_job

WORKFLOW = "acme/thing/.github/workflows/release.yml"


async def test_a_job_gets_a_token_for_its_project_alone(site: Site) -> None:
    """In the shape that clients read, for fifteen minutes; the job uploads in its own name, and does nothing else."""
    await site.added()
    answer = await site.mint()
    assert answer.status_code == 200
    document = answer.json()
    assert document.keys() == {"success", "message", "token", "expires"}
    assert document["success"] is True
    assert document["token"].startswith("pypi-cmk_1")
    assert document["expires"] == int((site.gateway.clock.now() + timedelta(minutes=15)).timestamp())
    assert answer.headers["cache-control"] == "no-store"
    principal = await site.verifier.verify(f"Bearer {document['token']}")
    assert principal.account == "github:acme/thing"
    assert site.may(principal, STABLE) is Decision.ALLOWED
    for index, project in ((STABLE, "other"), (STABLE, None), (SHUT, "thing")):
        assert site.may(principal, index, project) is Decision.OUT_OF_SCOPE
    record = site.gateway.resources.directory.index(SHUT)
    assert record is not None
    for verb in set(Verb) - {Verb.UPLOAD}:
        assert authorize(principal, verb, record.resource()) is Decision.OUT_OF_SCOPE
    site.gateway.clock.advance(timedelta(minutes=15))
    with pytest.raises(BadCredentials, match="expired"):
        await site.verifier.verify(f"Bearer {document['token']}")


async def test_the_token_makes_no_other_and_changes_nothing(site: Site) -> None:
    """Neither tokens, nor publishers, nor grants, though its project is registered."""
    await site.added()
    token = (await site.mint()).json()["token"]
    auth = ("__token__", token)
    scopes = [{"index": "root/stable", "project": "thing", "verbs": ["upload"]}]
    made = await site.http.post("/api/v1/tokens", json={"label": "x", "scopes": scopes}, auth=auth)
    assert made.status_code in {403, 404}, made.text
    payload = {"project": "thing", "kind": "github", "repository": "a/b", "workflow": "c.yml"}
    for path, body in (("publishers", payload), ("exemptions", {"project": "x", "reason": "y"})):
        answer = await site.http.post(f"/api/v1/indexes/root/stable/{path}", json=body, auth=auth)
        assert answer.status_code == 403, answer.text


async def test_the_run_is_kept_with_the_token_and_in_the_audit(site: Site) -> None:
    """So attestations can be bound to it, and everybody finds the commit of an upload."""
    publisher = await site.added()
    await site.mint()
    async with site.gateway.resources.engine.connect() as connection:
        kept = await connection.scalar(select(Token.publisher).where(Token.publisher.is_not(None)))
    assert kept is not None
    assert (kept["kind"], kept["publishers"]) == ("GitHub", [publisher["id"]])
    assert kept["claims"]["workflow_ref"] == f"{WORKFLOW}@refs/tags/v1"
    (row,) = await site.audit("publisher.mint")
    assert row["source"] == "192.0.2.1"
    assert row["detail"]["claims"]["sha"] == "5" * 40
    assert row["detail"]["claims"]["run_id"] == "99"
    assert [row["action"] for row in await site.audit("publisher.first-use")] == ["publisher.first-use"]
    await site.mint()
    assert len(await site.audit("publisher.first-use")) == 1


async def test_one_identity_publishes_to_many_indexes_of_many_people(site: Site) -> None:
    """One token for all of them, whoever registered; another's project is none of it."""
    await site.added()
    await site.added(project="second")
    await site.added(SHUT, "alice")
    await site.added(SHUT, "alice", project="else", repository="acme/else")
    principal = await site.minted()
    allowed = {(STABLE, "thing"), (STABLE, "second"), (SHUT, "thing")}
    for index in (STABLE, SHUT):
        for project in ("thing", "second", "else"):
            expected = Decision.ALLOWED if (index, project) in allowed else Decision.OUT_OF_SCOPE
            assert site.may(principal, index, project) is expected


async def test_the_environment_decides_which_publisher_it_is(site: Site) -> None:
    """The one that names it wins on its project; where none is named, any job is taken."""
    await site.added()
    named = await site.added(environment="release")
    await site.mint(github_job(environment="release"))
    (row,) = await site.audit("publisher.mint")
    assert row["detail"]["publishers"] == [named["id"]]
    await site.mint(github_job(environment="test"))
    assert (await site.audit("publisher.mint"))[1]["detail"]["publishers"] != [named["id"]]


async def test_gitlab_and_others_are_exchanged_too(site: Site) -> None:
    """A company's GitLab by its project, an issuer of its own by exact claims."""
    host = site.issuer.url.removeprefix("https://")
    await site.added(kind="gitlab", workflow=".gitlab-ci.yml")
    await site.added(kind="generic", claims={"sub": "system:serviceaccount:ci:builder", "cluster": "one"})
    assert (await site.minted(gitlab_job(host=host))).account == "gitlab:acme/thing"
    job = {"sub": "system:serviceaccount:ci:builder", "cluster": "one"}
    assert (await site.minted(job)).account == f"oidc:{host}/system:serviceaccount:ci:builder"
    assert code_of(await site.mint(job | {"cluster": "two"}))[0] == "invalid-publisher"


async def test_the_old_address_does_the_same(site: Site) -> None:
    """Where maturin and old actions ask."""
    await site.added()
    token = site.issuer.token(github_job())
    answer = await site.http.post("/_/oidc/github/mint-token", json={"token": token})
    assert answer.status_code == 200


async def test_a_token_is_exchanged_once(site: Site) -> None:
    """Also when the other one comes later, and however many publishers there are."""
    await site.added()
    token = site.issuer.token(github_job())
    assert (await site.exchange(token)).status_code == 200
    for _ in range(2):
        assert code_of(await site.exchange(token))[0] == "invalid-reuse-token"


async def test_of_many_exchanges_at_once_one_wins(site: Site) -> None:
    """The same id, in tokens that differ and in one that is repeated: one token is minted, the rest is refused."""
    await site.added()
    same = github_job() | {"jti": "the one"}
    tokens = [site.issuer.token(same | {"run_attempt": str(number // 2)}) for number in range(8)]
    answers = await asyncio.gather(*(site.exchange(token) for token in tokens))
    assert sorted(answer.status_code for answer in answers) == [200] + [422] * 7
    assert {code_of(answer)[0] for answer in answers if answer.status_code == 422} == {"invalid-reuse-token"}
    assert len(await site.audit("publisher.mint")) == 1


async def test_a_refused_token_is_not_used_up(site: Site) -> None:
    """Whoever registers the publisher after the first try need not start the job again."""
    await site.added(repository="acme/else")
    token = site.issuer.token(github_job())
    assert code_of(await site.exchange(token))[0] == "invalid-publisher"
    await site.added()
    assert (await site.exchange(token)).status_code == 200


async def test_what_has_expired_is_forgotten(site: Site) -> None:
    """The identity token not before it could no longer be exchanged; the upload token a day after its end."""
    await site.added()
    await site.mint()
    engine = site.gateway.resources.engine
    forgetting = Forgetting(engine, site.gateway.clock)
    site.gateway.clock.advance(timedelta(seconds=300 + 34))
    assert await forgetting.sweep() == 0
    site.gateway.clock.advance(timedelta(seconds=2))
    assert await forgetting.sweep() == 1
    async with engine.connect() as connection:
        assert await connection.scalar(select(UsedIdentity.sha256)) is None
    sweep = TokenSweep(engine, site.gateway.clock)
    assert await sweep.sweep() == 0
    site.gateway.clock.advance(KEPT + timedelta(minutes=15))
    assert await sweep.sweep() == 1
    assert len(await site.audit("publisher.mint")) == 1
