"""Gathers what an explanation and the lists of what is held back are made of; `services.index.explained` judges.

An explanation asks as a page does: a mirror's upstream is asked for what is not kept or not fresh any more, and never
for a name that is kept from it. The lists look at what is kept and ask nobody.
Source: architecture sections 5.9, 11.5 and 11.6.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from countermark.core.names import NormalizedName
from services.index.explained import FileLine, Member, MirrorFiles, Scene, State, file_lines, members
from services.index.mirror_subjects import UpstreamAway
from services.index.mirroring import Mirroring
from services.index.reader import Reader
from services.index.rules import PageWanted
from shared.auth.directory import IndexRecord
from shared.catalogue.merged import held_names, in_indexes, standings
from shared.catalogue.mirror_listings import KeptName, kept_names
from shared.catalogue.mirror_pages import MirrorId, Validity, kept_pages
from shared.formats.python.origins import Origins, unpack_origins
from shared.ids import IndexId
from shared.reading.access import Place
from shared.reading.merging import members_showing
from shared.reading.mirrored import policies_of
from shared.reading.policy import Hidden, Policy, about, judge_age, judge_name
from shared.reading.resolution import MIRROR
from shared.resources import Resources

_LOOKED_AT = 2_000
"""Names of kept projects that one page of a list of holds looks at."""

_OPENED = 200
"""Projects that it looks into."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was found out about a project.

    Attributes:
        files: all of them, newest release first.
        validity: of what each mirror keeps of the project.
        stale_since: mirror -> when its upstream last confirmed what is shown, where it should have been asked again.
    """

    scene: Scene
    members: list[Member]
    files: list[FileLine]
    validity: dict[IndexId, Validity]
    stale_since: dict[IndexId, datetime]
    opened: bool
    """Whether a whitelist lets mirrors add to a name that a stage holds."""


@dataclass(frozen=True, slots=True)
class HoldLine:
    """A release, or a whole project (`version` None), that is held back now.

    Attributes:
        files: of the release; 0 where the project's name is held.
        uploaded_at: of its newest file, None when it is not known.
    """

    project: NormalizedName
    version: str | None
    files: int
    uploaded_at: datetime | None
    hidden: Hidden
    mirror: IndexRecord


@dataclass(frozen=True, slots=True)
class Sources:
    """Whom to ask; `turns` bounds how many explanations are put together at the same time."""

    resources: Resources
    mirroring: Mirroring
    reader: Reader
    turns: asyncio.Semaphore


async def explain(
    sources: Sources, place: Place, project: NormalizedName, readable: Callable[[IndexRecord], bool]
) -> Explanation:
    """Find out why a project shows as it does.

    Raises:
        ServiceError: UNAVAILABLE; a page's stored bytes cannot be served.
    """
    resources = sources.resources
    order = (place.record,) if place.view is None else place.view.order
    async with resources.engine.connect() as connection:
        there = await in_indexes(connection, [member.id for member in order], project)
        held = await held_names(connection, place.record.id, project)
    standing = {index_id: found.standing for index_id, found in there.items()}
    scene = Scene(order, project, standing, readable, resources.clock.now())
    mirrors = scene.asked_for()
    pages = await asyncio.gather(*(sources.mirroring.page(one, project) for one in mirrors), return_exceptions=True)
    found, files, stale = {}, [], {}
    for mirror, page in zip(mirrors, pages, strict=True):
        if isinstance(page, UpstreamAway):
            found[mirror.name] = State.AWAY
            continue
        if isinstance(page, BaseException):
            raise page
        unset = mirror.mirror is None or mirror.mirror.url is None
        nothing = State.UNSET if unset else State.NOTHING
        found[mirror.name] = nothing if page.document is None else State.SHOWS
        files.append(MirrorFiles(mirror, page.document, page.origins))
        if page.stale_since is not None:
            stale[mirror.id] = page.stale_since
    has_page = any(one.document is not None for one in files) or any(one.holds for one in standing.values())
    # Where nobody has it and an upstream is away, asking for the page would ask the upstream once more.
    body = None
    if has_page or State.AWAY not in found.values():
        document = await sources.reader.document(place, PageWanted(project))
        body = await document.text() if document.status == 200 else None
    async with sources.turns:
        lines = await asyncio.to_thread(file_lines, scene, body, files, held)
    for one in files:
        of_mirror = [line for line in lines if line.index is not None and line.index == scene.name(one.mirror)]
        if of_mirror and not any(line.shown for line in of_mirror):
            found[one.mirror.name] = State.HELD_BACK
    async with resources.engine.connect() as connection:
        ids = [MirrorId(member.id, member.life) for member in order if member.type == MIRROR]
        validity = {index_id: kept.validity for index_id, kept in (await kept_pages(connection, ids, project)).items()}
    opened = bool(mirrors) and any(one.holds for one in standing.values())
    return Explanation(scene, members(scene, found), lines, validity, stale, opened)


async def holds(
    resources: Resources, order: Sequence[IndexRecord], after: str, limit: int
) -> tuple[list[HoldLine], str | None]:
    """Return what of the kept projects is held back in an index now, by name, and the last name that was looked at,
    None at the end.

    Args:
        order: as `resolution_order` returns it.
        limit: projects, each with all its releases that are held.
    """
    mirrors = [member for member in order if member.type == MIRROR]
    judging = _Judging(resources, order, {mirror.id: policies_of(order[0], mirror) for mirror in mirrors})
    age = max((policy.min_age for policy in judging.all), default=timedelta(0))
    named = any(map(_names, judging.all))
    if not (age or named):
        return [], None
    now = resources.clock.now()
    ids = [MirrorId(mirror.id, mirror.life) for mirror in mirrors]
    newer_than = now - age if age else None
    async with resources.engine.connect() as connection:
        names = await kept_names(connection, ids, newer_than=newer_than, all_names=named, after=after, limit=_LOOKED_AT)
    lines: list[HoldLine] = []
    projects = opened = 0
    for kept in names:
        by_name = judging.by_name(kept.project)
        if not kept.recent and not any(by_name.values()):
            continue
        of_project = await judging.held(mirrors, kept, by_name, now)
        opened += 1
        projects += bool(of_project)
        lines += of_project
        if (projects >= limit or opened >= _OPENED) and kept is not names[-1]:
            return lines, kept.project
    return lines, names[-1].project if len(names) == _LOOKED_AT else None


@dataclass(frozen=True, slots=True)
class _Judging:
    """What is held back in a view; `policies` by mirror."""

    resources: Resources
    order: Sequence[IndexRecord]
    policies: Mapping[IndexId, Sequence[Policy]]

    @property
    def all(self) -> list[Policy]:
        return [policy for some in self.policies.values() for policy in some]

    def by_name(self, project: NormalizedName) -> dict[IndexId, Hidden | None]:
        """Return which rule hides the name, for each mirror."""
        return {mirror: judge_name(policies, project) for mirror, policies in self.policies.items()}

    async def held(
        self, mirrors: Sequence[IndexRecord], kept: KeptName, by_name: Mapping[IndexId, Hidden | None], now: datetime
    ) -> list[HoldLine]:
        """Return what is held back of a project."""
        asked = await self._asked(kept.project)
        lines = [
            HoldLine(kept.project, None, 0, None, hidden, mirror)
            for mirror in mirrors
            if mirror.id in asked and (hidden := by_name[mirror.id]) is not None
        ][:1]
        others = [mirror for mirror in mirrors if mirror.id in asked and by_name[mirror.id] is None]
        if kept.recent and others:
            ids = [MirrorId(mirror.id, mirror.life) for mirror in others]
            async with self.resources.engine.connect() as connection:
                pages = await kept_pages(connection, ids, kept.project)
            for mirror in others:
                if mirror.id in pages and (origins := pages[mirror.id].origins) is not None:
                    policies = self.policies[mirror.id]
                    lines += await asyncio.to_thread(_too_new, mirror, policies, kept.project, origins, now)
        return lines

    async def _asked(self, project: NormalizedName) -> frozenset[IndexId]:
        """Return the members that show the project: a mirror behind a private name holds nothing back."""
        if len(self.order) == 1:
            return frozenset([self.order[0].id])
        async with self.resources.engine.connect() as connection:
            there = await standings(connection, [member.id for member in self.order], project)
        return frozenset(member.id for member in members_showing(self.order, project, there))


def _too_new(
    mirror: IndexRecord, policies: Sequence[Policy], project: NormalizedName, origins: Origins, now: datetime
) -> list[HoldLine]:
    """Return the releases with files that are held back for their age, each with the last of its unlocks. Blocking."""
    policies = about(policies, project)
    found: dict[str, HoldLine] = {}
    for origin, version in unpack_origins(origins).values():
        hidden = judge_age(policies, project, version, origin.uploaded_at, now)
        if hidden is None:
            continue
        line = found.get(version) or HoldLine(project, version, 0, origin.uploaded_at, hidden, mirror)
        later = max(line.hidden, hidden, key=lambda one: (one.until is None, one.until or now))
        dates = [date for date in (line.uploaded_at, origin.uploaded_at) if date is not None]
        found[version] = replace(line, files=line.files + 1, hidden=later, uploaded_at=max(dates, default=None))
    return list(found.values())


def _names(policy: Policy) -> bool:
    """Return whether a policy judges names."""
    return bool(policy.reserved or policy.denied or policy.quarantined) or policy.allowed is not None
