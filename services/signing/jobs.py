"""Which job is which use case, and the loop that sees to it that no signature runs out."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from services.signing.usecases import Publisher
from shared.catalogue import publications
from shared.catalogue.unit_of_work import UnitOfWork
from shared.jobs.messages import Message, PublishIndex, RefreshIndex
from shared.resources import Resources
from shared.service import JobHandler
from shared.trust.roles import PROFILES, Role

log = structlog.get_logger()

REFRESH_EVERY = timedelta(minutes=5)
"""How often the heads are looked at; a timestamp lives 24 h and is due after one, so many looks may fail."""


def handlers(publisher: Publisher) -> dict[type[Message], JobHandler]:
    """Return the jobs of the signing service."""

    async def publish(message: Message) -> None:
        await publisher.publish(message.index_id)

    return {PublishIndex: publish, RefreshIndex: publish}


class RefreshLoop:
    """Asks for a refresh of every index whose timestamp is due. Safe with several replicas: a refresh that is not due
    is nothing."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._margin = PROFILES[resources.settings.signing.profile].roles[Role.TIMESTAMP].resign_before

    async def run(self) -> None:
        """Look now and every `REFRESH_EVERY`, until cancelled."""
        while True:
            try:
                await self.look()
            except (SQLAlchemyError, OSError) as error:
                log.warning("refresh_look_failed", error=str(error))
            await asyncio.sleep(REFRESH_EVERY.total_seconds())

    async def look(self) -> int:
        """Ask for the refreshes that are due; returns how many."""
        before = self._resources.clock.now() + self._margin
        async with UnitOfWork(self._resources.engine) as work:
            due = await publications.due_heads(work.connection, before)
            for index_id in due:
                await work.enqueue(RefreshIndex(index_id))
            await work.commit()
        return len(due)
