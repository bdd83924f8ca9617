"""What signing processes tell of signatures, from a real catalogue."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import text

from countermark.core.ceremony.changes import Change
from services.signing.ceremonies.events import Ceremonies, Proposal
from services.signing.ceremonies.trust_root import ensure_registry
from services.signing.publication.usecases import Publisher
from services.signing.upkeep.rebinning import rebin
from services.signing.upkeep.telling import SigningLook
from shared.catalogue import gauges
from shared.catalogue.leases import LeaseLost
from shared.jobs.messages import PublishIndex
from shared.resources import Resources
from tests.integration.signing.changes import enqueue, published_index, upload
from tests.support.factories import MadeIndex, make_index
from tests.support.hooked_store import HookedStore
from tests.support.resources import with_public_store

HOUR, DAY = 3600, 86400


@pytest.fixture
async def index(resources: Resources) -> MadeIndex:
    """An index that was published."""
    return await published_index(resources)


async def told(resources: Resources, look: SigningLook | None = None) -> dict[str, float]:
    """Return what a look at the catalogue tells, by series without the common prefix."""
    await (look or SigningLook(resources)).look()
    lines = re.findall(r"^countermark_(\S+) (\S+)$", resources.metrics.text().decode(), re.MULTILINE)
    return {name: float(value) for name, value in lines}


def left(seen: dict[str, float], role: str) -> tuple[float, float]:
    """Return the seconds left of a role, and how many indexes are short of it."""
    return seen[f'expiry_smallest_seconds{{role="{role}"}}'], seen[f'expiry_short_indexes{{role="{role}"}}']


async def test_the_smallest_of_all_indexes_and_how_many_are_short(resources: Resources, index: MadeIndex) -> None:
    """One number for each role, however many indexes there are; those below the limits are counted."""
    for name in ("root/one", "root/two"):
        made = await make_index(resources.engine, name)
        await enqueue(resources, PublishIndex(made.id))
        await Publisher(resources).publish(made.id)
    seen = await told(resources)
    for role, days in (
        ("timestamp", 1),
        ("snapshot", 7),
        ("bins", 14),
        ("registry", 180),
        ("trust", 180),
        ("root", 365),
    ):
        seconds, short = left(seen, role)
        assert days * DAY - 300 < seconds <= days * DAY, role
        assert short == 0, role
    async with resources.engine.begin() as connection:
        await connection.execute(
            text(
                "update tuf_head set timestamp_expires_at = now() + interval '11 hours', committed_at = now() - "
                "interval '13 hours' where index_id != :id"
            ),
            {"id": index.id},
        )
        await connection.execute(text("update trust_file set expires_at = now() - interval '1 s' where role = 'trust'"))
        await connection.execute(
            text("update tuf_file set expires_at = now() + interval '4 days' where index_id = :id and role = 'b8-7f'"),
            {"id": index.id},
        )
    seen = await told(resources)
    assert (round(left(seen, "timestamp")[0] / HOUR), left(seen, "timestamp")[1]) == (11, 2)
    assert (round(left(seen, "bins")[0] / DAY), left(seen, "bins")[1]) == (4, 1)
    assert (round(left(seen, "trust")[0]), left(seen, "trust")[1]) == (-1, 3)
    assert left(seen, "root")[1] == 0
    assert round(seen["timestamp_oldest_seconds"] / HOUR) == 13


async def test_bins_of_an_earlier_count_are_nobodys_concern(resources: Resources, index: MadeIndex) -> None:
    """They stay listed and expire; neither the sum nor the list of indexes has them, nor an unused registry."""
    await ensure_registry(resources, 5)
    await rebin(resources, index.id)
    async with resources.engine.begin() as connection:
        await connection.execute(text("update tuf_file set expires_at = now() where role like 'b8-%'"))
        await connection.execute(
            text("update trust_file set expires_at = now() where role = 'registry' and version = 1")
        )
        found = await gauges.bin_expiries(connection)
    assert [one.seconds > 13 * DAY for one in found] == [True]
    seen = await told(resources)
    assert left(seen, "bins")[0] > 13 * DAY
    assert left(seen, "registry")[0] > 179 * DAY


async def test_what_waits_is_told(resources: Resources, index: MadeIndex) -> None:
    """Changes and their age, batches under way, and signing events that people can sign."""
    await upload(resources, index, "widget-1.0-py3-none-any.whl")
    async with resources.engine.begin() as connection:
        await connection.execute(text("update outbox set created_at = now() - interval '90 s' where done_at is null"))
    seen = await told(resources)
    assert (seen["changes_waiting"], round(seen["changes_oldest_seconds"] / 10)) == (1, 9)
    assert (seen["intents_open"], seen["signing_events_open"]) == (0, 0)
    for role in ("root", "trust"):
        await Ceremonies(resources).propose("root", Proposal(role, Change(), "renewed", {}))
    assert (await told(resources))["signing_events_open"] == 2
    await Publisher(resources).publish(index.id)
    seen = await told(resources)
    assert (seen["changes_waiting"], seen["changes_oldest_seconds"]) == (0, 0)
    assert seen["signing_seconds_count"] == 2
    assert seen["signing_seconds_sum"] > 0


async def test_a_signer_that_was_overtaken_is_counted(resources: Resources, index: MadeIndex) -> None:
    """Its batch stays an open intent until it is tidied away."""
    await upload(resources, index, "widget-1.0-py3-none-any.whl")

    async def overtake() -> None:
        async with resources.engine.begin() as connection:
            await connection.execute(text("update lease set fence = fence + 1, holder = 'another'"))

    slow = with_public_store(resources, HookedStore(resources.settings.data / "public", "snapshot.json", overtake))
    with pytest.raises(LeaseLost):
        await Publisher(slow).publish(index.id)
    assert "countermark_fence_conflicts_total 1.0" in slow.metrics.text().decode()
    assert (await told(resources))["intents_open"] == 3
