"""What all imports share: the deployment they write to, batches of files, and the wait until all is signed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from countermark.core.names import IndexName, InvalidName, parse_index_name
from deploy.errors import LaunchError, UsageError
from deploy.importing.report import Report
from deploy.open_resources import open_resources
from deploy.rebuilding import beside_server
from gateway.importing import ImportedIndex, ImportWriter
from services.upload.importing import IMPORTED, Candidate, Imports
from shared.auth.directory import IndexRecord
from shared.auth.principal import Grant, Verb
from shared.catalogue import importing as rows
from shared.clock import SystemClock
from shared.objects.interface import ObjectStoreError
from shared.resources import Resources
from shared.settings import Settings

BATCH = 250
"""Files of one transaction."""

_ACTOR = "cli"
_STILL = 120.0
"""Seconds without any progress of signing after which the wait is ended."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """What an import is told.

    Attributes:
        report: where the report goes, None for nowhere.
        check: whether to look only, and write nothing.
        skip_bad: whether the rest comes in when something is refused.
        private: whether new indexes are private.
        wait: whether to return only when everything is signed.
    """

    report: Path | None = None
    check: bool = False
    skip_bad: bool = False
    private: bool = False
    wait: bool = True
    renames: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """The deployment that an import writes to."""

    resources: Resources
    people: ImportWriter
    imports: Imports
    report: Report

    async def index(self, name: IndexName) -> IndexRecord | None:
        """Return a living index as the catalogue has it now."""
        await self.resources.directory.refresh()
        return self.resources.directory.index(name)


@asynccontextmanager
async def opened_target(settings: Settings, report: Report) -> AsyncIterator[Target]:
    """Open the deployment of the settings, or that of the server beside us.

    Raises:
        LaunchError: the server beside us is not there, or the store fails.
    """
    async with open_resources(beside_server(settings), SystemClock()) as resources:
        people = ImportWriter(resources.engine, resources.clock, actor=_ACTOR)
        try:
            yield Target(resources, people, Imports(resources), report)
        except ObjectStoreError as error:
            raise LaunchError(f"the import stopped: {error}; run it again to go on") from error


def index_name(text: str) -> IndexName:
    """Read an index's name of a command line.

    Raises:
        UsageError: it is none.
    """
    try:
        return parse_index_name(text)
    except InvalidName as error:
        raise UsageError(str(error)) from error


async def stage_for(target: Target, name: IndexName, *, private: bool, check: bool) -> IndexRecord | None:
    """Return the stage that files go to, made when it is not there; None when it is not there and nothing is written.

    Raises:
        LaunchError: it is a mirror.
        ServiceError: its owner does not exist.
    """
    record = await target.index(name)
    if record is None and not check:
        grants = frozenset(Grant(name.owner, verb) for verb in Verb)
        await target.people.add_index(ImportedIndex(name, public=not private, grants=grants))
        target.report.line("index", str(name), IMPORTED)
        record = await target.index(name)
    if record is not None and record.type != "stage":
        raise LaunchError(f"{name} is a mirror: files go into a stage index")
    return record


async def add_files(target: Target, index: IndexRecord, candidates: Sequence[Candidate]) -> None:
    """Bring files in, batch by batch, and report each."""
    for batch in batches(candidates, BATCH):
        outcomes = await target.imports.add(index, batch)
        for one, outcome in zip(batch, outcomes, strict=True):
            what = f"{index.name} {one.coordinates.file_name}"
            target.report.line("file", what, outcome.status, outcome.why, sha256=one.sha256)


def batches(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Return items in parts of at most `size`."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def refuse(report: Report, what: str) -> None:
    """End an import of which something was refused before anything was written.

    Raises:
        LaunchError: always.
    """
    lines = [f"nothing was imported: {report.refused} things of {what} cannot come in", *report.summary()]
    advice = "correct them, or leave them out with --skip-bad"
    raise LaunchError("\n".join([*lines, advice]))


async def until_signed(target: Target, indexes: Sequence[IndexRecord], say: Callable[[str], None]) -> None:
    """Wait until everything that was brought into some indexes is signed; says when that does not go on."""
    ids, begun = [index.id for index in indexes], time.monotonic()
    least, since = None, begun
    while True:
        async with target.resources.engine.connect() as connection:
            still, dead = await rows.waiting(connection, ids)
        if dead:
            say(f"{dead} files were refused by signing: see countermark-server jobs dead\n")
        if not still:
            say(f"everything is signed ({time.monotonic() - begun:.0f} s after the last file came in)\n")
            return
        now = time.monotonic()
        if least is None or still < least:
            least, since = still, now
        if now - since > _STILL:
            say(f"{still} changes wait to be signed: they are once a signing service runs\n")
            return
        await asyncio.sleep(0.5)
