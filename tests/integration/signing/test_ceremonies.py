"""Ceremonies over the API on a real Postgres: the first one, rotations, and whatever is not to be accepted."""

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import orjson
import pytest
from securesystemslib.signer import CryptoSigner, Signature
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.ceremony.changes import Change as RoleChange
from services.signing.app import create_service
from services.signing.bootstrapping import bootstrap
from services.signing.ceremony import CeremonyNeeded, ensure_trust
from services.signing.events import Ceremonies, Proposal
from services.signing.jobs import handlers
from services.signing.rebinning import rebin
from services.signing.rebuilding import rebuild
from services.signing.tidying import TidyLoop
from services.signing.usecases import Publisher
from shared.catalogue.signing_events import StoredEvent
from shared.catalogue.tables import Audit, Grant, Outbox
from shared.errors import ServiceError
from shared.jobs.messages import PublishIndex, RefreshIndex
from shared.resources import Resources
from shared.service import Later
from tests.integration.signing.changes import enqueue
from tests.support.clock import SettableClock
from tests.support.factories import MadeIndex, make_default, make_index, make_token
from tests.support.holders import API, CeremonyApi, Holders, adding, in_profile, signed
from tests.support.resources import service_resources
from tests.support.tuf_reader import TreeReader
from tests.support.uploading import basic


@dataclass
class Deployment:
    """A deployment of profile `small` whose first ceremony was begun."""

    resources: Resources
    clock: SettableClock
    index: MadeIndex
    holders: Holders
    admin: CeremonyApi
    plain: CeremonyApi
    tree: Path

    def key(self, role: str, name: str) -> CryptoSigner:
        """Return somebody's key."""
        return self.holders.keys[role][name]

    async def finish(self) -> None:
        """Let alice and bob sign everything, finalise from the top, and publish."""
        waiting = await self.admin.open()
        for role in ("root", "targets", "trust"):
            await self.plain.submit(waiting[role], self.key(role, "alice"), self.key(role, "bob"))
            await self.admin.finalise(waiting[role])
        await Publisher(self.resources).publish(self.index.id)

    async def rotate(self, role: str, change: Mapping[str, object], *keys: CryptoSigner) -> dict[str, object]:
        """Propose, sign and finalise a change, and publish."""
        event = await self.admin.propose(role, change)
        await self.plain.submit(event, *keys)
        await self.admin.finalise(event)
        await Publisher(self.resources).publish(self.index.id)
        return event


@pytest.fixture
async def deployment(engine: AsyncEngine, tmp_path: Path) -> AsyncIterator[Deployment]:
    """The signing service of a deployment with three holders, an administrator and a plain account."""
    clock = SettableClock(datetime.now(UTC))
    async with service_resources(engine, tmp_path, clock=clock) as opened:
        resources = in_profile(opened, "small")
        holders = Holders.of("root", "targets", "trust")
        await bootstrap(resources, holders.held())
        index = await make_index(engine)
        await make_default(engine, index)
        async with engine.begin() as connection:
            await connection.execute(insert(Grant).values(index_id=index.id, subject="root", verb="configure"))
        await enqueue(resources, PublishIndex(index.id))
        tokens = [await make_token(engine, name, lifetime=timedelta(days=90)) for name in ("root", "signer")]
        await resources.directory.refresh()
        transport = httpx2.ASGITransport(app=create_service(resources).app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://registry") as http:
            admin, plain = (CeremonyApi(http, basic(token)) for token in tokens)
            tree = tmp_path / "public/indexes/root/stable"
            yield Deployment(resources, clock, index, holders, admin, plain, tree)


async def audited(engine: AsyncEngine) -> list[tuple[str, str, object]]:
    """Return what was done to the trust root: actor, action, role."""
    async with engine.connect() as connection:
        query = select(Audit.actor, Audit.action, Audit.detail).where(Audit.action.startswith("trust."))
        rows = await connection.execute(query.order_by(Audit.id))
        return [(row.actor, row.action, row.detail.get("role")) for row in rows]


async def refreshes(engine: AsyncEngine) -> int:
    """Count the refreshes that are asked for."""
    async with engine.connect() as connection:
        rows = await connection.execute(select(Outbox.id).where(Outbox.kind == RefreshIndex.kind))
        return len(rows.all())


async def test_three_holders_make_a_deployment_that_stock_clients_verify(
    deployment: Deployment, tmp_path: Path
) -> None:
    """Nothing is published before the last shared file is final; then any TUF client verifies everything."""
    publisher = Publisher(deployment.resources)
    with pytest.raises(
        CeremonyNeeded, match=r"0 of 2 signatures of root; 0 of 2 signatures of targets; 0 of 2 .*trust"
    ):
        await publisher.publish(deployment.index.id)
    waiting = await deployment.admin.open()
    assert set(waiting) == {"root", "targets", "trust"}
    assert set(waiting["root"]["holders"].values()) == {"alice", "bob", "carol"}
    for role, document in waiting.items():
        half = await deployment.plain.submit(document, deployment.key(role, "carol"))
        assert (half["state"], half["missing"]) == ("open", {"new": 1})
        whole = await deployment.plain.submit(document, deployment.key(role, "alice"))
        assert (whole["state"], whole["missing"]) == ("ready", {"new": 0})
    await deployment.admin.finalise(waiting["root"])
    await deployment.admin.finalise(waiting["targets"])
    with pytest.raises(Later, match="2 of 2 signatures of trust, to be finalised"):
        await handlers(publisher)[PublishIndex](PublishIndex(deployment.index.id))
    assert await refreshes(deployment.resources.engine) == 0
    final = await deployment.admin.finalise(waiting["trust"])
    assert final["state"] == "final"
    assert await refreshes(deployment.resources.engine) == 1
    await publisher.publish(deployment.index.id)
    assert TreeReader(deployment.tree, tmp_path / "cache").versions() == {"timestamp": 1, "snapshot": 1}
    state = await deployment.plain.ask("GET", "")
    assert (state["profile"], state["missing"]) == ("small", [])
    roles = {line["role"]: line for line in state["roles"]}
    assert list(roles) == ["root", "targets", "trust", "registry", "bins", "snapshot", "timestamp"]
    assert (roles["root"]["threshold"], len(roles["root"]["keys"]), roles["root"]["online"]) == (2, 3, False)
    assert (roles["registry"]["version"], roles["registry"]["online"]) == (1, True)
    assert (roles["timestamp"]["version"], roles["timestamp"]["keys"][0]["holder"]) == (None, None)
    done = [(actor, action) for actor, action, role in await audited(deployment.resources.engine) if role == "trust"]
    assert done == [
        ("bootstrap", "trust.propose"),
        ("signer", "trust.sign"),
        ("signer", "trust.sign"),
        ("root", "trust.finalise"),
    ]


async def test_a_root_holder_is_replaced_and_warm_clients_follow(deployment: Deployment, tmp_path: Path) -> None:
    """A new holder comes in and an old one leaves; the next root needs the old keys as well, and all roots stay."""
    await deployment.finish()
    reader = TreeReader(deployment.tree, tmp_path / "cache")
    assert reader.versions()["timestamp"] == 1
    dave, carol = CryptoSigner.generate_ed25519(), deployment.key("root", "carol")
    change = {"add": [adding("root", dave)], "remove": [{"role": "root", "keyid": carol.public_key.keyid}]}
    event = await deployment.admin.propose("root", change)
    assert event["missing"] == {"old": 2, "new": 2}
    half = await deployment.plain.submit(event, deployment.key("root", "alice"), dave)
    assert (half["state"], half["missing"]) == ("open", {"old": 1, "new": 0})
    refused = await deployment.admin.finalise(event, status=409)
    assert (refused["missing_old"], refused["missing_new"]) == ("1", "0")
    await deployment.plain.submit(event, carol)
    await deployment.admin.finalise(event)
    await Publisher(deployment.resources).publish(deployment.index.id)
    assert reader.versions() == {"timestamp": 2, "snapshot": 1}
    assert {path.name for path in deployment.tree.glob("metadata/*.root.json")} == {"1.root.json", "2.root.json"}
    # Once more, to see that the new holder counts and the old one does not.
    event = await deployment.admin.propose("root")
    await deployment.plain.submit(event, carol, status=400)
    await deployment.plain.submit(event, dave, deployment.key("root", "bob"))
    await deployment.admin.finalise(event)
    await Publisher(deployment.resources).publish(deployment.index.id)
    assert TreeReader(deployment.tree, tmp_path / "other").versions()["timestamp"] == 3


async def test_new_trust_holders_sign_before_targets_names_them(deployment: Deployment, tmp_path: Path) -> None:
    """Replacing all holders of trust: targets alone is refused; after trust is signed by old and new, it is taken."""
    await deployment.finish()
    new = [CryptoSigner.generate_ed25519() for _ in range(3)]
    old = list(deployment.holders.keys["trust"].values())
    change = {
        "add": [adding("trust", key) for key in new],
        "remove": [{"role": "trust", "keyid": key.public_key.keyid} for key in old],
    }
    targets = await deployment.admin.propose("targets", change)
    signers = deployment.key("targets", "alice"), deployment.key("targets", "bob")
    await deployment.plain.submit(targets, *signers)
    refused = await deployment.admin.finalise(targets, status=409)
    assert "trust version 1 does not have signatures enough" in refused["detail"]
    trust = await deployment.admin.propose("trust")
    await deployment.plain.submit(trust, *new[:2])
    assert (await deployment.plain.ask("GET", f"/events/{trust['id']}"))["missing"] == {"new": 2}
    await deployment.plain.submit(trust, *old[:2])
    await deployment.admin.finalise(trust)
    await Publisher(deployment.resources).publish(deployment.index.id)
    reader = TreeReader(deployment.tree, tmp_path / "cache")
    reader.target("trust/nothing")
    await deployment.admin.finalise(targets)
    await Publisher(deployment.resources).publish(deployment.index.id)
    reader.target("trust/nothing")
    assert reader.versions() == {"timestamp": 3, "snapshot": 3}


async def test_the_key_that_signs_cannot_be_taken_away(deployment: Deployment) -> None:
    """A root without the only key of timestamp would stop every client: nobody is asked to sign it, and the words say
    why; nor is one that would need more signatures than the server makes."""
    await deployment.finish()
    state = await deployment.plain.ask("GET", "")
    timestamp = next(line for line in state["roles"] if line["role"] == "timestamp")["keys"][0]["keyid"]
    other = adding("timestamp", CryptoSigner.generate_ed25519())
    change = {"add": [other], "remove": [{"role": "timestamp", "keyid": timestamp}]}
    refused = await deployment.admin.propose("root", change, status=400)
    assert f"key {timestamp} of role timestamp, with which this server signs" in refused["detail"]
    refused = await deployment.admin.propose("root", {"add": [other], "thresholds": {"timestamp": 2}}, status=400)
    assert "would need 2 signatures, and this server makes 1" in refused["detail"]
    await deployment.admin.propose("root", {"add": [other]})


async def test_bad_signatures_are_refused_and_none_is_kept(deployment: Deployment) -> None:
    """Another payload's digest, a foreign key, a wrong signature and one twice are told apart; good ones beside them
    are not kept, each try is on record, and a signature that is there already changes nothing."""
    root = (await deployment.admin.open())["root"]
    alice, bob = deployment.key("root", "alice"), deployment.key("root", "bob")
    path = f"/events/{root['id']}/signatures"
    good = signed(root, alice)
    wrong = await deployment.plain.ask("POST", path, good | {"payload_sha256": "0" * 64}, status=409)
    assert root["payload_sha256"] in wrong["detail"]
    foreign = await deployment.plain.submit(root, alice, CryptoSigner.generate_ed25519(), status=400)
    assert "is not among the keys of root" in foreign["detail"]
    stolen = {"keyid": bob.public_key.keyid, "sig": good["signatures"][0]["sig"]}
    both = good | {"signatures": [*good["signatures"], stolen]}
    assert "does not verify" in (await deployment.plain.ask("POST", path, both, status=400))["detail"]
    twice = await deployment.plain.submit(root, alice, alice, status=400)
    assert "is there twice" in twice["detail"]
    assert (await deployment.plain.ask("GET", f"/events/{root['id']}"))["signatures"] == []
    await deployment.plain.submit(root, alice)
    again = await deployment.admin.submit(root, alice, status=200)
    assert [one["submitted_by"] for one in again["signatures"]] == ["signer"]
    below = await deployment.admin.finalise(root, status=409)
    assert below["missing_new"] == "1"
    denied = [(actor, role) for actor, action, role in await audited(deployment.resources.engine) if "deny" in action]
    assert denied == [("signer", "root")] * 4 + [("root", "root")]


async def test_withdrawn_and_expired_events_are_over(deployment: Deployment) -> None:
    """Neither is signed nor finalised any more; the role can be proposed again, and one at a time only."""
    await deployment.finish()
    event = await deployment.admin.propose("trust")
    busy = await deployment.admin.propose("trust", status=409)
    assert busy["event"] == event["id"]
    gone = await deployment.admin.ask("POST", f"/events/{event['id']}/withdraw", {"reason": "a mistake"})
    assert (gone["state"], gone["missing"]) == ("withdrawn", {})
    keys = deployment.key("trust", "alice"), deployment.key("trust", "bob")
    assert "was withdrawn" in (await deployment.plain.submit(event, *keys, status=409))["detail"]
    assert "was withdrawn" in (await deployment.admin.finalise(event, status=409))["detail"]
    second = await deployment.admin.propose("trust")
    await deployment.plain.submit(second, *keys)
    deployment.clock.advance(timedelta(days=31))
    assert "has expired" in (await deployment.plain.submit(second, *keys, status=409))["detail"]
    assert "has expired" in (await deployment.admin.finalise(second, status=409))["detail"]
    assert (await deployment.plain.ask("GET", f"/events/{second['id']}"))["state"] == "expired"
    third = await deployment.admin.propose("trust")
    assert third["version"] == second["version"] == 2
    listed = await deployment.plain.ask("GET", "/events?limit=2")
    assert [item["id"] for item in listed["items"]] == [third["id"], second["id"]]
    rest = await deployment.plain.ask("GET", f"/events?limit=2&after={listed['next']}")
    assert rest["items"][0]["id"] == event["id"]


async def test_of_two_who_finalise_at_once_one_wins(deployment: Deployment) -> None:
    """One answer is 200, the other says that the event is final; there is one new version and one audit row."""
    await deployment.finish()
    event = await deployment.admin.propose("root")
    await deployment.plain.submit(event, deployment.key("root", "alice"), deployment.key("root", "bob"))
    path = f"{API}/events/{event['id']}/finalise"
    headers = dict(deployment.admin.headers)
    answers = await asyncio.gather(*(deployment.admin.http.post(path, headers=headers) for _ in range(2)))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    done = [action for _, action, role in await audited(deployment.resources.engine) if role == "root"]
    assert done.count("trust.finalise") == 2, "the first root and this one"


async def test_who_may_what(deployment: Deployment) -> None:
    """Strangers nothing; accounts read and sign; administrators propose, withdraw and finalise."""
    event = (await deployment.admin.open())["root"]
    at = f"/events/{event['id']}"
    stranger = CeremonyApi(deployment.admin.http, {})
    body = {"role": "trust", "change": {}, "reason": "why"}
    asks: list[tuple[str, str, object]] = [
        ("GET", "", None),
        ("GET", "/events", None),
        ("GET", at, None),
        ("POST", "/events", body),
        ("POST", f"{at}/signatures", signed(event, deployment.key("root", "alice"))),
        ("POST", f"{at}/withdraw", {"reason": "why"}),
        ("POST", f"{at}/finalise", None),
    ]
    for method, path, sent in asks:
        await stranger.ask(method, path, sent, status=401)
    plain = {"": 200, "/events": 200, at: 200, f"{at}/signatures": 201}
    for method, path, sent in asks:
        expected = 403 if (method, path) == ("POST", "/events") else plain.get(path, 403)
        await deployment.plain.ask(method, path, sent, status=expected)
    await deployment.admin.ask("POST", "/events", body, status=409)
    await deployment.admin.ask("POST", f"{at}/finalise", status=409)
    await deployment.admin.ask("POST", f"{at}/withdraw", {"reason": "why"})


@pytest.mark.parametrize(
    ("role", "change", "words"),
    [
        ("snapshot", {}, "no role 'snapshot' that people sign"),
        ("registry", {}, "the server itself signs registry"),
        ("root", {"thresholds": {"root": 4}}, "would need 4 signatures and has 3 keys"),
        ("root", {"surprise": 1}, "no other fields"),
        ("trust", {"bins": 8}, "has no hash bins"),
        ("trust", {"targets": {"pointers/a/b.pointer": "eA=="}}, "trust signs no target"),
    ],
)
async def test_what_cannot_be_proposed(
    deployment: Deployment, role: str, change: dict[str, object], words: str
) -> None:
    """What breaks a rule is refused with the rule in words."""
    await deployment.finish()
    refused = await deployment.admin.propose(role, change, status=400)
    assert words in refused["detail"]


@pytest.mark.parametrize("text", ["a\x00b", "a\x1b[2Jb", "a\ud800b", "a\u202eb"])
async def test_words_hold_no_control_characters(deployment: Deployment, text: str) -> None:
    """Reasons and names of holders are shown on the terminals of people who decide by them."""
    await deployment.finish()
    key = CryptoSigner.generate_ed25519()
    change, keyid = {"add": [adding("root", key)]}, key.public_key.keyid
    good = {"role": "root", "change": change, "reason": "a new holder:\nsee the minutes", "holders": {keyid: "dave"}}
    for bad in ({"reason": text}, {"holders": {keyid: text}}, {"role": text}, {"change": {"untargets": [text]}}):
        answer = await deployment.admin.http.post(
            f"{API}/events",
            content=json.dumps(good | bad),
            headers={**deployment.admin.headers, "content-type": "application/json"},
        )
        assert answer.status_code in {400, 422}, answer.text[:500]
    event = await deployment.admin.ask("POST", "/events", good, status=201)
    answer = await deployment.admin.http.post(
        f"{API}/events/{event['id']}/withdraw",
        content=json.dumps({"reason": text}),
        headers={**deployment.admin.headers, "content-type": "application/json"},
    )
    assert answer.status_code in {400, 422}


async def test_a_key_is_of_one_role(deployment: Deployment) -> None:
    """A key of root cannot be one of targets too, nor one key sign both snapshot and timestamp."""
    await deployment.finish()
    shared = adding("root", deployment.key("targets", "alice"))
    refused = await deployment.admin.propose("root", {"add": [shared]}, status=400)
    assert "root and targets would share key" in refused["detail"]
    roles = {line["role"]: line for line in (await deployment.plain.ask("GET", ""))["roles"]}
    snapshot = roles["snapshot"]["keys"][0]["keyid"]
    root = orjson.loads((deployment.tree / "metadata/1.root.json").read_bytes())["signed"]
    document = root["keys"][snapshot] | {"keyid": snapshot}
    both = {"add": [{"role": "timestamp", "key": document}]}
    refused = await deployment.admin.propose("root", both, status=400)
    assert f"snapshot and timestamp would share key {snapshot}" in refused["detail"]


async def test_an_event_that_is_none(deployment: Deployment) -> None:
    """Ids of nothing and of no form are not found, and a cursor of another list is refused."""
    await deployment.plain.ask("GET", "/events/0193", status=404)
    await deployment.plain.ask("GET", "/events/01930000-0000-7000-8000-000000000000", status=404)
    await deployment.plain.ask("GET", "/events?after=xyz", status=422)


async def test_targets_of_trust_are_published_as_they_were_signed(deployment: Deployment, tmp_path: Path) -> None:
    """Policy and Sigstore root reach every client of every index by the trust role alone, also after a rebuild."""
    await deployment.finish()
    policy, trusted = b'schema: "policy/v1"\n', b"{}"
    contents = {"trust/policy.yaml": policy, "trusted_root.json": trusted}
    change = {"targets": {path: base64.b64encode(content).decode() for path, content in contents.items()}}
    keys = deployment.key("trust", "alice"), deployment.key("trust", "bob")
    await deployment.rotate("trust", change, *keys)
    reader = TreeReader(deployment.tree, tmp_path / "cache")
    assert {path: reader.target(path) for path in contents} == contents
    shutil.rmtree(deployment.tree / "targets/trust")
    await rebuild(deployment.resources, deployment.index.id)
    assert TreeReader(deployment.tree, tmp_path / "other").target("trust/policy.yaml") == policy
    shutil.rmtree(deployment.tree / "targets/trust")
    await TidyLoop(deployment.resources).tidy(deployment.index.id)
    assert TreeReader(deployment.tree, tmp_path / "third").target("trust/policy.yaml") == policy
    await deployment.rotate("trust", {"untargets": ["trusted_root.json"]}, *keys)
    assert (reader.target("trusted_root.json"), reader.target("trust/policy.yaml")) == (None, policy)


Change = Callable[[Holders], None]


def _drop(role: str) -> Change:
    return lambda holders: holders.keys[role].popitem() and None


def _share(holders: Holders) -> None:
    holders.keys["targets"]["alice"] = holders.keys["root"]["alice"]


def _registry(holders: Holders) -> None:
    holders.keys["registry"] = {"alice": CryptoSigner.generate_ed25519()}


@pytest.mark.parametrize(
    ("change", "profile", "words"),
    [
        (_drop("root"), "small", "wants 3 holders of root, of whom 2 sign, and 2 are named"),
        (_share, "small", "is named twice, for root"),
        (_registry, "small", "has no holders of registry"),
        (lambda _: None, "production", "wants 5 holders of root"),
        (lambda _: None, "development", "makes all its keys itself"),
    ],
)
async def test_impossible_beginnings(
    engine: AsyncEngine, tmp_path: Path, change: Change, profile: str, words: str
) -> None:
    """Too few holders, a key twice, holders of what the server signs, and a profile without holders are refused."""
    async with service_resources(engine, tmp_path) as opened:
        holders = Holders.of("root", "targets", "trust")
        change(holders)
        with pytest.raises(ServiceError) as refused:
            await bootstrap(in_profile(opened, profile), holders.held())
        assert words in refused.value.detail
        assert not (tmp_path / "keys").exists()


async def test_the_first_root_is_proposed_by_the_operator(engine: AsyncEngine, tmp_path: Path) -> None:
    """Before the server has keys nobody can propose a root over the API: one without them could never be replaced."""
    async with service_resources(engine, tmp_path) as opened:
        resources, holders = in_profile(opened, "small"), Holders.of("root", "targets", "snapshot", "timestamp")
        add = tuple((role, keys["alice"].public_key) for role, keys in holders.keys.items())
        with pytest.raises(ServiceError, match="trust bootstrap"):
            await Ceremonies(resources).propose("root", Proposal("root", RoleChange(add=add), "mine", {}))


async def test_a_production_deployment_holds_registry_offline(engine: AsyncEngine, tmp_path: Path) -> None:
    """Five root holders and a registry of people: four events from the top, three online keys, then 1024 bins."""
    async with service_resources(engine, tmp_path) as opened:
        resources = in_profile(opened, "production")
        holders = Holders.of("root", names=("a", "b", "c", "d", "e"))
        holders.keys |= Holders.of("targets", "trust", "registry").keys
        events = await bootstrap(resources, holders.held())
        assert [event.role for event in events] == ["root", "targets", "trust", "registry"]
        files = list((tmp_path / "keys").iterdir())
        assert len(files) == 3
        assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
        with pytest.raises(ServiceError, match="was begun"):
            await bootstrap(resources, holders.held())
        with pytest.raises(CeremonyNeeded, match="0 of 3 signatures of root"):
            await ensure_trust(resources)
        ceremonies = Ceremonies(resources)
        for event in events:
            made = [key.sign(event.payload) for key in holders.keys[event.role].values()]
            given = [Signature(one.keyid, one.signature) for one in made]
            await ceremonies.submit("signer", event.id, event.payload_sha256, given)
        with pytest.raises(ServiceError, match="Finalise targets first"):
            await ceremonies.finalise("root", events[-1].id)
        for event in events:
            await ceremonies.finalise("root", event.id)
        index = await make_index(engine)
        await Publisher(resources).publish(index.id)
        reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
        assert reader.target("pointers/widget/_latest.pointer") is None
        assert len(list(reader.tree.glob("metadata/*.b10-*.json"))) == 1024


async def test_registry_holders_stay_while_an_index_has_older_bins(engine: AsyncEngine, tmp_path: Path) -> None:
    """Targets that names other holders of registry waits for those indexes that use a registry of an earlier count of
    bins, which only the old holders signed: their clients would refuse everything."""
    async with service_resources(engine, tmp_path) as opened:
        resources = in_profile(opened, "production", bin_bits=4)
        holders = Holders.of("root", names=("a", "b", "c", "d", "e"))
        holders.keys |= Holders.of("targets", "trust", "registry").keys
        ceremonies = Ceremonies(resources)

        async def finalised(event: StoredEvent, *keys: CryptoSigner) -> None:
            given = [key.sign(event.payload) for key in keys]
            await ceremonies.submit("signer", event.id, event.payload_sha256, given)
            await ceremonies.finalise("root", event.id)

        for event in await bootstrap(resources, holders.held()):
            await finalised(event, *holders.keys[event.role].values())
        index = await make_index(engine)
        await Publisher(resources).publish(index.id)
        new, old = [CryptoSigner.generate_ed25519() for _ in range(3)], list(holders.keys["registry"].values())
        change = RoleChange(
            add=tuple(("registry", key.public_key) for key in new),
            remove=tuple(("registry", key.public_key.keyid) for key in old),
        )
        targets = (await ceremonies.propose("root", Proposal("targets", change, "new holders", {}))).event
        registry = (await ceremonies.propose("root", Proposal("registry", RoleChange(bins=8), "fewer bins", {}))).event
        await finalised(registry, *old, *new)
        with pytest.raises(ServiceError, match="registry version 1 does not have signatures enough"):
            await finalised(targets, *holders.keys["targets"].values())
        await rebin(resources, index.id)
        await ceremonies.finalise("root", targets.id)
        await Publisher(resources).publish(index.id)
        reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
        assert reader.target("pointers/widget/_latest.pointer") is None


async def test_a_first_ceremony_can_be_begun_again(deployment: Deployment) -> None:
    """After its events were withdrawn the operator begins again, with other holders and the same online keys."""
    keys = deployment.resources.settings.data / "keys"
    before = sorted(keys.iterdir())
    for document in (await deployment.admin.open()).values():
        await deployment.admin.ask("POST", f"/events/{document['id']}/withdraw", {"reason": "wrong people"})
    deployment.holders = Holders.of("root", "targets", "trust")
    await bootstrap(deployment.resources, deployment.holders.held())
    assert sorted(keys.iterdir()) == before
    await deployment.finish()
    assert TreeReader(deployment.tree, deployment.tree.parent / "cache").versions()["timestamp"] == 1
