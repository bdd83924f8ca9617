"""What a process holds open: catalogue, object stores, queue, and what follows them in memory.

Resources are opened outside the applications (`async with open_resources(settings) as resources`), which are pure
wiring:
lifespans of mounted applications do not run.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.attesting.processes import Verifying
from shared.attesting.trusted import Trusted
from shared.auth.directory import Directory
from shared.catalogue.heads import Heads
from shared.catalogue.listener import Listener
from shared.clock import Clock
from shared.jobs.queue import JobQueue
from shared.leisure import Leisure
from shared.metrics import Metrics
from shared.objects.interface import ObjectStores
from shared.outgoing import Outgoing
from shared.reading.answered import AnsweredPages
from shared.settings import Settings
from shared.turnstile import Turnstile


@dataclass(frozen=True, slots=True)
class Resources:
    """Everything an application may need; nothing in here is opened or closed by an application."""

    settings: Settings
    clock: Clock
    engine: AsyncEngine
    objects: ObjectStores
    queue: JobQueue
    redis: Redis
    directory: Directory
    """Accounts' tokens, indexes and grants, in memory."""
    heads: Heads
    """What each index's head says, in memory."""
    listener: Listener
    metrics: Metrics = field(default_factory=Metrics)
    outgoing: Outgoing = field(default_factory=Outgoing)
    """What asks servers outside; nothing is connected to before it is asked."""
    verifying: Verifying = field(default_factory=Verifying)
    """What verifies attestations; no process is started before it is asked."""
    turnstile: Turnstile = field(default_factory=Turnstile)
    """Through which the requests of package tools and of other services come."""
    leisure: Leisure = field(init=False)
    """When there is time for what nobody waits for."""
    trusted: Trusted = field(init=False)
    """What the trust role signs for attestations; nothing is read before it is asked."""
    answered: AnsweredPages = field(init=False)
    """Pages of mirrors that this process answered a moment ago."""

    def __post_init__(self) -> None:
        """Make what follows from the rest."""
        first_root = self.settings.attestations.first_root
        trusted = Trusted(self.engine, self.verifying, self.clock, self.metrics, first_root)
        object.__setattr__(self, "trusted", trusted)
        object.__setattr__(self, "leisure", Leisure(self.turnstile))
        object.__setattr__(self, "answered", AnsweredPages(self.listener))
