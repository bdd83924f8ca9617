"""Which job is which use case, and the loop that sees to it that no signature runs out."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from services.signing.ceremonies.trust_root import CeremonyNeeded
from services.signing.publication.usecases import Publisher
from shared.catalogue import stored_heads
from shared.catalogue.unit_of_work import UnitOfWork
from shared.jobs.messages import Message, PublishIndex, RefreshIndex
from shared.resources import Resources
from shared.service import JobHandler, Later
from shared.trust.roles import PROFILES, Role

log = structlog.get_logger()

LOOK_EVERY = timedelta(seconds=20)
"""How often the heads are looked at: how long the store may stay behind a head whose signer was killed."""

LATE = timedelta(seconds=5)
"""How long after a head's commit its timestamp lies in the store at the latest, when nothing went wrong."""


UNTIL_CEREMONY = 60.0
"""Seconds after which a publication is tried again that waits for the deployment's first ceremony."""


def handlers(publisher: Publisher) -> dict[type[Message], JobHandler]:
    """Return the jobs of the signing service."""

    async def publish(message: Message) -> None:
        try:
            await publisher.publish(message.index_id)
        except CeremonyNeeded as error:
            # People may take days, and finalising asks at once: nothing is given up meanwhile.
            raise Later(UNTIL_CEREMONY, str(error)) from error

    return {PublishIndex: publish, RefreshIndex: publish}


class RefreshLoop:
    """Asks for a refresh of every index whose timestamp is due, or whose head did not get into the store. Safe with
    several replicas: a refresh that is not due is nothing."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._margin = PROFILES[resources.settings.signing.profile].roles[Role.TIMESTAMP].resign_before

    async def run(self) -> None:
        """Look now and every `LOOK_EVERY`, until cancelled."""
        while True:
            try:
                await self.look()
            except (SQLAlchemyError, OSError) as error:
                log.warning("refresh_look_failed", error=str(error))
            await asyncio.sleep(LOOK_EVERY.total_seconds())

    async def look(self) -> int:
        """Ask for the refreshes that are due; returns how many."""
        now = self._resources.clock.now()
        async with UnitOfWork(self._resources.engine) as work:
            due = await stored_heads.waiting_heads(work.connection, now + self._margin, now - LATE)
            for index_id in due:
                await work.enqueue(RefreshIndex(index_id))
            await work.commit()
        return len(due)
