"""Shared files whose keys the server has are signed anew in time; for those that people hold events are opened."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from securesystemslib.signer import Signature
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.ceremony.changes import Change
from services.signing.ceremonies.bootstrapping import bootstrap
from services.signing.ceremonies.events import EVENT_LIFETIME, Ceremonies, Proposal
from services.signing.ceremonies.trust_root import ensure_registry, ensure_trust
from services.signing.publication.usecases import Publisher
from services.signing.upkeep.renewing import renew_due
from shared.catalogue import publications, trust
from shared.catalogue.tables import KeyHandle
from shared.resources import Resources
from shared.trust.metadata import succinct_roles_of
from shared.trust.roles import Role
from tests.support.clock import SettableClock
from tests.support.factories import make_index
from tests.support.holders import Holders, in_profile
from tests.support.resources import service_resources
from tests.support.tuf_reader import TreeReader

LONG_AGO = timedelta(days=160)
"""Since when 20 of the 180 days of trust and registry are left, and 205 of those of root and targets."""


async def versions(resources: Resources) -> dict[str, int]:
    """Return role -> newest version."""
    async with resources.engine.connect() as connection:
        return {role: file.version for role, file in (await trust.newest_trust_files(connection)).items()}


async def test_in_development_all_are_renewed(engine: AsyncEngine, tmp_path: Path) -> None:
    """What is due gets its next version, once, every index takes it, and stock clients go along."""
    clock = SettableClock(datetime.now(UTC) - LONG_AGO)
    async with service_resources(engine, tmp_path, clock=clock) as resources:
        await ensure_trust(resources)
        index = await make_index(engine)
        await Publisher(resources).publish(index.id)
        assert await renew_due(resources) == []
        clock.advance(LONG_AGO)
        assert await renew_due(resources) == ["trust", "registry"]
        assert await renew_due(resources) == []
        assert await versions(resources) == {"root": 1, "targets": 1, "trust": 2, "registry": 2}
        await Publisher(resources).publish(index.id)
        reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
        assert reader.target("trust/nothing") is None
        assert reader.versions() == {"timestamp": 2, "snapshot": 2}
        clock.advance(LONG_AGO)
        assert await renew_due(resources) == ["root", "targets", "trust", "registry"]


async def test_people_are_called_for_what_they_hold(engine: AsyncEngine, tmp_path: Path) -> None:
    """In the profile small the server renews registry alone, and nothing before the first ceremony is done; for the
    others it opens one event each, in time, and another when that one has expired unsigned."""
    clock = SettableClock(datetime.now(UTC) - LONG_AGO)
    async with service_resources(engine, tmp_path, clock=clock) as opened:
        resources, holders = in_profile(opened, "small"), Holders.of("root", "targets", "trust")
        ceremonies = Ceremonies(resources)
        events = await bootstrap(resources, holders.held())
        assert await renew_due(resources) == []
        for event in events:
            made = [key.sign(event.payload) for key in holders.keys[event.role].values()]
            given = [Signature(one.keyid, one.signature) for one in made]
            await ceremonies.submit("signer", event.id, event.payload_sha256, given)
            await ceremonies.finalise("root", event.id)
        clock.advance(LONG_AGO)
        for _ in range(2):
            await renew_due(resources)
            (view,) = await ceremonies.events("open", None, 10)
            assert (view.event.role, view.event.version, view.event.proposed_by) == ("trust", 2, "signing")
            assert "to renew it without a change" in view.event.reason
        assert await versions(resources) == {"root": 1, "targets": 1, "trust": 1, "registry": 2}
        clock.advance(EVENT_LIFETIME)
        assert await ceremonies.events("open", None, 10) == []
        assert await renew_due(resources) == []
        (again,) = await ceremonies.events("open", None, 10)
        assert (again.event.role, again.event.version) == ("trust", 2)
        made = [key.sign(again.event.payload) for key in holders.keys[Role.TRUST].values()]
        await ceremonies.submit("signer", again.event.id, again.event.payload_sha256, made)
        await ceremonies.finalise("root", again.event.id)
        assert await versions(resources) == {"root": 1, "targets": 1, "trust": 2, "registry": 2}


async def test_roles_that_were_given_to_people_do_not_hold_up_the_others(engine: AsyncEngine, tmp_path: Path) -> None:
    """Of a role of which too few keys are here an event is opened; what can be renewed is."""
    clock = SettableClock(datetime.now(UTC) - LONG_AGO)
    async with service_resources(engine, tmp_path, clock=clock) as resources:
        await ensure_trust(resources)
        clock.advance(LONG_AGO)
        async with engine.begin() as connection:
            await connection.execute(update(KeyHandle).where(KeyHandle.role == "trust").values(retired_at=clock.now()))
        assert await renew_due(resources) == ["registry"]
        assert await renew_due(resources) == []
        assert [view.event.role for view in await Ceremonies(resources).events("open", None, 10)] == ["trust"]


async def test_an_event_that_nobody_signed_does_not_stop_renewal(engine: AsyncEngine, tmp_path: Path) -> None:
    """While it is open it is its signers' matter; when it has expired the server renews what it can sign by itself."""
    clock = SettableClock(datetime.now(UTC) - LONG_AGO)
    async with service_resources(engine, tmp_path, clock=clock) as resources:
        await ensure_trust(resources)
        clock.advance(LONG_AGO - EVENT_LIFETIME + timedelta(days=1))
        await Ceremonies(resources).propose("root", Proposal(Role.TRUST, Change(), "forgotten", {}))
        clock.advance(EVENT_LIFETIME - timedelta(days=2))
        assert await renew_due(resources) == ["registry"]
        clock.advance(timedelta(days=2))
        assert await renew_due(resources) == ["trust"]


async def test_registries_of_older_bins_are_renewed_too(engine: AsyncEngine, tmp_path: Path) -> None:
    """An index that was not moved to the newest count of bins keeps its count and does not run out; new ones begin with
    the newest."""
    clock = SettableClock(datetime.now(UTC) - LONG_AGO)
    async with service_resources(engine, tmp_path, clock=clock) as resources:
        await ensure_trust(resources)
        index = await make_index(engine)
        await Publisher(resources).publish(index.id)
        newest = await ensure_registry(resources, 4)
        clock.advance(LONG_AGO)
        assert await renew_due(resources) == ["trust", "registry", "registry"]
        assert await renew_due(resources) == []
        await Publisher(resources).publish(index.id)
        async with engine.connect() as connection:
            head = await publications.head_state(connection, index.id)
            assert head is not None
            last = (await trust.newest_trust_files(connection))["registry"]
            mine = (await trust.trust_files_in_use(connection, head.registry_version))["registry"]
        assert (head.registry_version, mine.version, last.version) == (3, 3, 4)
        assert succinct_roles_of(last.content).bit_length == succinct_roles_of(newest.content).bit_length
        assert min(mine.expires_at, last.expires_at) > clock.now() + LONG_AGO
        reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
        assert reader.versions()["timestamp"] == head.timestamp_version
