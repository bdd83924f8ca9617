"""Maps messages to what the index service does."""

from __future__ import annotations

from services.index.laying import lay
from services.index.lists import ProjectLists
from services.index.settings import Limits
from services.index.turns import Turns
from shared.jobs.messages import LayPages, Message
from shared.resources import Resources
from shared.service import JobHandler


def job_handlers(resources: Resources, limits: Limits | None = None) -> dict[type[Message], JobHandler]:
    """Return message class -> handler."""
    bounds = limits or Limits()
    turns, lists = Turns(bounds), ProjectLists()

    async def lay_pages(message: Message) -> None:
        await turns.take(message.index_id, lambda: lay(resources, bounds, message.index_id, lists=lists))

    return {LayPages: lay_pages}
