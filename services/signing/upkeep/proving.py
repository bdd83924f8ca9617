"""Goes through the whole audit chain: hashes every row again, compares every head that was published, and the newest
one with what was signed. Reads the catalogue alone, page by page, in one snapshot of it; memory does not grow.

Source: trust contract section 2.9.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tuf.api.exceptions import RepositoryError

from countermark.core.audit import GENESIS, HEAD_TARGET, AuditHead, ChainBroken, ChainReader, Link
from countermark.core.digest import sha256_of
from countermark.core.names import IndexName
from services.signing.publication.auditing import LATE
from services.signing.publication.bins import bins_of
from shared.catalogue import audit, audit_chain, publications, trust
from shared.ids import IndexId
from shared.trust.metadata import read_bin, verify_with

_PAGE = 2000
"""Links that are read, and hashed, at a time."""

_NO_END = 2**62
"""More than any position."""


_Default = tuple[IndexName, IndexId] | None
"""The index that shows the heads."""


class AuditFault(Exception):
    """The audit is not what was signed, or not all of it is chained; the message says what, in one sentence."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found right: rows that are chained, heads that were published, the newest of them."""

    rows: int
    heads: int
    newest: AuditHead | None


@asynccontextmanager
async def snapshot_of(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Yield a connection that sees the catalogue as it is now, however long it is used, and cannot write."""
    async with engine.connect() as connection:
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        yield await connection.execution_options(**options)


async def verify(connection: AsyncConnection, now: datetime) -> Verified:
    """Go through all of it.

    Args:
        connection: of `snapshot_of`.

    Raises:
        ChainBroken: the first place that does not hold.
        AuditFault: the signed head is another one, or old rows are not chained.
    """
    default = await audit_chain.default_index(connection)
    reader, count, links = ChainReader(), 0, True
    while links:
        start = reader.position
        try:
            links = bool(await audit_chain.follow(connection, reader, _PAGE))
        finally:
            # Also when it breaks: a head may differ before that place, in a part that was hashed anew.
            count += await _compare_heads(connection, default, start, reader.position)
    await _refuse_later_heads(connection, default, reader.position)
    await _refuse_unchained(connection, now)
    return Verified(reader.position, count, await _signed_head(connection, default))


async def links_from(connection: AsyncConnection, position: int) -> AsyncIterator[Link]:
    """Yield the links from a position on, each hashed again.

    Args:
        connection: of `snapshot_of`.

    Raises:
        ChainBroken: the first place that does not hold; what is before it was yielded.
        AuditFault: there is no such position.
    """
    before = await audit_chain.at_position(connection, position - 1)
    if before is None:
        end = (await audit_chain.end(connection)).position
        raise AuditFault(f"the chain has no position {position}: it ends at {end}")
    reader = ChainReader(position - 1, before)
    links: list[Link] | None = None
    while links != []:
        start, sha256 = reader.position, reader.sha256
        try:
            links = await audit_chain.follow(connection, reader, _PAGE)
        except ChainBroken as error:
            good = error.position - 1 - start
            links = await audit_chain.follow(connection, ChainReader(start, sha256), good) if good else []
            for link in links:
                yield link
            raise
        for link in links:
            yield link


async def _compare_heads(connection: AsyncConnection, default: _Default, start: int, end: int) -> int:
    """Compare the heads that were published at positions after `start` and up to `end`; returns how many."""
    if default is None or start == end:
        return 0
    heads = await audit_chain.heads(connection, *default, between=(start, end), limit=_PAGE)
    for published in heads:
        head = published.head
        chained = await audit_chain.at_position(connection, head.position)
        ChainReader(head.position, chained or GENESIS).compare(head)
    return len(heads)


async def _refuse_later_heads(connection: AsyncConnection, default: _Default, end: int) -> None:
    """Refuse a chain that ends before a head that was published of it."""
    later = [] if default is None else await audit_chain.heads(connection, *default, between=(end, _NO_END), limit=1)
    for published in later:
        at = published.head.at.isoformat(timespec="seconds")
        raise ChainBroken(end + 1, f"it is missing: the head of {at} was published at {published.head.position}")


async def _refuse_unchained(connection: AsyncConnection, now: datetime) -> None:
    """Refuse an audit with rows that should have been chained long ago."""
    newest = await audit.newest(connection)
    for start in range(1, newest + 1, audit_chain.SPAN):
        span = range(start, min(newest + 1, start + audit_chain.SPAN))
        rows = [row for row in await audit_chain.unchained(connection, span, _PAGE) if now - row.at > LATE]
        if rows:
            raise AuditFault(
                f"{len(rows)} rows of the audit, or more, are older than {LATE.seconds // 60} minutes and not chained; "
                f"the first is {rows[0]}: see that a signing service runs"
            )


async def _signed_head(connection: AsyncConnection, default: _Default) -> AuditHead | None:
    """Return the newest head, compared with the signed bin that lists it; None before the first."""
    if default is None:
        return None
    index, index_id = default
    newest = await audit_chain.newest_head(connection, index, index_id)
    signed = await _signed_digest(connection, index_id)
    kept = None if newest is None else sha256_of(newest.head.to_bytes())
    if signed != kept:
        position = 0 if newest is None else newest.head.position
        raise AuditFault(
            f"the head that {index} has signed has sha256 {signed or '(none)'}, the newest one that the catalogue "
            f"keeps, at position {position}, {kept or '(none)'}"
        )
    return None if newest is None else newest.head


async def _signed_digest(connection: AsyncConnection, index_id: IndexId) -> str | None:
    """Return the digest of the head that the current bin lists, with every signature from the root to it checked."""
    head = await publications.head_state(connection, index_id)
    if head is None:
        return None
    files = await trust.trust_files_in_use(connection, head.registry_version)
    roles, _ = bins_of(files["registry"].content)
    name = roles.get_role_for_target(HEAD_TARGET)
    content = (await publications.current_contents(connection, index_id, [name]))[name]
    try:
        verify_with(files["root"].content, "targets", files["targets"].content)
        verify_with(files["targets"].content, "registry", files["registry"].content)
        verify_with(files["registry"].content, name, content)
    except (RepositoryError, ValueError) as error:
        raise AuditFault(f"the metadata that lists the head, {name}, is not what was signed: {error}") from error
    entry = read_bin(content).get(HEAD_TARGET)
    return None if entry is None else str(entry["hashes"]["sha256"])
