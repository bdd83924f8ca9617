"""Keeps the lease of an index while there is work under it, however long that takes.

Source: trust contract section 2.6 (serialise).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from shared.catalogue import leases
from shared.catalogue.engine import CATALOGUE_AWAY
from shared.catalogue.leases import Held, LeaseLost
from shared.catalogue.unit_of_work import UnitOfWork
from shared.resources import Resources

log = structlog.get_logger()


@asynccontextmanager
async def kept(resources: Resources, held: Held) -> AsyncIterator[None]:
    """Begin the lease's term anew again and again within the context, so that it may be short: who waits for a holder
    that was killed waits no longer. A lease that is lost all the same is seen by the guard of the commit."""
    renewing = asyncio.create_task(_renew(resources, held))
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.wait([renewing])


async def _renew(resources: Resources, held: Held) -> None:
    every = leases.RENEW_EVERY.total_seconds()
    while True:
        await asyncio.sleep(every)
        try:
            # One that hangs, its connection being dead, must not outlast the term: the next may get through.
            async with asyncio.timeout(every), UnitOfWork(resources.engine) as work:
                await leases.renew(work.connection, held)
                await work.commit()
        except LeaseLost as error:
            log.warning("lease_lost", index_id=str(held.index_id), error=str(error))
            return
        except CATALOGUE_AWAY as error:
            log.warning("lease_not_renewed", index_id=str(held.index_id), error=type(error).__name__)
