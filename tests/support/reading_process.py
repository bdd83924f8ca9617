"""The reading services as a process that tests kill: `python -m tests.support.reading_process DATABASE FOLDER SECONDS`.

Prints its URL when it serves; `SECONDS` lie between two flushes of the download counts.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from services.download.settings import Limits
from shared.catalogue.engine import open_engine
from tests.support.reading import open_reading, open_stores, served


async def main(database: str, folder: str, seconds: float) -> None:
    """Serve until killed."""
    limits = Limits(flush_seconds=seconds)
    reading = open_reading(open_engine(database), open_stores(Path(folder)), download_limits=limits)
    await reading.news()
    async with served(reading.app) as url:
        print(url, flush=True)
        await asyncio.gather(*(loop() for loop in reading.download.loops))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
