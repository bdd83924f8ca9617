"""Keeps the pages of mirrors true: from the catalogue while they are fresh, else from the upstream, else as they were.

One process at a time asks for a page, the others wait for what it finds. Where an older page is kept, nobody waits
long: it is served, marked as stale, while the question goes on. Where nothing is kept and the upstream is away, that is
said; nothing is pretended.
Source: contract python-index section 5.1; architecture section 11.6; ADR 0028.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from countermark.core.names import NormalizedName
from services.index.flights import LONGEST_WAIT, Flights
from services.index.mirror_packing import Changed, held_page, pack_page, seen_after
from services.index.mirror_subjects import MirroredList, MirroredPage, Subject, SubjectKey, Tell, UpstreamAway, opened
from services.index.upstreams import Absent, AskFailed, Found, Known, Projects, Unchanged, Upstreams
from shared.auth.directory import IndexRecord
from shared.catalogue import audit, fetches, mirror_faults, mirror_pages
from shared.catalogue.engine import one_by_one
from shared.catalogue.fetches import Turn
from shared.catalogue.mirror_faults import KeptOrigins, Withdrawn
from shared.catalogue.mirror_pages import LIST, Confirmation, KeptPage, NewPage
from shared.leisure import Hurry
from shared.reading.mirror_options import MirrorOptions
from shared.reading.policy import judge_name
from shared.resources import Resources
from shared.threads import sized
from shared.upstream_secrets import authorization_for

log = structlog.get_logger()

_AGAIN, _SLOW = timedelta(seconds=2), "it is slow"
"""When to come again after the time ran out, and what is said then."""

_MOST_FLIGHTS = 1_000
"""Pages that a process asks for at the same time: anybody may think of names, and each would wait for its turn."""

_HELD, _HELD_EACH = 8 << 10, 4
"""Bytes that an answered page takes until it is kept, for all that waits with it, and as many more for each of its
document: itself and what is known of its files (3.45 measured, with pages of 3 to 1,000 files)."""

_Look = tuple[KeptPage | None, Withdrawn, bool]
"""What is kept, what it does not announce, and whether the upstream was asked for it just now."""

_DAY = timedelta(days=1)


class Mirroring:
    """Pages of mirrors."""

    def __init__(self, resources: Resources, upstreams: Upstreams) -> None:
        self._resources = resources
        self._settings = resources.settings.mirrors
        self._upstreams = upstreams
        self._flights = Flights[SubjectKey, KeptPage | None](resources)
        self._looks = Flights[SubjectKey, _Look | MirroredPage](resources)

    async def page(self, mirror: IndexRecord, project: NormalizedName, *, force: bool = False) -> MirroredPage:
        """Return a mirror's page of a project.

        A name that the mirror's policy hides is never asked for upstream: it is absent here. So is everything while no
        upstream is set.

        Args:
            force: ask the upstream though what is kept is fresh, for all of it, and wait for it.

        Raises:
            UpstreamAway: nothing is kept, and the upstream gives no answer.
        """
        subject = Subject(mirror, project)
        now = self._resources.clock.now()
        closed = mirror.policy is not None and judge_name([mirror.policy], project) is not None
        if closed or subject.options.url is None:
            return MirroredPage(None, None, 0, now + _DAY)
        if force or self._crowded or self._upstreams.shut(subject.options) is not None:
            async with one_by_one(self._resources.engine) as connection:
                found, withdrawn = await mirror_faults.kept_with_withdrawn(connection, subject.id, project, now)
            kept, stale = await self._current(subject, found, now, force=force)
        else:
            looked = await self._looked(subject, now)
            if isinstance(looked, MirroredPage):
                return looked
            kept, withdrawn, stale = looked
        if kept is None:
            return MirroredPage(None, None, 0, now + timedelta(seconds=self._settings.absent))
        return await opened(kept, withdrawn, stale=stale)

    async def projects(self, mirror: IndexRecord) -> MirroredList:
        """Return a mirror's list of projects, as its upstream has it.

        Raises:
            UpstreamAway: no list is kept, and the upstream gives no answer.
        """
        subject, now = Subject(mirror, LIST), self._resources.clock.now()
        if subject.options.url is None or not subject.options.lists:
            return MirroredList(None, 0, now + _DAY)
        kept, stale = await self._current(subject, await self._kept(subject), now)
        if kept is None:
            return MirroredList(None, 0, now + timedelta(seconds=self._settings.absent))
        since = kept.validity.checked_at if stale else None
        return MirroredList(kept.document, kept.validity.serial or 0, kept.validity.fresh_until, since)

    @property
    def _crowded(self) -> bool:
        return len(self._flights) + len(self._looks) >= _MOST_FLIGHTS

    async def settled(self, mirror: IndexRecord, project: NormalizedName) -> bool:
        """Wait until a page that was answered is kept too: other processes know it from then on. False when it could
        not be kept."""
        return await self._looks.over(Subject(mirror, project).key)

    async def _looked(self, subject: Subject, now: datetime) -> tuple[KeptPage | None, Withdrawn, bool] | MirroredPage:
        """Return what is kept of a page, what it does not announce, and whether it is stale; or the page that was
        asked for now, since nothing was kept.

        Raises:
            UpstreamAway: nothing is kept, and the upstream gives no answer.
        """

        def look(tell: Callable[[MirroredPage], None], hurry: Hurry) -> Coroutine[Any, Any, _Look | MirroredPage]:
            return self._look(subject, now, Tell(tell, hurry))

        try:
            looked = await self._looks.join(subject.key, look, LONGEST_WAIT)
        except TimeoutError as error:
            raise _away(subject, AskFailed(_SLOW, _AGAIN)) from error
        except AskFailed as error:
            raise _away(subject, error) from error
        if isinstance(looked, MirroredPage):
            return looked
        found, withdrawn, asked = looked
        kept, stale = (found, False) if asked else await self._current(subject, found, now)
        return kept, withdrawn, stale

    async def _look(self, subject: Subject, now: datetime, tell: Tell) -> _Look:
        """Look for a page, and ask for it in the same turn if nobody ever did and nobody is about to.

        What is asked for now is told before it is kept, if files are answered by this process too.

        Raises:
            AskFailed: nothing is kept, and there is no usable answer.
        """
        unless = mirror_faults.unless_asked(subject.id, subject.project, now)
        async with fetches.turn(self._resources.engine, subject.what, unless) as turn:
            assert turn.found is not None, "a look finds a row"
            kept, withdrawn = mirror_faults.both_of(turn.found)
            if not turn.mine:
                return kept, withdrawn, False
            answered = self._resources.answered

            def tell_first(page: MirroredPage) -> None:
                assert page.changed_at is not None, "it was asked for"
                of_files = KeptOrigins(page.origins, page.changed_at, page.fresh_until, withdrawn)
                answered.begin(subject.id, subject.project, of_files)
                tell.page(replace(page, withdrawn=withdrawn))

            self._resources.metrics.upstream_wanted(str(subject.mirror.name), shut=False)
            kept = None
            try:
                kept = await self._ask(
                    subject, None, turn, tell=Tell(tell_first, tell.hurry) if answered.followed else None
                )
            finally:
                answered.end(subject.id, subject.project, kept=kept is not None)
            return kept, withdrawn, True

    async def _current(
        self, subject: Subject, found: KeptPage | None, now: datetime, *, force: bool = False
    ) -> tuple[KeptPage | None, bool]:
        """Return what is kept once the upstream was asked, if it is to be, and whether it is stale all the same; None
        when the upstream has no such thing.

        Args:
            found: what is kept now.

        Raises:
            UpstreamAway: nothing is kept, and the upstream gives no answer.
        """
        kept = None if found is None else found.under(subject.upstream)
        if kept is not None and kept.validity.is_fresh(now) and not force:
            return kept, False
        failure = self._upstreams.shut(subject.options)
        name, metrics = str(subject.mirror.name), self._resources.metrics
        metrics.upstream_wanted(name, shut=failure is not None)
        if failure is None and self._crowded:
            failure = AskFailed("too many pages are being asked for at the same time", _AGAIN)
        if failure is None and (kept is None or kept.validity.may_ask(now)):
            try:
                kept = await self._waited(subject, kept, force=force)
            except AskFailed as error:
                failure = error
        if kept is None and failure is not None:
            raise _away(subject, failure) from failure
        stale = kept is not None and not kept.validity.is_fresh(now)
        if stale:
            metrics.upstream_stale(name)
        return kept, stale

    async def _waited(self, subject: Subject, kept: KeptPage | None, *, force: bool) -> KeptPage | None:
        """Have the upstream asked and wait for it, not for ever; returns what is kept then, None for no such project.

        Raises:
            AskFailed: there is no usable answer, or not yet.
        """
        patience = LONGEST_WAIT if kept is None or force else self._settings.patience
        try:
            return await self._flights.join(subject.key, lambda *_: self._refresh(subject, kept, whole=force), patience)
        except TimeoutError as error:
            raise AskFailed(_SLOW, _AGAIN) from error

    async def _refresh(self, subject: Subject, kept: KeptPage | None, *, whole: bool) -> KeptPage | None:
        """Ask the upstream, or wait until another process has.

        Args:
            whole: ask for all of it, though nothing may have changed.

        Raises:
            AskFailed: there is no usable answer.
        """

        async def look() -> KeptPage | None:
            now = await self._kept(subject)
            newer = now is not None and (kept is None or now.validity.checked_at > kept.validity.checked_at)
            return now if newer else None

        return await self._flights.elected(subject.what, lambda turn: self._ask(subject, kept, turn, whole=whole), look)

    async def _ask(
        self, subject: Subject, kept: KeptPage | None, turn: Turn, *, whole: bool = False, tell: Tell | None = None
    ) -> KeptPage | None:
        """Ask the upstream, and keep what it says.

        Args:
            tell: answers those who wait for a page of which nothing is kept, before it is.

        Raises:
            AskFailed: there is no usable answer; that is noted.
        """
        asked_at = self._resources.clock.now()
        known = None
        if kept is not None:
            tagged = kept.document is not None and not whole
            known = Known(kept.validity.etag if tagged else None, kept.validity.serial)
        credentials = authorization_for(self._settings.credentials, subject.mirror.name, subject.options.url)
        try:
            answer: Unchanged | Absent | Found | Projects
            if subject.project == LIST:
                answer = await self._upstreams.projects(subject.options, credentials, known)
            else:
                answer = await self._upstreams.page(subject.options, credentials, subject.project, known)
        except AskFailed as error:
            log.warning("upstream_failed", index=str(subject.mirror.name), project=subject.project, error=str(error))
            self._resources.metrics.upstream_answered(str(subject.mirror.name), good=False)
            async with one_by_one(self._resources.engine) as connection:
                retry_at = asked_at + error.pause
                await mirror_pages.note_failure(connection, subject.id, subject.project, str(error), asked_at, retry_at)
            raise
        self._resources.metrics.upstream_answered(str(subject.mirror.name), good=True)
        match answer:
            case Unchanged(max_age):
                assert kept is not None, "only what is kept is asked for conditionally"
                fresh_until = asked_at + self._freshness(subject.options, max_age)
                said = Confirmation(kept.validity.etag, asked_at, fresh_until)
                return await self._confirmed(subject, kept, said, turn)
            case Absent():
                if kept is None and subject.project != LIST:
                    # What never was there is not written down: strangers could fill the catalogue with names.
                    return None
                seen = None if kept is None else await asyncio.to_thread(seen_after, kept)
                fresh_until = asked_at + timedelta(seconds=self._settings.absent)
                serial = None if kept is None else kept.validity.serial
                page = NewPage(None, None, seen, subject.upstream, serial, None, asked_at, fresh_until)
                return await self._replaced(subject, page, (), turn)
            case Projects(packed, serial, etag, max_age):
                fresh_until = asked_at + self._freshness(subject.options, max_age)
                if kept is not None and kept.validity.serial == serial and kept.says(subject.upstream, packed):
                    return await self._confirmed(subject, kept, Confirmation(etag, asked_at, fresh_until), turn)
                page = NewPage(packed, None, None, subject.upstream, serial, etag, asked_at, fresh_until)
                return await self._replaced(subject, page, (), turn)
            case Found():
                return await self._taken_over(subject, kept, answer, asked_at, turn, tell)

    async def _taken_over(
        self, subject: Subject, kept: KeptPage | None, found: Found, asked_at: datetime, turn: Turn, tell: Tell | None
    ) -> KeptPage:
        """Keep a page, unless it says what is kept already."""
        if found.page.skipped:
            why = dict(found.page.skipped)
            log.info("upstream_files_left_out", index=str(subject.mirror.name), project=subject.project, why=why)
        fresh_until = asked_at + self._freshness(subject.options, found.max_age)
        strict = not subject.mirror.volatile
        weight = len(found.page.files) << 9
        held, document = await sized(weight, held_page, subject.mirror.name, kept, found.page, strict)

        async def packed() -> tuple[NewPage, Changed]:
            packed_document, origins, seen, changed, ages = await sized(weight, pack_page, document, held)
            told = (found.page.serial, found.etag, asked_at, fresh_until, *ages)
            return NewPage(packed_document, origins, seen, subject.upstream, *told), changed

        if tell is not None and kept is None and found.page.files:
            tell.page(MirroredPage(document, held.page.files, held.page.serial or 0, fresh_until, None, asked_at))
            # The clients first: what is kept takes as long as what is answered.
            async with self._resources.leisure.put_off(_HELD + _HELD_EACH * len(document), tell.hurry) as waited:
                later = waited and not tell.hurry.asked
                return await self._replaced(subject, *await packed(), turn, later=later)
        page, changed = await packed()
        if kept is not None and kept.says(subject.upstream, page.document, page.origins, page.seen):
            return await self._confirmed(subject, kept, Confirmation(found.etag, asked_at, fresh_until), turn)
        if kept is None and not found.page.files:
            # Some upstreams have an empty page for every name: as little to be written down as what is not there.
            return page.kept()
        return await self._replaced(subject, page, changed, turn)

    async def _confirmed(self, subject: Subject, kept: KeptPage, said: Confirmation, turn: Turn) -> KeptPage:
        async with one_by_one(self._resources.engine) as connection:
            await mirror_pages.confirm(connection, subject.id, subject.project, said, turn)
        return kept.confirmed(said)

    async def _replaced(
        self, subject: Subject, page: NewPage, changed: Changed, turn: Turn, *, later: bool = False
    ) -> KeptPage:
        """Keep another page than before; tells of digests that changed.

        Args:
            later: whether nobody waits for it: it is kept together with others then.
        """
        engine = self._resources.engine
        if later and not changed:
            await mirror_pages.keep(engine, subject.id, subject.project, page, turn)
            return page.kept()
        async with engine.begin() if changed else one_by_one(engine) as connection:
            for name, first, now in changed:
                await audit.record(
                    connection,
                    at=page.asked_at,
                    actor="upstream",
                    action="mirror.digest-changed",
                    subject=f"{subject.mirror.name}/{subject.project}",
                    file_name=name,
                    first_seen=first,
                    now=now,
                )
            await mirror_pages.keep(connection, subject.id, subject.project, page, turn)
        for name, first, now in changed:
            self._resources.metrics.upstream_alarm("digest-changed")
            log.error("upstream_changed_a_file", index=str(subject.mirror.name), file=name, first_seen=first, now=now)
        return page.kept()

    def _freshness(self, options: MirrorOptions, max_age: int | None) -> timedelta:
        """Return how long a page is used without asking: as the mirror says, or less when the upstream says so."""
        expiry = self._settings.expiry if options.expiry is None else options.expiry
        return timedelta(seconds=expiry if max_age is None else min(expiry, max_age))

    async def _kept(self, subject: Subject) -> KeptPage | None:
        async with one_by_one(self._resources.engine) as connection:
            kept = await mirror_pages.kept_page(connection, subject.id, subject.project)
        return None if kept is None else kept.under(subject.upstream)


def _away(subject: Subject, failure: AskFailed) -> UpstreamAway:
    """Return what is said when nothing is kept and the upstream gives no answer."""
    return UpstreamAway(f"the upstream of {subject.mirror.name} gives no answer: {failure}", failure.pause or _AGAIN)
