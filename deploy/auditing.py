"""What the commands about the audit do. Source: trust contract section 2.9; docs/audit.md."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO

from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.audit import ChainBroken
from deploy.administration import Row, catalogue
from deploy.errors import LaunchError, UsageError
from services.signing.upkeep import proving
from services.signing.upkeep.proving import AuditFault
from shared.catalogue import audit_chain
from shared.clock import SystemClock
from shared.settings import Settings


async def verify(settings: Settings) -> Row:
    """Go through the whole chain; returns what was found.

    Raises:
        LaunchError: it does not hold; the message says where and what differs.
    """
    with _told():
        async with catalogue(settings) as engine, proving.snapshot_of(engine) as connection:
            found = await proving.verify(connection, SystemClock().now())
    head = None
    if found.newest is not None:
        at = found.newest.at.isoformat(timespec="seconds")
        head = {"position": found.newest.position, "hash": found.newest.sha256, "at": at}
    return {"rows": found.rows, "heads": found.heads, "head": head}


async def export(settings: Settings, out: str, start: int | None, since: str | None) -> int:
    """Write links as JSON lines; returns how many.

    Args:
        out: a file that does not exist yet, or `-`.
        start: the first position.
        since: begin at the first row that was written then or later, in place of `start`.

    Raises:
        UsageError: both are given, `since` is no time, or the file exists.
        LaunchError: there is nothing to export, the chain does not hold, or the file cannot be written.
    """
    if start is not None and since is not None:
        raise UsageError("give --from or --since, not both")
    moment = None if since is None else _moment(since)
    count = 0
    with _told():
        async with catalogue(settings) as engine, proving.snapshot_of(engine) as connection:
            first = start or 1 if moment is None else await _first_since(connection, moment)
            with _opened(out) as file:
                async for line in _lines(connection, first):
                    with _writing("the standard output" if out == "-" else out):
                        file.write(line)
                    count += 1
    return count


async def _first_since(connection: AsyncConnection, moment: datetime) -> int:
    found = await audit_chain.first_since(connection, moment)
    if found is None:
        raise LaunchError(f"the audit has no row of {moment.isoformat(timespec='seconds')} or later")
    return found


async def _lines(connection: AsyncConnection, first: int) -> AsyncIterator[bytes]:
    async for link in proving.links_from(connection, first):
        yield link.to_line()


@contextmanager
def _opened(out: str) -> Iterator[IO[bytes]]:
    """Open what an export is written to; a file is for its owner alone, since rows hold names and addresses."""
    if out == "-":
        yield sys.stdout.buffer
        with _writing("the standard output"):
            sys.stdout.buffer.flush()
        return
    try:
        with _writing(out):
            file = os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except FileExistsError as error:
        raise UsageError(f"{out} exists: name a new file") from error
    with file:
        yield file


@contextmanager
def _writing(out: str) -> Iterator[None]:
    """Tell a disk that is full, or a reader that has gone, from a catalogue that is away."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise LaunchError(f"{out} cannot be written: {error.strerror}") from error


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except ChainBroken as error:
        raise LaunchError(
            f"the audit's chain is broken at position {error.position}: {error.reason}. Rows before it hold; see "
            "'When the chain is broken' in docs/audit.md"
        ) from error
    except AuditFault as error:
        raise LaunchError(f"{error}; see docs/audit.md") from error


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--since {text[:50]}: write a date or time, for example 2026-01-31T12:00Z") from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
