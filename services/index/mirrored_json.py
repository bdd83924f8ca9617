"""Keeps what upstreams' JSON APIs say of projects: asked for when somebody asks here, kept as pages are.

Nothing of it decides what is shown, so nothing waits long for it and nobody is told "no" for the lack of it: what is
not known is left out. Pages and files never wait for this: it has turns, pauses and places of its own.
Source: contract python-index section 5.1 item 9; architecture section 11.6; ADR 0028.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from countermark.core.names import NormalizedName
from services.index.flights import Flights
from services.index.upstreams import Absent, AskFailed, Known, Told, Unchanged, Upstreams, json_address
from shared.auth.directory import IndexRecord
from shared.catalogue.fetches import Turn
from shared.catalogue.mirror_json import (
    WHOLE,
    Failed,
    JsonId,
    KeptJson,
    keep_json,
    kept_json,
    note_json_failure,
    what_json,
)
from shared.catalogue.mirror_pages import MirrorId
from shared.catalogue.outbox import relax
from shared.formats.python.json_facts import JsonFacts, UnreadableFacts, pack_facts, unpack_facts
from shared.reading.mirror_options import MirrorOptions
from shared.resources import Resources
from shared.upstream_secrets import authorization_for

log = structlog.get_logger()

FIRST_WAIT = 10.0
"""Seconds to wait for a document of which nothing is kept; then one is made without it."""

_AT_ONCE = 4
"""Documents that a process reads at the same time: each may have 32 MiB."""

_MOST_WAITING = 64
"""Documents that a process reads or is to read; beyond that, answers are made from what is kept."""

_SHORTEST_PAUSE = timedelta(seconds=30)
"""How long a document that could not be had is not asked for again, at the least: nobody's build waits for it."""

_LOOK_AGAIN = timedelta(seconds=2)
"""How long an answer is used that was made without what should have been there."""


@dataclass(frozen=True, slots=True)
class Said:
    """What is known of a document of an upstream.

    Attributes:
        facts: None when nothing is.
        until: when it is to be looked at again; None where it never is, since there is nobody to ask.
        stale_since: when the upstream last confirmed it, if it should have been asked again and did not answer in time.
    """

    facts: JsonFacts | None
    until: datetime | None = None
    stale_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Subject:
    """A document of a mirror's upstream."""

    mirror: IndexRecord
    project: NormalizedName
    version: str | None

    @property
    def id(self) -> JsonId:
        version = WHOLE if self.version is None else self.version
        return JsonId(MirrorId(self.mirror.id, self.mirror.life), self.project, version)

    @property
    def what(self) -> str:
        return what_json(self.mirror.id, self.project, self.id.version)

    @property
    def upstream(self) -> str:
        return self.options.url or ""

    @property
    def options(self) -> MirrorOptions:
        return self.mirror.mirror or MirrorOptions(None)


class MirroredJson:
    """Documents of upstreams' JSON APIs."""

    def __init__(self, resources: Resources, upstreams: Upstreams) -> None:
        self._resources = resources
        self._settings = resources.settings.mirrors
        self._upstreams = upstreams
        self._flights = Flights[tuple[JsonId, str], KeptJson](resources)
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def said(self, mirror: IndexRecord, project: NormalizedName, version: str | None) -> Said:
        """Return what a mirror's upstream says of a version, or of the project and its newest version.

        Where it does not say it of the version, what is kept of the project's document is used as far as it goes.

        Args:
            project: one that the mirror's page shows in the index that was asked.
            version: one of that page, as it is written there.
        """
        now = self._resources.clock.now()
        found = await self._said(_Subject(mirror, project, version), now)
        if found.facts is not None or found.until is None or version is None:
            return found
        whole = await self._kept(_Subject(mirror, project, None))
        if whole is None or whole.facts is None:
            return found
        facts = await asyncio.to_thread(unpack_facts, whole.facts)
        return Said(facts.about(version), found.until, None if whole.is_fresh(now) else whole.checked_at)

    async def _said(self, subject: _Subject, now: datetime) -> Said:
        """Return what a document says by itself."""
        if json_address(subject.options, subject.project, subject.version) is None:
            return Said(None)
        kept = await self._kept(subject)
        if kept is None or not kept.is_fresh(now):
            kept = await self._asked(subject, kept, now)
        if kept is None:
            return Said(None, now + _LOOK_AGAIN)
        facts = None if kept.facts is None else await asyncio.to_thread(unpack_facts, kept.facts)
        if kept.is_fresh(now):
            return Said(facts, kept.fresh_until)
        return Said(facts, now + _LOOK_AGAIN, None if facts is None else kept.checked_at)

    async def _asked(self, subject: _Subject, kept: KeptJson | None, now: datetime) -> KeptJson | None:
        """Return what is kept once the upstream was asked, if it is to be and answers in time; else as it was."""
        if self._upstreams.shut(subject.options, json=True) is not None:
            return kept
        if (kept is not None and not kept.may_ask(now)) or len(self._flights) >= _MOST_WAITING:
            return kept
        patience = FIRST_WAIT if kept is None or kept.facts is None else self._settings.patience
        try:
            key = (subject.id, subject.upstream)
            return await self._flights.join(key, lambda *_: self._refresh(subject, kept), patience)
        except (AskFailed, TimeoutError):
            return kept

    async def _refresh(self, subject: _Subject, kept: KeptJson | None) -> KeptJson:
        """Ask the upstream, or wait until another process has.

        Raises:
            AskFailed: there is no usable answer.
        """

        async def look() -> KeptJson | None:
            now = await self._kept(subject)
            if now is None or now == kept:
                return None
            if now.retry_at is not None:
                raise AskFailed("it failed a moment ago", _SHORTEST_PAUSE)
            return now

        async with self._places:
            # It may have failed while this waited for its place.
            failure = self._upstreams.shut(subject.options, json=True)
            if failure is not None:
                raise failure
            return await self._flights.elected(subject.what, lambda turn: self._ask(subject, kept, turn), look)

    async def _ask(self, subject: _Subject, kept: KeptJson | None, turn: Turn) -> KeptJson:
        """Ask the upstream, and keep what it says.

        Raises:
            AskFailed: there is no usable answer; that is noted.
        """
        asked_at = self._resources.clock.now()
        known = None if kept is None or kept.facts is None else Known(kept.etag, kept.serial)
        credentials = authorization_for(self._settings.credentials, subject.mirror.name, subject.options.url)
        try:
            answer = await self._upstreams.json(subject.options, credentials, subject.project, subject.version, known)
            found = await self._understood(subject, kept, answer, asked_at)
        except AskFailed as error:
            log.warning(
                "upstream_json_failed",
                index=str(subject.mirror.name),
                project=subject.project,
                version=subject.version,
                error=str(error),
            )
            async with self._resources.engine.begin() as connection:
                await relax(connection)
                retry_at = asked_at + max(error.pause, _SHORTEST_PAUSE)
                await note_json_failure(
                    connection, subject.id, subject.upstream, Failed(str(error), asked_at, retry_at)
                )
                await turn.end(connection)
            raise
        async with self._resources.engine.begin() as connection:
            await relax(connection)
            await keep_json(connection, subject.id, found)
            await turn.end(connection)
        return found

    async def _understood(
        self, subject: _Subject, kept: KeptJson | None, answer: Unchanged | Absent | Told, asked_at: datetime
    ) -> KeptJson:
        """Return what is to be kept after an answer.

        Raises:
            AskFailed: it cannot be kept.
        """
        match answer:
            case Unchanged(max_age):
                assert kept is not None, "only what is kept is asked for conditionally"
                fresh_until = asked_at + self._freshness(subject.options, max_age)
                return replace(kept, checked_at=asked_at, fresh_until=fresh_until, retry_at=None)
            case Absent():
                fresh_until = asked_at + timedelta(seconds=self._settings.absent)
                return KeptJson(None, subject.upstream, None, None, asked_at, fresh_until)
            case Told(facts, etag, max_age):
                try:
                    packed = await asyncio.to_thread(pack_facts, facts)
                except UnreadableFacts as error:
                    raise AskFailed(str(error), _SHORTEST_PAUSE) from error
                fresh_until = asked_at + self._freshness(subject.options, max_age)
                return KeptJson(packed, subject.upstream, facts.serial, etag, asked_at, fresh_until)

    def _freshness(self, options: MirrorOptions, max_age: int | None) -> timedelta:
        """Return how long a document is used without asking: as a page."""
        expiry = self._settings.expiry if options.expiry is None else options.expiry
        return timedelta(seconds=expiry if max_age is None else min(expiry, max_age))

    async def _kept(self, subject: _Subject) -> KeptJson | None:
        async with self._resources.engine.connect() as connection:
            kept = await kept_json(connection, subject.id)
        return None if kept is None else kept.under(subject.upstream)
