"""The first ceremony of a deployment on a real Postgres, and beginnings that are refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner, Signature
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.ceremony.changes import Change as RoleChange
from services.signing.ceremonies.bootstrapping import bootstrap
from services.signing.ceremonies.events import Ceremonies, Proposal
from services.signing.ceremonies.trust_root import CeremonyNeeded, ensure_trust
from services.signing.jobs import handlers
from services.signing.publication.usecases import Publisher
from services.signing.upkeep.rebinning import rebin
from shared.catalogue.signing_events import StoredEvent
from shared.catalogue.tables import Audit, Outbox
from shared.errors import ServiceError
from shared.jobs.messages import PublishIndex, RefreshIndex
from shared.service import Later
from tests.integration.signing.ceremony_deployment import Deployment
from tests.support.factories import make_index
from tests.support.holders import Holders, in_profile
from tests.support.resources import service_resources
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


Change = Callable[[Holders], None]


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
