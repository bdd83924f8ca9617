"""What mirrors keep of their upstreams' JSON API. Writer and reader: the index service.

A row is there for what pages show alone: nobody fills the catalogue with names or versions of his own.
Source: architecture section 11.6; contract python-index section 5.1 item 9.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.names import NormalizedName
from shared.catalogue.mirror_pages import MirrorId
from shared.catalogue.tables import MirrorJson
from shared.ids import IndexId

WHOLE = ""
"""Stands for a project's own document where a version is wanted."""

MOST_VERSIONS = 100
"""Documents of versions that are kept of a project; those that were asked for longest ago go."""

_MAX_FAILURE = 500


@dataclass(frozen=True, slots=True)
class JsonId:
    """A document of an upstream: of a project, or of one version as its page writes it."""

    mirror: MirrorId
    project: NormalizedName
    version: str = WHOLE


@dataclass(frozen=True, slots=True)
class KeptJson:
    """What is kept of a document, and how it stands with asking again.

    Attributes:
        facts: packed; None when the upstream has no such document, or none that could be taken over.
        upstream: URL of the simple index of the one that was asked.
        checked_at: when the upstream last said that this is what it has.
        fresh_until: before this nobody needs to ask again.
        retry_at: before this the upstream is not to be asked after a failure.
    """

    facts: bytes | None
    upstream: str
    serial: int | None
    etag: str | None
    checked_at: datetime
    fresh_until: datetime
    retry_at: datetime | None = None

    def under(self, upstream: str) -> KeptJson:
        """Return it as it stands with an upstream; see `KeptPage.under`."""
        if upstream == self.upstream:
            return self
        return replace(self, serial=None, etag=None, fresh_until=self.checked_at)

    def is_fresh(self, now: datetime) -> bool:
        """Whether it is used without asking."""
        return now < self.fresh_until

    def may_ask(self, now: datetime) -> bool:
        """Whether the upstream may be asked, after what happened last."""
        return self.retry_at is None or now >= self.retry_at


@dataclass(frozen=True, slots=True)
class Failed:
    """A question that brought nothing, and before when it is not to be asked again."""

    why: str
    at: datetime
    retry_at: datetime


def what_json(index_id: IndexId, project: NormalizedName, version: str) -> str:
    """Return the name of a document in `fetch` rows and notifications."""
    return f"json:{index_id}:{project}:{version}"


async def kept_json(connection: AsyncConnection, which: JsonId) -> KeptJson | None:
    """Return what is kept of a document, None when it never was asked for."""
    row = (await connection.execute(select(*MirrorJson.__table__.columns).where(_row(which)))).first()
    if row is None:
        return None
    return KeptJson(row.facts, row.upstream, row.serial, row.etag, row.checked_at, row.fresh_until, row.retry_at)


async def keep_json(connection: AsyncConnection, which: JsonId, kept: KeptJson) -> None:
    """Keep what an upstream said, unless a newer answer is there already."""
    values = {
        "facts": kept.facts,
        "upstream": kept.upstream,
        "serial": kept.serial,
        "etag": kept.etag,
        "checked_at": kept.checked_at,
        "fresh_until": kept.fresh_until,
        "failing_since": None,
        "failure": None,
        "retry_at": None,
    }
    statement = insert(MirrorJson).values(**_key(which), **values)
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=_KEY, set_=values, where=MirrorJson.checked_at <= kept.checked_at
        )
    )
    await _bound(connection, which)


async def drop(connection: AsyncConnection, mirror: MirrorId, project: NormalizedName) -> None:
    """Drop all documents of a project."""
    mine = (MirrorJson.index_id == mirror.id, MirrorJson.life == mirror.life, MirrorJson.project == project)
    await connection.execute(delete(MirrorJson).where(*mine))


async def note_json_failure(connection: AsyncConnection, which: JsonId, upstream: str, failed: Failed) -> None:
    """Note that a document could not be had of an upstream; what is kept of it stays."""
    now = failed.at
    failure = {"failing_since": now, "failure": failed.why[:_MAX_FAILURE], "retry_at": failed.retry_at}
    statement = insert(MirrorJson).values(**_key(which), upstream=upstream, checked_at=now, fresh_until=now, **failure)
    since = func.coalesce(MirrorJson.failing_since, now)
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=_KEY, set_=failure | {"failing_since": since}, where=MirrorJson.checked_at <= now
        )
    )
    await _bound(connection, which)


_KEY = (MirrorJson.index_id, MirrorJson.life, MirrorJson.project, MirrorJson.version)


def _key(which: JsonId) -> dict[str, object]:
    return {
        "index_id": which.mirror.id,
        "life": which.mirror.life,
        "project": which.project,
        "version": which.version,
    }


def _row(which: JsonId) -> ColumnElement[bool]:
    return and_(*(column == value for column, value in zip(_KEY, _key(which).values(), strict=True)))


async def _bound(connection: AsyncConnection, which: JsonId) -> None:
    """Give up the documents of versions of a project that were asked for longest ago, beyond the number kept."""
    if which.version == WHOLE:
        return
    mine = and_(
        MirrorJson.index_id == which.mirror.id,
        MirrorJson.life == which.mirror.life,
        MirrorJson.project == which.project,
        MirrorJson.version != WHOLE,
    )
    newest_first = select(MirrorJson.version).where(mine).order_by(MirrorJson.checked_at.desc(), MirrorJson.version)
    await connection.execute(delete(MirrorJson).where(mine, MirrorJson.version.in_(newest_first.offset(MOST_VERSIONS))))
