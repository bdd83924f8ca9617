"""The index service's answers about what is held back: the explanation of a project, all holds, the mirrors' state.

What the caller may not know of private bases is not told: such a member stands without its name, and its upstream,
words and exemptions are left out.
Source: architecture sections 3 and 11.5; contract python-index section 6.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from packaging.version import InvalidVersion, Version
from pydantic import BaseModel, ConfigDict, Field

from countermark.core.names import IndexName, InvalidName, NormalizedName, parse_project_name
from services.index import explaining
from services.index.explained import MOST_FILES, FileLine, Member, exemptions, of_release, offered
from services.index.explaining import Explanation, HoldLine
from services.index.mirroring import Mirroring
from services.index.reader import Reader
from shared.auth.access import credentials_in, may_read, reader
from shared.auth.directory import IndexRecord
from shared.auth.principal import Principal
from shared.auth.verifier import Verifier
from shared.catalogue.mirror_listings import NOTHING_KEPT, MirrorState, mirror_states
from shared.catalogue.mirror_pages import MirrorId, Validity
from shared.errors import ErrorKind, ServiceError
from shared.ids import IndexId
from shared.paging import After, Page, cursor_text, decode_cursor, encode_cursor
from shared.reading.access import Place
from shared.reading.api import readable_index
from shared.reading.policy import Hidden
from shared.reading.resolution import MIRROR
from shared.reading.views import Views
from shared.resources import Resources

_AT_ONCE = 4
"""Explanations that a process puts together at the same time, the others wait: one of 10,000 files takes 0.2 s of CPU,
and whoever may read an index may ask."""

_INSTALLERS = "pip, uv, poetry, pdm and others that read simple pages"
_PRE = "the same, where pre-releases are allowed"
_COUNTERMARK = "countermark, which takes what is hosted and signed alone"

Projects = Annotated[int, Query(ge=1, le=100, description="projects of this page at the most")]
Release = Annotated[str | None, Query(max_length=128, description="only the files of this release")]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class Held(_Answer):
    """Why something is not shown; `index` is whose rule it is, null when that is not for the caller to know."""

    rule: str = Field(description="reserved, denied, not-allowed, quarantined, too-new, undated, held")
    index: str | None
    reason: str
    until: datetime | None = Field(description="when it ends by itself; null when it does not")


class UpstreamState(_Answer):
    """How a mirror stands with its upstream about a project."""

    url: str | None
    confirmed_at: datetime | None = Field(description="when it last said that it has what is kept")
    stale_since: datetime | None = Field(description="set when what is shown should have been confirmed and was not")
    failing_since: datetime | None
    failure: str | None
    retry_at: datetime | None


class ExplainedMember(_Answer):
    """A member of the view, in the order in which they are asked; `index` null: not for the caller to know."""

    index: str | None
    type: str
    state: str = Field(
        description="shows, held-back, empty, nothing, shut-out, quarantined, behind-quarantine, hidden, away, unset"
    )
    by: str | None = Field(description="the nearer index that shuts it out")
    reason: str | None = Field(description="of a quarantine")
    hidden: Held | None = Field(description="the rule for which its upstream is not asked for the name")
    upstream: UpstreamState | None


class ExplainedFile(_Answer):
    """A file that is shown or held back."""

    filename: str
    version: str | None
    index: str | None = Field(description="where it comes from")
    mirrored: bool
    shown: bool
    yanked: bool
    uploaded_at: str | None
    hidden: Held | None


class Client(_Answer):
    """What a kind of client takes when it is asked for the newest release, or for the one that was asked about."""

    kind: str = Field(description="installers, installers-pre, countermark")
    who: str
    latest: str | None


class GivenExemption(_Answer):
    """Leave to be shown before it is old enough, given by `index`."""

    index: str
    version: str | None
    owner: str
    reason: str
    until: datetime


class ExplainedProject(_Answer):
    """Why a project shows as it does in an index."""

    index: str
    project: str
    version: str | None
    at: datetime
    found: bool = Field(description="whether a file is shown")
    members: list[ExplainedMember]
    whitelist_opens: bool = Field(description="whether a whitelist lets mirrors add to a name that a stage holds")
    clients: list[Client]
    without_rules: str | None = Field(description="what installers would take if nothing were held back")
    shown: int
    hidden: int
    files: list[ExplainedFile] = Field(description=f"newest release first, {MOST_FILES} at the most")
    exemptions: list[GivenExemption]


class Hold(_Answer):
    """A release that is held back, or a whole project (`version` null)."""

    project: str
    version: str | None
    files: int
    uploaded_at: datetime | None
    mirror: str | None
    hidden: Held


class Mirror(_Answer):
    """A mirror that an index shows, and how it stands."""

    index: str
    url: str | None
    projects: int = Field(description="of which a page is kept")
    confirmed_at: datetime | None
    failing: int = Field(description="pages whose last attempt failed")
    failing_since: datetime | None
    failure: str | None


class Mirrors(_Answer):
    """The mirrors of an index that the caller may read, in the order in which they are asked."""

    items: list[Mirror]


class HoldRoutes:
    """`explain`, `holds` and `mirrors` below `/api/v1/indexes/{owner}/{index}`."""

    def __init__(self, resources: Resources, verifier: Verifier, mirroring: Mirroring, pages: Reader) -> None:
        self._resources = resources
        self._verifier = verifier
        self._views = Views(resources.directory)
        self._sources = explaining.Sources(resources, mirroring, pages, asyncio.Semaphore(_AT_ONCE))
        self.router = router = APIRouter(prefix="/api/v1/indexes/{owner}/{index}")
        router.get("/explain/{project}")(self.explain)
        router.get("/holds")(self.holds)
        router.get("/mirrors")(self.mirrors)

    async def explain(
        self, owner: str, index: str, project: str, request: Request, version: Release = None
    ) -> ExplainedProject:
        """Tell why a project shows as it does: which member has it, what is held back by which rule, until when."""
        record, principal = await self._entered(request, owner, index)
        name, release = _project(project), None if version is None else _version(version)
        # Who may read the answer is decided above; `open` only decides the headers of the page, which are not used.
        place = Place(record, open=False, view=self._views.of(record))
        found = await explaining.explain(self._sources, place, name, lambda member: may_read(principal, member))
        return await asyncio.to_thread(_explained, found, release)

    async def holds(
        self, owner: str, index: str, request: Request, limit: Projects = 50, after: After = None
    ) -> Page[Hold]:
        """List what of the kept projects is held back now, by name. A page may hold fewer projects than it could."""
        record, principal = await self._entered(request, owner, index)
        view = self._views.of(record)
        order = (record,) if view is None else view.order
        known = [member for member in order if member.type != MIRROR or may_read(principal, member)]
        last = "" if after is None else cursor_text(decode_cursor(after), "project")
        lines, seen = await explaining.holds(self._resources, known, last, limit)
        names = {str(member.name) for member in known if may_read(principal, member)}
        return Page(
            items=[_hold(line, names) for line in lines],
            next=None if seen is None else encode_cursor({"project": seen}),
        )

    async def mirrors(self, owner: str, index: str, request: Request) -> Mirrors:
        """Tell how the mirrors that an index shows stand with their upstreams."""
        record, principal = await self._entered(request, owner, index)
        view = self._views.of(record)
        order = () if view is None else view.order
        found = [member for member in order if member.type == MIRROR and may_read(principal, member)]
        async with self._resources.engine.connect() as connection:
            states = await mirror_states(connection, [MirrorId(one.id, one.life) for one in found])
        return Mirrors(items=[_mirror(one, states.get(one.id, NOTHING_KEPT)) for one in found])

    async def _entered(self, request: Request, owner: str, index: str) -> tuple[IndexRecord, Principal]:
        record = await readable_index(self._resources, self._verifier, request, owner, index)
        return record, await reader(self._verifier, credentials_in(request.headers))


def _explained(found: Explanation, version: str | None) -> ExplainedProject:
    scene = found.scene
    names = {str(member.name) for member in scene.order if scene.name(member) is not None}
    files = found.files if version is None else of_release(found.files, version)
    shown, pinned = [line for line in files if line.shown], version is not None
    signed = [line for line in shown if not line.mirrored]
    clients = (
        ("installers", _INSTALLERS, offered(shown, pinned=pinned)),
        ("installers-pre", _PRE, offered(shown, pinned=pinned, pre=True)),
        ("countermark", _COUNTERMARK, offered(signed, pinned=pinned)),
    )
    return ExplainedProject(
        index=str(scene.asked.name),
        project=scene.project,
        version=version,
        at=scene.now,
        found=any(line.shown for line in files),
        members=[_member(told, member, found, names) for told, member in zip(found.members, scene.order, strict=True)],
        whitelist_opens=found.opened,
        clients=[Client(kind=kind, who=who, latest=latest) for kind, who, latest in clients],
        without_rules=offered(files, pinned=pinned),
        shown=sum(line.shown for line in files),
        hidden=sum(not line.shown for line in files),
        files=[_file(line, names) for line in files[:MOST_FILES]],
        exemptions=[
            GivenExemption(index=str(index), version=one.version, owner=one.owner, reason=one.reason, until=one.until)
            for index, one in exemptions(scene, scene.asked_for())
        ],
    )


def _member(told: Member, member: IndexRecord, found: Explanation, names: set[str]) -> ExplainedMember:
    known = told.index is not None and member.type == MIRROR
    return ExplainedMember(
        index=told.index,
        type=told.type,
        state=told.state,
        by=told.by,
        reason=told.reason,
        hidden=_held(told.hidden, names),
        upstream=_upstream(member, found.validity.get(member.id), found.stale_since) if known else None,
    )


def _upstream(mirror: IndexRecord, validity: Validity | None, stale_since: Mapping[IndexId, datetime]) -> UpstreamState:
    return UpstreamState(
        url=None if mirror.mirror is None else mirror.mirror.url,
        confirmed_at=None if validity is None else validity.checked_at,
        stale_since=stale_since.get(mirror.id),
        failing_since=None if validity is None else validity.failing_since,
        failure=None if validity is None else validity.failure,
        retry_at=None if validity is None else validity.retry_at,
    )


def _file(line: FileLine, names: set[str]) -> ExplainedFile:
    hidden = _held(line.hidden, names)
    if hidden is None and line.held:
        hidden = Held(rule="held", index=None, reason="this index holds a file of this name for review", until=None)
    return ExplainedFile(
        filename=line.filename,
        version=line.version,
        index=line.index,
        mirrored=line.mirrored,
        shown=line.shown,
        yanked=line.yanked,
        uploaded_at=line.uploaded_at,
        hidden=hidden,
    )


def _held(hidden: Hidden | None, names: set[str]) -> Held | None:
    """Return why something is held, without the name and words of an index that is not for the caller to know."""
    if hidden is None:
        return None
    known = str(hidden.index) in names
    index, reason = (str(hidden.index), hidden.reason) if known else (None, "")
    return Held(rule=hidden.rule, index=index, reason=reason, until=hidden.until)


def _hold(line: HoldLine, names: set[str]) -> Hold:
    held = _held(line.hidden, names)
    assert held is not None
    return Hold(
        project=line.project,
        version=line.version,
        files=line.files,
        uploaded_at=line.uploaded_at,
        mirror=_known(line.mirror.name, names),
        hidden=held,
    )


def _mirror(mirror: IndexRecord, state: MirrorState) -> Mirror:
    return Mirror(
        index=str(mirror.name),
        url=None if mirror.mirror is None else mirror.mirror.url,
        projects=state.projects,
        confirmed_at=state.confirmed_at,
        failing=state.failing,
        failing_since=state.failing_since,
        failure=state.failure,
    )


def _known(index: IndexName, names: set[str]) -> str | None:
    return str(index) if str(index) in names else None


def _project(text: str) -> NormalizedName:
    try:
        return parse_project_name(text)
    except InvalidName as error:
        raise ServiceError(ErrorKind.INVALID, f"{error}.") from error


def _version(text: str) -> str:
    try:
        return str(Version(text))
    except InvalidVersion as error:
        raise ServiceError(ErrorKind.INVALID, f"{text[:80]!r} is no version (PEP 440).") from error
