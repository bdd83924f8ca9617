"""Ceremonies over the API on a real Postgres: the first one, rotations, and whatever is not to be accepted."""

import asyncio
import base64
import json
import shutil
from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from securesystemslib.signer import CryptoSigner
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from services.signing.publication.usecases import Publisher
from services.signing.upkeep.rebuilding import rebuild
from services.signing.upkeep.tidying import TidyLoop
from shared.catalogue.tables import Audit, Outbox
from shared.jobs.messages import RefreshIndex
from tests.integration.signing.ceremony_deployment import Deployment
from tests.support import builds
from tests.support.holders import API, CeremonyApi, adding, signed
from tests.support.sigstore.instance import Instance
from tests.support.tuf_reader import TreeReader


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
    policy, trusted = builds.policy(), Instance().trusted_root()
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
    await deployment.rotate("trust", {"untargets": ["trust/policy.yaml"]}, *keys)
    assert (reader.target("trusted_root.json"), reader.target("trust/policy.yaml")) == (trusted, None)
