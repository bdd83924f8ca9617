"""A process that takes one job and never ends it, for tests that kill it: `python -m tests.support...`."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

from shared.catalogue.engine import open_engine
from shared.jobs.arq_queue import ArqQueue, WorkerOptions
from shared.jobs.consumer import Consumer
from shared.jobs.messages import LayPages, Message


async def main(database_url: str, valkey_url: str, claim_lifetime: float) -> None:
    """Consume until killed; prints a line when a job began."""

    async def hang(_message: Message) -> None:
        print("began", flush=True)
        await asyncio.sleep(3600)

    options = WorkerOptions(claim_lifetime=timedelta(seconds=claim_lifetime))
    await Consumer(open_engine(database_url), {LayPages: hang}).run(ArqQueue(valkey_url, options))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
