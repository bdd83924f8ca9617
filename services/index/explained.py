"""Why a project shows as it does in an index: what the members of its view do, and which rule hides which file. Pure.

What is shown is read from the page that is served; what is hidden is judged by the functions that made that page
(`shared.reading.policy`, `shared.reading.merging`), with the same facts. So an explanation cannot say something else
than the page does.
Source: architecture sections 5.9 and 11.5; contract python-index sections 5.3 and 6.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

import orjson
from packaging.version import InvalidVersion, Version

from countermark.core.names import FileName, IndexName, NormalizedName
from shared.auth.directory import IndexRecord
from shared.formats.python.foreign import version_named
from shared.formats.python.merged import origin_of
from shared.formats.python.origins import Origins, unpack_origins
from shared.reading.facts import Standing
from shared.reading.merging import members_showing
from shared.reading.mirrored import policies_of
from shared.reading.policy import Exemption, Hidden, about, judge_age, judge_name
from shared.reading.resolution import MIRROR, showing

MOST_FILES = 1_000
"""Files of an explanation; those of the newest releases come first."""


class State(StrEnum):
    """What a member of a view does with a project."""

    SHOWS = "shows"
    HELD_BACK = "held-back"
    """It has files, and rules hold all of them back."""
    EMPTY = "empty"
    """It holds the name, and lists no file."""
    NOTHING = "nothing"
    SHUT_OUT = "shut-out"
    """A nearer stage holds the name, so that this mirror is not asked."""
    QUARANTINED = "quarantined"
    BEHIND = "behind-quarantine"
    """A nearer member has the project in quarantine."""
    HIDDEN = "hidden"
    """A rule hides the name: the upstream is not asked for it."""
    AWAY = "away"
    """Its upstream gives no answer, and nothing is kept of the project."""
    UNSET = "unset"
    """It has no upstream yet."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the view.

    Attributes:
        index: None when it is not for the caller to know.
        by: which nearer member shuts it out.
        reason: of a quarantine.
        hidden: the rule that hides the name.
    """

    index: str | None
    type: str
    state: State
    by: str | None = None
    reason: str | None = None
    hidden: Hidden | None = None


@dataclass(frozen=True, slots=True)
class FileLine:
    """A file and whether it is shown; `index` is None when that is not for the caller to know."""

    filename: FileName
    version: str | None
    index: str | None
    mirrored: bool
    shown: bool
    yanked: bool
    uploaded_at: str | None
    hidden: Hidden | None = None
    held: bool = False
    """Whether the index that was asked holds a file of this name for review."""


@dataclass(frozen=True, slots=True)
class MirrorFiles:
    """What a mirror has of a project: its page document, None for nothing, and the origins of its files."""

    mirror: IndexRecord
    document: bytes | None
    origins: Origins | None


@dataclass(frozen=True, slots=True)
class Scene:
    """The view that is looked at, by whom and when.

    Attributes:
        readable: whether the caller may read a member.
    """

    order: tuple[IndexRecord, ...]
    project: NormalizedName
    standings: Mapping[Any, Standing]
    readable: Callable[[IndexRecord], bool]
    now: datetime
    _known: dict[IndexName, str | None] = field(default_factory=dict)

    @property
    def asked(self) -> IndexRecord:
        """The index that was asked."""
        return self.order[0]

    def name(self, member: IndexRecord) -> str | None:
        """Return a member's name as far as the caller may know it."""
        if member.name not in self._known:
            self._known[member.name] = str(member.name) if self.readable(member) else None
        return self._known[member.name]

    def told(self, hidden: Hidden | None) -> Hidden | None:
        """Return what hides something without the words of an index that the caller may not read."""
        if hidden is None:
            return None
        whose = next((member for member in self.order if member.name == hidden.index), None)
        return hidden if whose is not None and self.name(whose) is not None else replace(hidden, reason="")

    def shown(self) -> tuple[IndexRecord, ...]:
        """Return the members whose pages are merged."""
        return members_showing(self.order, self.project, self.standings)

    def asked_for(self) -> list[IndexRecord]:
        """Return the mirrors that are asked for the project, as pages ask them."""
        return [
            member
            for member in self.shown()
            if member.type == MIRROR and judge_name(policies_of(self.asked, member), self.project) is None
        ]


def members(scene: Scene, found: Mapping[IndexName, State]) -> list[Member]:
    """Return what each member does.

    Args:
        found: state of the mirrors that were asked.
    """
    nothing = Standing(registered=False, files=0, quarantined=None)
    standing = {member.name: scene.standings.get(member.id, nothing) for member in scene.order}
    shown = {member.name for member in scene.shown()}
    let_in = {member.name for member in showing(scene.order, scene.project, lambda member: standing[member.name].holds)}
    closing = next((one for one in scene.order if one.name in shown and standing[one.name].closed), None)
    holder = next((one for one in scene.order if one.type != MIRROR and standing[one.name].holds), None)
    told = []
    for member in scene.order:
        index, kind, here = scene.name(member), member.type, standing[member.name]
        if member.name not in shown and member.name in let_in and closing is not None:
            told.append(Member(index, kind, State.BEHIND, by=scene.name(closing)))
        elif member.type == MIRROR and member.name not in let_in:
            told.append(Member(index, kind, State.SHUT_OUT, by=None if holder is None else scene.name(holder)))
        elif member.type == MIRROR:
            hidden = judge_name(policies_of(scene.asked, member), scene.project)
            state = State.HIDDEN if hidden is not None else found.get(member.name, State.NOTHING)
            told.append(Member(index, kind, state, hidden=scene.told(hidden)))
        elif here.closed:
            told.append(Member(index, kind, State.QUARANTINED, reason=here.quarantined if index else None))
        elif here.files:
            told.append(Member(index, kind, State.SHOWS))
        else:
            told.append(Member(index, kind, State.EMPTY if here.registered else State.NOTHING))
    return told


def file_lines(
    scene: Scene, page: bytes | None, mirrors: Sequence[MirrorFiles], held: Collection[FileName] = ()
) -> list[FileLine]:
    """Return every file that the page lists, and those of mirrors that it does not, with the reason. Blocking.

    Args:
        page: the page document that is served, None when there is none.
        held: names that the index itself holds for review.
    """
    by_name = {member.name: member for member in scene.order}
    listed = [] if page is None else orjson.loads(page)["files"]
    lines: dict[FileName, FileLine] = {}
    for file in listed:
        owner = by_name.get(origin_of(file, scene.asked.name))
        name = FileName(file["filename"])
        index = None if owner is None else scene.name(owner)
        mirrored = owner is not None and owner.type == MIRROR
        version = version_named(name, scene.project)
        lines[name] = FileLine(name, version, index, mirrored, True, *_marks(file))
    for one in mirrors:
        if scene.name(one.mirror) is not None:
            lines |= {line.filename: line for line in _not_shown(scene, one, lines, held)}
    for name in held:
        if name not in lines:
            version = version_named(name, scene.project)
            lines[name] = FileLine(name, version, str(scene.asked.name), False, False, False, None, held=True)
    return sorted(lines.values(), key=_order, reverse=True)


def of_release(lines: Iterable[FileLine], version: str) -> list[FileLine]:
    """Return the files of one release, however it is written."""
    wanted = _version(version)
    return [line for line in lines if _version(line.version) == wanted]


def exemptions(scene: Scene, mirrors: Iterable[IndexRecord]) -> list[tuple[IndexName, Exemption]]:
    """Return the exemptions that concern the project now, with the index that gives each."""
    known = {member.name for member in scene.order if scene.name(member) is not None}
    found: dict[tuple[IndexName, Exemption], None] = {}
    for mirror in mirrors:
        for policy in about(policies_of(scene.asked, mirror), scene.project):
            for one in policy.exemptions:
                if policy.index in known and scene.now < one.until:
                    found[policy.index, one] = None
    return list(found)


def newest(lines: Iterable[FileLine], *, pre: bool = False) -> str | None:
    """Return the version that an installer takes: the newest with a file that is not yanked; no pre-release unless
    there is nothing else, or it takes those.

    Source: contract python-index section 1.9.5; version specifiers specification, "Handling of pre-releases".
    """
    offered = {line.version for line in lines if line.version is not None and not line.yanked}
    versions = [(parsed, version) for version in offered if (parsed := _version(version)) is not None]
    final = [pair for pair in versions if not pair[0].is_prerelease]
    return max(versions if pre or not final else final, default=(None, None))[1]


def offered(lines: Iterable[FileLine], *, pinned: bool, pre: bool = False) -> str | None:
    """Return the version that an installer takes of some files: of a project, or of the one release it is pinned to.

    Whoever pins a release gets it though it is yanked or a pre-release (PEP 592; version specifiers specification).
    """
    if not pinned:
        return newest(lines, pre=pre)
    return next((line.version for line in lines if line.version is not None), None)


def _not_shown(
    scene: Scene, one: MirrorFiles, lines: Mapping[FileName, FileLine], held: Collection[FileName]
) -> Iterator[FileLine]:
    """Yield the files of a mirror whose names the page does not list."""
    if one.document is None or one.origins is None:
        return
    policies, index = about(policies_of(scene.asked, one.mirror), scene.project), scene.name(one.mirror)
    entries = {entry["filename"]: entry for entry in orjson.loads(one.document)["files"]}
    for name, (origin, version) in unpack_origins(one.origins).items():
        if name not in lines:
            hidden = judge_age(policies, scene.project, version, origin.uploaded_at, scene.now)
            marks = _marks(entries.get(name, {}))
            yield FileLine(name, version, index, True, False, *marks, scene.told(hidden), name in held)


def _marks(entry: Mapping[str, Any]) -> tuple[bool, str | None]:
    """Return whether a listed file is yanked, and when it was uploaded."""
    return entry.get("yanked", False) is not False, entry.get("upload-time")


def _order(line: FileLine) -> tuple[bool, Version, str]:
    parsed = _version(line.version)
    return parsed is not None, parsed or Version("0"), line.filename


@lru_cache(maxsize=16_384)
def _version(text: str | None) -> Version | None:
    try:
        return None if text is None else Version(text)
    except InvalidVersion:
        return None
