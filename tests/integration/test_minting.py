"""The exchange of identity tokens, on a real catalogue with a real issuer on loopback: what is minted, and for whom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
from packaging.utils import canonicalize_name
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import IndexName
from gateway.accounts import NewIndex
from gateway.dashboard.token_sweep import KEPT, TokenSweep
from gateway.trusted_publishing.forgetting import Forgetting
from gateway.trusted_publishing.identities import parse_identity
from gateway.trusted_publishing.issuers import Issuers
from gateway.trusted_publishing.refusals import MintRefused
from gateway.trusted_publishing.registry import NewPublisher, Publishers
from shared.auth.permissions import Decision, authorize
from shared.auth.principal import Principal, Verb
from shared.auth.verifier import BadCredentials, Verifier
from shared.catalogue.tables import Publisher, Token, UsedIdentity
from shared.outgoing import Outgoing
from shared.outside import LOOPBACK, Outside
from shared.settings import Publishing, RateLimits, Settings
from tests.support.ci_claims import github_job, gitlab_job
from tests.support.ci_issuer import CiIssuer, ci_issuer, new_key, server_tls
from tests.support.factories import MadeIndex, make_project
from tests.support.gateway import Servers, TestGateway, open_gateway

STABLE = IndexName("root", "stable")
SHUT = IndexName("alice", "shut")
PASSWORD = "correct horse battery"
WORKFLOW = "acme/thing/.github/workflows/release.yml"


@pytest.fixture
def issuer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CiIssuer]:
    """A CI service whose certificate this process trusts."""
    tls, files = server_tls(tmp_path / "tls")
    monkeypatch.setenv("SSL_CERT_FILE", str(files.authority))
    with ci_issuer(tls) as running:
        yield running


class Site:
    """A gateway, and what a job and an owner do with it."""

    def __init__(self, gateway: TestGateway, issuer: CiIssuer) -> None:
        self.gateway = gateway
        self.issuer = issuer
        self.verifier = Verifier(gateway.resources.directory, gateway.clock)
        transport = httpx2.ASGITransport(app=gateway.apps.api, client=("192.0.2.1", 1))
        self.http = httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:3141")

    async def add(self, index: IndexName = STABLE, user: str = "root", **payload: Any) -> httpx2.Response:
        """Register a publisher of GitHub, unless the payload says otherwise."""
        standing = {"project": "thing", "kind": "github", "issuer": self.issuer.url}
        if payload.get("kind") != "generic":
            standing |= {"repository": "acme/thing", "workflow": "release.yml"}
        path = f"/api/v1/indexes/{index}/publishers"
        return await self.http.post(path, json=standing | payload, auth=(user, PASSWORD))

    async def added(self, index: IndexName = STABLE, user: str = "root", **payload: Any) -> dict[str, Any]:
        """Register a publisher, and return it."""
        answer = await self.add(index, user, **payload)
        assert answer.status_code == 201, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def mint(self, claims: Any = None, **how: Any) -> httpx2.Response:
        """Exchange a token of a job."""
        token = self.issuer.token(github_job() if claims is None else claims, **how)
        return await self.exchange(token)

    async def exchange(self, token: object) -> httpx2.Response:
        """Exchange a token."""
        return await self.http.post("/_/oidc/mint-token", json={"token": token})

    async def minted(self, claims: Any = None) -> Principal:
        """Exchange a token and return whom the upload token makes its bearer."""
        answer = await self.mint(claims)
        assert answer.status_code == 200, answer.text
        return await self.verifier.verify(f"Bearer {answer.json()['token']}")

    async def audit(self, action: str) -> list[dict[str, Any]]:
        """Return the rows of an action, oldest first."""
        answer = await self.http.get("/api/v1/audit?limit=200", auth=("root", PASSWORD))
        return [row for row in reversed(answer.json()["items"]) if row["action"] == action]

    def may(self, principal: Principal, index: IndexName, project: str | None = "thing") -> Decision:
        """Return whether somebody may upload."""
        record = self.gateway.resources.directory.index(index)
        assert record is not None
        return authorize(principal, Verb.UPLOAD, record.resource(project))  # type: ignore[arg-type]


def code_of(answer: httpx2.Response) -> tuple[str, str]:
    """Return code and description of a refusal, which has the shape that clients read."""
    assert answer.status_code == 422, answer.text
    document = answer.json()
    assert document["message"] == "Token request failed"
    (error,) = document["errors"]
    assert error.keys() == {"code", "description"}
    return error["code"], error["description"]


@pytest.fixture
async def site(
    engine: AsyncEngine, valkey_url: str, database: str, tmp_path: Path, issuer: CiIssuer
) -> AsyncIterator[Site]:
    """A gateway with an administrator, and alice, who owns a private index."""
    async with AsyncExitStack() as stack:
        outgoing = await stack.enter_async_context(Outgoing(Outside(networks=LOOPBACK)))
        servers = Servers(engine, valkey_url, database, tmp_path)
        gateway = await stack.enter_async_context(open_gateway(servers, outgoing=outgoing))
        await gateway.accounts.init_deployment(STABLE)
        await gateway.accounts.set_password("root", PASSWORD)
        for name in ("alice", "bob"):
            await gateway.accounts.create_account(name, password=PASSWORD)
        await gateway.accounts.create_index(NewIndex(SHUT, "private"))
        await gateway.resources.directory.refresh()
        issuer.now = lambda: int(gateway.clock.now().timestamp())
        yield Site(gateway, issuer)


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


# --- once ---------------------------------------------------------------------------------------------------------


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
    assert await forgetting.forget() == 0
    site.gateway.clock.advance(timedelta(seconds=2))
    assert await forgetting.forget() == 1
    async with engine.connect() as connection:
        assert await connection.scalar(select(UsedIdentity.sha256)) is None
    sweep = TokenSweep(engine, site.gateway.clock)
    assert await sweep.sweep() == 0
    site.gateway.clock.advance(KEPT + timedelta(minutes=15))
    assert await sweep.sweep() == 1
    assert len(await site.audit("publisher.mint")) == 1


# --- what is refused ----------------------------------------------------------------------------------------------


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


# --- keys ---------------------------------------------------------------------------------------------------------


async def test_a_new_key_is_looked_for_once_a_minute(site: Site) -> None:
    """One that the issuer just made is found; one that nobody knows makes nobody ask again and again."""
    await site.added()
    await site.minted()
    assert site.issuer.asked == ["/.well-known/openid-configuration", "/keys"]
    site.issuer.keys.append(new_key())
    code, description = code_of(await site.mint())
    assert (code, "does not publish" in description) == ("invalid-token", True)
    for _ in range(3):
        code_of(await site.mint(key=new_key()))
    assert len(site.issuer.asked) == 2


async def test_another_issuers_key_is_not_taken(site: Site, tmp_path: Path) -> None:
    """Also when it names that key's id, and when the other one is registered too."""
    await site.added()
    tls, _ = server_tls(tmp_path / "other")
    with ci_issuer(tls) as other:
        other.keys[:] = [new_key()]
        await site.added(project="mine", issuer=other.url, repository="evil/mine")
        forged = other.token(github_job() | {"iss": site.issuer.url}, kid=site.issuer.keys[0].kid)
        assert code_of(await site.exchange(forged)) == ("invalid-token", "The token's signature is not its issuer's.")
        plain = other.token(github_job() | {"iss": site.issuer.url})
        assert code_of(await site.exchange(plain))[0] == "invalid-token"
        assert other.asked == []


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/.well-known/openid-configuration", (500, {}, b"{}")),
        ("/.well-known/openid-configuration", (200, {}, b'{"issuer": "https://evil.test", "jwks_uri": "https://x"}')),
        ("/.well-known/openid-configuration", (200, {}, b"[]")),
        ("/.well-known/openid-configuration", (302, {"location": "https://192.0.2.1/"}, b"")),
        ("/.well-known/openid-configuration", (200, {}, b" " * 300_000)),
        ("/keys", (200, {}, b'{"keys": []}')),
        ("/keys", (404, {}, b"")),
        ("/keys", (200, {}, b"no json")),
    ],
)
async def test_an_issuer_that_answers_wrongly_lets_nobody_in(
    site: Site, path: str, answer: tuple[int, dict[str, str], bytes]
) -> None:
    """It is told so, and not asked by every job."""
    await site.added()
    site.issuer.answers[path] = answer
    for _ in range(3):
        code, description = code_of(await site.mint())
        assert code == "invalid-token"
        assert "cannot be fetched" in description
    assert site.issuer.asked.count("/.well-known/openid-configuration") == 1


async def test_keys_elsewhere_without_tls_are_not_fetched(site: Site) -> None:
    """The configuration may name another server, and never a scheme that anybody can read along."""
    await site.added()
    plain = site.issuer.url.replace("https", "http")
    body = f'{{"issuer": "{site.issuer.url}", "jwks_uri": "{plain}/keys"}}'.encode()
    site.issuer.answers["/.well-known/openid-configuration"] = (200, {}, body)
    assert "cannot be fetched" in code_of(await site.mint())[1]
    assert site.issuer.asked == ["/.well-known/openid-configuration"]


@dataclass(slots=True)
class Ticks:
    """A monotonic clock that tests move."""

    at: float = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.at


async def test_keys_are_used_for_a_while(issuer: CiIssuer) -> None:
    """A new one is found after a minute, one that was withdrawn is good for ten; a failure takes no known ones away."""
    ticks = Ticks()
    async with Outgoing(Outside(networks=LOOPBACK)) as outgoing:
        issuers = Issuers(outgoing, ticks)
        first, second = issuer.keys[0], new_key()
        await issuers.key(issuer.url, str(first.kid))
        issuer.keys[:] = [second]
        ticks.at += 59
        with pytest.raises(MintRefused, match="does not publish"):
            await issuers.key(issuer.url, str(second.kid))
        await issuers.key(issuer.url, str(first.kid))
        assert issuer.asked.count("/keys") == 1
        issuer.answers["/keys"] = (500, {}, b"")
        ticks.at += 1
        with pytest.raises(MintRefused, match="does not publish"):
            await issuers.key(issuer.url, str(second.kid))
        await issuers.key(issuer.url, str(first.kid))
        del issuer.answers["/keys"]
        ticks.at += 60
        await issuers.key(issuer.url, str(second.kid))
        with pytest.raises(MintRefused, match="does not publish"):
            await issuers.key(issuer.url, str(first.kid))
        issuer.answers["/keys"] = (500, {}, b"")
        ticks.at += 600
        for _ in range(3):
            with pytest.raises(MintRefused, match="cannot be fetched"):
                await issuers.key(issuer.url, str(second.kid))
        assert issuer.asked.count("/keys") == 4
        del issuer.answers["/keys"]
        ticks.at += 10
        await asyncio.gather(*(issuers.key(issuer.url, str(second.kid)) for _ in range(5)))
        assert issuer.asked.count("/keys") == 5


async def test_a_private_address_is_not_asked(issuer: CiIssuer) -> None:
    """An issuer whose name leads inside is silent, unless the operator allows its network."""
    async with Outgoing() as outgoing:
        with pytest.raises(MintRefused, match="cannot be fetched"):
            await Issuers(outgoing).key(issuer.url, "x")
    assert issuer.asked == []


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


# --- the other routes ---------------------------------------------------------------------------------------------


async def test_a_burnt_token_is_gone(site: Site) -> None:
    """At once, without credentials; a token of a person is not burnt so."""
    await site.added()
    token = (await site.mint()).json()["token"]
    scopes = [{"index": "root/stable", "verbs": ["upload"]}]
    own = await site.http.post("/api/v1/tokens", json={"label": "x", "scopes": scopes}, auth=("root", PASSWORD))
    for burnt in (token, token, own.json()["token"], "pypi-nonsense"):
        answer = await site.http.post("/_/oidc/burn-token", json={"token": burnt})
        assert (answer.status_code, answer.content) == (202, b"")
    with pytest.raises(BadCredentials):
        await site.verifier.verify(f"Bearer {token}")
    assert (await site.verifier.verify(f"Bearer {own.json()['token']}")).account == "root"
    assert len(await site.audit("publisher.burn")) == 1
    assert code_of(await site.http.post("/_/oidc/burn-token", content=b"x"))[0] == "invalid-payload"


async def test_the_audience_is_the_deployments_own(
    engine: AsyncEngine, valkey_url: str, database: str, tmp_path: Path
) -> None:
    """As set, else the host's name; an empty one switches the exchange off."""
    servers = Servers(engine, valkey_url, database, tmp_path)
    for settings, audience in (
        (Settings(data=tmp_path), "countermark"),
        (Settings(data=tmp_path, outside_url="https://packages.example.org"), "packages.example.org"),
        (Settings(data=tmp_path, publishing=Publishing(audience="acme")), "acme"),
        (Settings(data=tmp_path, publishing=Publishing(audience="")), None),
    ):
        async with open_gateway(servers, settings) as gateway:
            transport = httpx2.ASGITransport(app=gateway.apps.api)
            async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:3141") as http:
                answer = await http.get("/_/oidc/audience")
                if audience is not None:
                    assert (answer.status_code, answer.json()) == (200, {"audience": audience})
                    continue
                assert answer.status_code == 403
                assert code_of(await http.post("/_/oidc/mint-token", json={"token": "x"}))[0] == "not-enabled"
                assert (await http.get("/.well-known/pytp?discover=/legacy/")).status_code == 404


async def test_upload_urls_say_where_their_exchange_is(site: Site) -> None:
    """By the path of the URL, on the same host; whether an index is there is not told."""
    for path in ("/legacy/", "/root/stable/", "/root/stable", "/no/such/"):
        answer = await site.http.get("/.well-known/pytp", params={"discover": path})
        assert answer.status_code == 200, path
        assert answer.headers["content-type"] == "application/vnd.pypi.pytp.v1+json"
        assert answer.json() == {
            "audience-endpoint": "http://127.0.0.1:3141/_/oidc/audience",
            "token-mint-endpoint": "http://127.0.0.1:3141/_/oidc/mint-token",
            "features": ["multi-use-token"],
            "default-features": ["multi-use-token"],
        }
    for path in ("", "/", "/simple/", "/root/stable/+simple/", "https://x/legacy/", "//"):
        assert (await site.http.get("/.well-known/pytp", params={"discover": path})).status_code == 404, path
    wrong = await site.http.get("/.well-known/pytp?discover=/legacy/", headers={"accept": "text/html"})
    assert wrong.status_code == 406


async def test_exchanges_are_counted_by_address(
    engine: AsyncEngine, valkey_url: str, database: str, tmp_path: Path
) -> None:
    """Also those that fail; too many are told to wait, in the shape that clients read."""
    settings = Settings(data=tmp_path, limits=RateLimits(mints_by_address=2))
    async with open_gateway(Servers(engine, valkey_url, database, tmp_path), settings) as gateway:
        transport = httpx2.ASGITransport(app=gateway.apps.api, client=("192.0.2.1", 1))
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:3141") as http:
            answers = [await http.post("/_/oidc/mint-token", json={"token": "x"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [422, 422, 429]
    assert answers[2].json()["errors"][0]["description"].startswith("Too many tries.")
    assert int(answers[2].headers["retry-after"]) > 0
