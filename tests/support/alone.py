"""A process of its own as the launcher runs it, within the test's event loop: its real start, its real end."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from pydantic import SecretStr

from deploy import single
from shared.clock import Clock
from shared.settings import Database, Listen, ObjectStoreSettings, Queue, Settings, Starting, Stopping, Uploads

NOWHERE = "postgresql+asyncpg://somebody:secret@127.0.0.1:1/nothing"
"""A catalogue that nobody serves."""


@dataclass(slots=True)
class AloneProcess:
    """One that runs; `said` is what it told the person at the terminal."""

    task: asyncio.Task[None]
    said: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it listens, without a trailing slash."""
        found = re.search(r"port (\d+)", "".join(self.said))
        assert found is not None, self.said
        return f"http://127.0.0.1:{found[1]}"

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.url.rpartition(":")[2])

    def terminate(self) -> None:
        """Send it SIGTERM."""
        assert not self.task.done(), "else this process would end"
        os.kill(os.getpid(), signal.SIGTERM)

    async def ready(self) -> tuple[int, dict[str, object]]:
        """Return status and document of /readyz."""
        async with httpx2.AsyncClient(timeout=20) as client:
            answer = await client.get(f"{self.url}/readyz")
        return answer.status_code, answer.json()


def alone_settings(database: str, queue: str, folder: Path, **more: object) -> Settings:
    """Return settings of a process of its own that starts and ends without patience, unless `more` says otherwise."""
    given: dict[str, object] = {
        "data": folder,
        "database": Database(url=SecretStr(database), pool=3),
        "queue": Queue(url=SecretStr(queue)),
        "objects": ObjectStoreSettings(folder=folder / "objects"),
        "listen": Listen(service_port=0, api_port=0, ui_port=0),
        "uploads": Uploads(publish_wait=0),
        "starting": Starting(patience=0),
        "stopping": Stopping(delay=0, grace=10),
    }
    return Settings.model_validate(given | more)


@asynccontextmanager
async def alone(name: str, settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[AloneProcess]:
    """Run a process while the context is open; ends it as SIGTERM does, if it still runs."""
    said: list[str] = []
    work: Awaitable[None]
    if name == "worker":
        work = single.serve_worker(settings, said.append)
    elif name == "gateway":
        work = single.serve_gateway(settings, said.append)
    else:
        work = single.serve_service(name, settings, said.append, clock=clock)
    process = AloneProcess(asyncio.ensure_future(work), said)
    try:
        while not said and not process.task.done():
            await asyncio.sleep(0.01)
        if process.task.done():
            process.task.result()
        yield process
        if not process.task.done():
            process.terminate()
        await process.task
    finally:
        process.task.cancel()
        await asyncio.gather(process.task, return_exceptions=True)
