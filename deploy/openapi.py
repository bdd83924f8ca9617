"""Writes the OpenAPI description of each service: `python -m deploy.openapi [FOLDER]`.

The files are committed, and a test compares them with what the services say: what is added is fine, what is removed or
changed breaks a client. Source: architecture section 11.8.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import orjson
from redis.asyncio import Redis
from starlette.types import ASGIApp

from deploy import assembly
from gateway.limits import Limits
from gateway.v1.app import create_v1
from shared.auth.directory import Directory
from shared.catalogue.engine import open_engine
from shared.catalogue.heads import Heads
from shared.catalogue.listener import Listener
from shared.clock import SystemClock
from shared.jobs.memory_queue import MemoryQueue
from shared.objects.filesystem import FolderStore
from shared.objects.interface import ObjectStores
from shared.resources import Resources
from shared.settings import Settings

FOLDER = Path("tests/contract/openapi")
"""Where the committed descriptions are, in the checkout."""

_OURS = ("/api/v1/", "/v1/", "/_/")

_NOWHERE = "postgresql+asyncpg://nobody@localhost:1/none"
"""A catalogue that is never connected to: applications are pure wiring."""


def descriptions() -> dict[str, dict[str, Any]]:
    """Return name of a service -> paths and schemas of what it answers below `/api/v1` and `/v1`, for those that do."""
    return asyncio.run(_descriptions())


def main(folder: Path) -> None:
    """Write each description into a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in descriptions().items():
        options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
        (folder / f"{name}.json").write_bytes(orjson.dumps(document, option=options))


async def _descriptions() -> dict[str, dict[str, Any]]:
    with _unconnected() as resources:
        limits = Limits(resources.redis, resources.settings.rate_limits)
        sources: dict[str, tuple[ASGIApp, str]] = {"gateway": (create_v1(resources, limits), "/api/v1/openapi.json")}
        for name, service in assembly.create_services(resources).items():
            sources[name] = (service.app, "/openapi.json")
        found = {name: await _asked(app, path) for name, (app, path) in sources.items()}
    return {name: document for name, document in found.items() if document["paths"]}


async def _asked(app: ASGIApp, path: str) -> dict[str, Any]:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://service") as client:
        answer = await client.get(path)
    if answer.status_code != 200:
        return {"paths": {}}
    document = answer.json()
    api = {route: verbs for route, verbs in document["paths"].items() if route.startswith(_OURS)}
    return {"paths": api, "schemas": document.get("components", {}).get("schemas", {})}


@contextmanager
def _unconnected() -> Iterator[Resources]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        engine = open_engine(_NOWHERE, pool=1)
        yield Resources(
            settings=Settings(data=folder),
            clock=SystemClock(),
            engine=engine,
            objects=ObjectStores(FolderStore(folder / "public"), FolderStore(folder / "private", private=True)),
            queue=MemoryQueue(),
            redis=Redis(port=1),
            directory=Directory(engine),
            heads=Heads(engine),
            listener=Listener(_NOWHERE, tick=timedelta(seconds=2)),
        )


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(prog="python -m deploy.openapi", description="Write the descriptions.")
    arguments.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    main(arguments.parse_args().folder)
