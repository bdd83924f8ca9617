"""What a merged view shows of a project, and whose file an address means in it. Pure.

The order of the members and the whitelists are the affair of `shared.reading.resolution`; here is what the members'
states add: quarantine, held files, and the nearest file of each name. Pages, lists, the JSON API and the serving of
files all decide here, from the same rows, so that none shows what another does not.
Source: architecture sections 5.9 and 11.5; contracts devpi sections 15 and 23, python-index section 5.3.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from countermark.core.digest import Sha256
from countermark.core.names import NormalizedName
from shared.ids import IndexId
from shared.reading.facts import FileFacts, Standing
from shared.reading.resolution import Member, showing


class Identified(Member, Protocol):
    """A member with its id."""

    @property
    def id(self) -> IndexId:
        """Of its row."""


class Named(Protocol):
    """A file as a member knows it, hosted or mirrored."""

    @property
    def project(self) -> NormalizedName:
        """Which it is of."""

    @property
    def sha256(self) -> Sha256:
        """Its digest."""

    @property
    def visible(self) -> bool:
        """Whether it is shown."""


V = TypeVar("V", bound=Identified)
F = TypeVar("F", bound=Named)

_NOTHING = Standing(registered=False, files=0, quarantined=None)


def members_showing(
    order: Sequence[V], project: NormalizedName, standings: Mapping[IndexId, Standing]
) -> tuple[V, ...]:
    """Return the members whose pages of a project are merged, nearest first.

    A project in quarantine is suspect wherever it comes from: the member that put it there is the last one, and lists
    nothing itself. Nearer members show what they have.

    Args:
        order: as `resolution_order` returns it.
        standings: of the project, by member; one that is left out knows nothing of it.
    """
    shown = showing(order, project, lambda member: standings.get(member.id, _NOTHING).holds)
    for place, member in enumerate(shown):
        if standings.get(member.id, _NOTHING).closed:
            return shown[: place + 1]
    return shown


def file_in_view(
    order: Sequence[V],
    path_key: str,
    named: Sequence[tuple[IndexId, F]],
    standings: Mapping[NormalizedName, Mapping[IndexId, Standing]],
) -> tuple[V, F] | None:
    """Return the file that an address means in a merged view, with the member it belongs to; None when it means none.

    In each project the nearest member that shows a file of the name decides, and it alone: a file further away with
    other bytes is not served. A name that the index itself holds for review is not served from anywhere.

    Args:
        order: as `resolution_order` returns it; the first is the index that was asked.
        path_key: the first 16 hex digits of the file's sha256.
        named: the files of the name that members show, mirrors as well, and those that the first one holds and does not
            show.
        standings: by project, of every project in `named`.
    """
    for project in {facts.project: None for _, facts in named}:
        of_project = [(index_id, facts) for index_id, facts in named if facts.project == project]
        if any(index_id == order[0].id and not facts.visible for index_id, facts in of_project):
            continue
        for member in members_showing(order, project, standings[project]):
            shown = [facts for index_id, facts in of_project if index_id == member.id]
            if shown:
                found = [facts for facts in shown if facts.sha256.startswith(path_key)]
                if found:
                    return member, found[0]
                break
    return None


def shut_in_view(
    asked: IndexId,
    path_key: str,
    named: Sequence[tuple[IndexId, FileFacts]],
    standings: Mapping[NormalizedName, Mapping[IndexId, Standing]],
) -> FileFacts | None:
    """Return the file of a base, marked as held, that an index would show if it had not put the project in quarantine.

    Args:
        asked: the index; the others as for `file_in_view`.
    """
    for _, facts in named:
        here = standings[facts.project].get(asked, _NOTHING)
        if facts.visible and here.closed and facts.sha256.startswith(path_key):
            return replace(facts, visible=False, removed=False, held_reason=here.quarantined)
    return None


@dataclass(slots=True)
class _Project:
    serial: int = 0
    listed: bool = False
    closed: bool = False


class ProjectUnion:
    """The projects that a merged view lists: members are added one after the other, nearest first."""

    def __init__(self) -> None:
        self._projects: dict[str, _Project] = {}

    def add(self, pages: Iterable[tuple[str, int, int]], quarantined: Collection[str]) -> None:
        """Add a stage.

        Args:
            pages: (project, serial, files) of each current page, also of those that list nothing.
            quarantined: projects in quarantine there.
        """
        with_files = set()
        for name, serial, files in pages:
            project = self._projects.setdefault(name, _Project())
            project.serial += serial
            if files:
                with_files.add(name)
                project.listed = project.listed or not project.closed
        for name in quarantined:
            if name not in with_files:
                self._projects.setdefault(name, _Project()).closed = True

    def listed(self) -> list[tuple[str, int]]:
        """Return (project, serial) of each that lists a file, by name."""
        return sorted((name, project.serial) for name, project in self._projects.items() if project.listed)
