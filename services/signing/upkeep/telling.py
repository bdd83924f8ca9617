"""The loop that tells of the deployment's signatures: how long they last, what waits, whether people are to sign.

Every signing process tells the same, so that none has to be up. Source: trust contract section 2.7.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog

from shared.catalogue import signing_events, trust_gauges
from shared.catalogue.engine import CATALOGUE_AWAY
from shared.catalogue.trust_gauges import Left
from shared.resources import Resources

log = structlog.get_logger()

LOOK_EVERY = timedelta(seconds=15)
"""How often the catalogue is asked: as often as Prometheus looks by default."""

_DEAR_EVERY = 20
"""Looks after which bins are asked for again: five minutes."""


class SigningLook:
    """Asks the catalogue for the gauges of signing."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._looks = 0
        self._bins: Left | None = None

    async def run(self) -> None:
        """Look every `LOOK_EVERY`, until cancelled."""
        while True:
            try:
                await self.look()
            except CATALOGUE_AWAY as error:
                log.warning("signing_gauges_wait_for_catalogue", error=type(error).__name__)
            await asyncio.sleep(LOOK_EVERY.total_seconds())

    async def look(self) -> None:
        """Ask now.

        Raises:
            SQLAlchemyError: the catalogue is away (or another of `CATALOGUE_AWAY`).
        """
        metrics = self._resources.metrics.signing
        async with self._resources.engine.connect() as connection:
            left = await trust_gauges.head_left(connection)
            waiting = await trust_gauges.waiting_changes(connection)
            oldest = await trust_gauges.oldest_timestamp(connection)
            if self._looks % _DEAR_EVERY == 0:
                self._bins = await trust_gauges.bins_left(connection)
            waits = await signing_events.open_events(connection)
        now = self._resources.clock.now()
        events = sum(event.expires_at > now for event in waits.values())
        self._looks += 1
        for one in [*left, *([] if self._bins is None else [self._bins])]:
            metrics.expiry.labels(one.role.value).set(one.seconds)
            metrics.short_indexes.labels(one.role.value).set(one.short)
        metrics.timestamp_age.set(oldest)
        metrics.changes_waiting.set(waiting.changes)
        metrics.changes_oldest.set(waiting.oldest)
        metrics.intents_open.set(waiting.intents)
        metrics.events_open.set(events)
