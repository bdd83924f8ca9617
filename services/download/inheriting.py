"""Which file an address of an index means by way of its bases and mirrors, and what hides one that is not served.

What hosts and what mirrors have is put together here and decided by `shared.reading`, as it is for pages.
Source: architecture sections 5.9, 11.5 and 11.6; contract devpi section 15; ADR 0028.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.names import NormalizedName
from services.download.rules import FileWanted
from shared.auth.directory import IndexRecord
from shared.catalogue.merged import files_named, standings
from shared.catalogue.mirror_faults import KeptOrigins
from shared.catalogue.mirror_pages import MirrorId
from shared.formats.python.foreign import projects_named
from shared.ids import IndexId
from shared.reading.answered import AnsweredPages, known_origins
from shared.reading.facts import FileFacts, Standing
from shared.reading.merging import file_in_view, members_showing, shut_in_view
from shared.reading.mirrored import MirroredFile, hiding, judged_file, policies_of
from shared.reading.policy import Hidden, judge_name, next_change
from shared.reading.resolution import MIRROR
from shared.reading.views import View
from shared.threads import sized

States = Mapping[NormalizedName, Mapping[IndexId, Standing]]
"""How projects stand in the members of a view that know them."""


Doubt = tuple[IndexRecord, NormalizedName]
"""A page of a mirror that may say more than what is kept of it."""


@dataclass(frozen=True, slots=True)
class InView:
    """What an address means in a merged view.

    Attributes:
        owner: the index that the file belongs to.
        file: None when the address means none.
        hidden: the rule that hides the file of a mirror.
        until: when the clock alone changes this.
        doubts: where the file may be all the same.
    """

    owner: IndexRecord
    file: FileFacts | MirroredFile | None = None
    hidden: Hidden | None = None
    until: datetime | None = None
    doubts: tuple[Doubt, ...] = ()


async def in_view(
    connection: AsyncConnection,
    answered: AnsweredPages,
    view: View,
    wanted: FileWanted,
    own: FileFacts | None,
    now: datetime,
) -> InView:
    """Return what an address means by way of an index's bases, or in a mirror.

    A file that is in quarantine in the index itself is returned as its own, held.

    Args:
        own: what the index itself has under the address, and does not show.
    """
    asked, path_key = view.order[0], wanted.path_key
    hosted = await files_named(connection, view.ids, asked.id, wanted.file_name) if asked.type != MIRROR else []
    projects = dict.fromkeys(facts.project for _, facts in hosted)
    listing = [member for member in view.order if member.type == MIRROR]
    if listing:
        projects |= dict.fromkeys(projects_named(wanted.file_name))
    elif not any(facts.visible and facts.sha256.startswith(path_key) for _, facts in hosted):
        return InView(asked)
    states: dict[NormalizedName, Mapping[IndexId, Standing]] = {
        project: await standings(connection, view.ids, project) if asked.type != MIRROR else {} for project in projects
    }
    mirrored, doubts = await _mirrored(connection, answered, view, wanted, states, now)
    visible: list[tuple[IndexId, FileFacts | MirroredFile]] = [*hosted, *_shown(mirrored)]
    verdicts = [file.hidden for _, file in mirrored if file.hidden is not None]
    policies = [policy for mirror in listing for policy in policies_of(asked, mirror)]
    until = next_change(verdicts, policies, now)
    found = file_in_view(view.order, path_key, visible, states)
    if found is not None:
        return InView(found[0], found[1], until=until)
    if own is None and (shut := shut_in_view(asked.id, path_key, hosted, states)) is not None:
        return InView(asked, shut)
    hidden = hiding(view.order, path_key, mirrored, states) if own is None else None
    return InView(asked, None, hidden, until, tuple(doubts))


def _shown(mirrored: Sequence[tuple[IndexId, MirroredFile]]) -> list[tuple[IndexId, MirroredFile]]:
    return [(index_id, file) for index_id, file in mirrored if file.visible]


async def _mirrored(
    connection: AsyncConnection, answered: AnsweredPages, view: View, wanted: FileWanted, states: States, now: datetime
) -> tuple[list[tuple[IndexId, MirroredFile]], list[Doubt]]:
    """Return the files of a name that the mirrors of a view list, and where their pages are to be asked for."""
    asked = view.order[0]
    files: list[tuple[IndexId, MirroredFile]] = []
    doubts: list[Doubt] = []
    for project in projects_named(wanted.file_name):
        shown = members_showing(view.order, project, states[project])
        mirrors = [member for member in shown if member.type == MIRROR]
        kept = await known_origins(connection, answered, [MirrorId(one.id, one.life) for one in mirrors], project, now)
        for mirror in mirrors:
            page, policies = kept.get(mirror.id), policies_of(asked, mirror)
            found = None
            if page is not None and page.origins is not None:
                args = (page.origins, policies, project, wanted.file_name, now, page.withdrawn)
                packed = len(page.origins) if isinstance(page.origins, bytes) else 0
                found = await sized(packed << 2, judged_file, *args)
            if page is not None and found is not None:
                files.append((mirror.id, replace(found, page_at=page.changed_at)))
            asks = mirror.mirror is not None and mirror.mirror.url is not None
            if asks and judge_name(policies, project) is None and _doubtful(page, found, wanted, now):
                doubts.append((mirror, project))
    return files, doubts


def _doubtful(page: KeptOrigins | None, found: MirroredFile | None, wanted: FileWanted, now: datetime) -> bool:
    """Return whether a mirror's page is to be asked for again before a file is said not to be there."""
    if found is not None and found.sha256.startswith(wanted.path_key):
        return False
    return page is None or now >= page.fresh_until
