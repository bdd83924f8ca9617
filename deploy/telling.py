"""The listener of the metrics, and the loop that asks the catalogue for those of the deployment as a whole."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog

from deploy.listeners import HttpServer
from deploy.ports import take_port
from shared.catalogue import gauges
from shared.catalogue.clock_watch import ClockWatch
from shared.catalogue.engine import CATALOGUE_AWAY
from shared.metrics import Expiry, metrics_app
from shared.resources import Resources

log = structlog.get_logger()

LOOK_EVERY = timedelta(seconds=15)
"""How often the catalogue is asked: as often as Prometheus looks by default."""

_DEAR_EVERY = 20
"""Looks after which what needs a longer query is asked again: five minutes."""


@contextmanager
def metrics_listener(resources: Resources, watch: ClockWatch) -> Iterator[list[HttpServer]]:
    """Take the metrics' port for the context; gives the server for it, or none where there is to be none.

    Raises:
        LaunchError: the port is in use.
    """
    listen = resources.settings.listen
    if listen.metrics_port == 0:
        yield []
        return
    metrics, listener = resources.metrics, resources.listener
    metrics.view_age.set_function(lambda: time.monotonic() - listener.compared_at)
    metrics.clock_skew.set_function(lambda: watch.skew)
    with take_port(listen.metrics_host, listen.metrics_port, "COUNTERMARK_LISTEN__METRICS_PORT") as listening:
        yield [HttpServer(metrics_app(metrics), listening)]


class CatalogueLook:
    """Asks the catalogue for its gauges; one process of a deployment has to, several do no harm."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._looks = 0
        self._bins: list[Expiry] = []

    async def run(self) -> None:
        """Look every `LOOK_EVERY`, until cancelled."""
        while True:
            try:
                await self.look()
            except CATALOGUE_AWAY as error:
                log.warning("metrics_wait_for_catalogue", error=type(error).__name__)
            await asyncio.sleep(LOOK_EVERY.total_seconds())

    async def look(self) -> None:
        """Ask now.

        Raises:
            SQLAlchemyError: the catalogue is away (or another of `CATALOGUE_AWAY`).
        """
        metrics = self._resources.metrics
        async with self._resources.engine.connect() as connection:
            outbox = await gauges.outbox_facts(connection)
            heads = await gauges.head_expiries(connection)
            metrics.audit_unchained.set(await gauges.unchained_age(connection))
            if self._looks % _DEAR_EVERY == 0:
                self._bins = await gauges.bin_expiries(connection)
                metrics.outbox_dead.set(await gauges.dead_jobs(connection))
        self._looks += 1
        metrics.outbox_open.set(outbox.open)
        metrics.outbox_oldest.set(outbox.oldest)
        metrics.show_expiries([*heads, *self._bins])
