"""The loop that tells of the deployment's signatures: how long they last, what waits, whether people are to sign.

Every signing process tells the same, so that none has to be up. Source: trust contract section 2.7.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.catalogue import trust_gauges
from shared.catalogue.engine import CATALOGUE_AWAY
from shared.catalogue.trust_gauges import Left
from shared.resources import Resources

log = structlog.get_logger()

LOOK_EVERY = timedelta(seconds=15)
"""How often the catalogue is asked: as often as Prometheus looks by default."""

_DEAR_EVERY = 20
"""Looks after which bins are asked for again: five minutes."""

OpenEvents = Callable[[AsyncConnection], Awaitable[int]]
"""Returns how many signing events wait for people."""


class SigningLook:
    """Asks the catalogue for the gauges of signing.

    Args:
        open_events: counts the signing events that are open; without it none is told of.
    """

    def __init__(self, resources: Resources, open_events: OpenEvents | None = None) -> None:
        self._resources = resources
        self._open_events = open_events
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
            events = 0 if self._open_events is None else await self._open_events(connection)
        self._looks += 1
        for one in [*left, *([] if self._bins is None else [self._bins])]:
            metrics.expiry.labels(one.role.value).set(one.seconds)
            metrics.short_indexes.labels(one.role.value).set(one.short)
        metrics.timestamp_age.set(oldest)
        metrics.changes_waiting.set(waiting.changes)
        metrics.changes_oldest.set(waiting.oldest)
        metrics.intents_open.set(waiting.intents)
        metrics.events_open.set(events)
