"""What mirrors are asked for, and what they answer.

Source: contract python-index section 5.1; architecture section 11.6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from countermark.core.names import NormalizedName
from shared.auth.directory import IndexRecord
from shared.catalogue import fetches
from shared.catalogue.mirror_faults import Withdrawn
from shared.catalogue.mirror_pages import KeptPage, MirrorId
from shared.formats.python.origins import Origins
from shared.leisure import Hurry
from shared.reading.mirror_options import MirrorOptions
from shared.threads import sized
from shared.zstd import unpack

SubjectKey = tuple[MirrorId, NormalizedName, str]
"""A page of a mirror, and its upstream: who asks after a change of `mirror_url` is not to get what the upstream before
it says."""


class UpstreamAway(Exception):
    """Nothing is kept of a project, and its upstream gives no answer; the message says why."""

    def __init__(self, why: str, retry_after: timedelta) -> None:
        self.retry_after = retry_after
        super().__init__(why)


@dataclass(frozen=True, slots=True)
class MirroredPage:
    """A page of a mirror.

    Attributes:
        document: page document, None when the upstream has no such project.
        origins: where its files come from.
        fresh_until: until when it is used without asking again.
        stale_since: when the upstream last confirmed it, if it should have been asked again and did not answer in time.
        changed_at: when the upstream was asked for this page; None when it has no such project.
        withdrawn: core metadata files that it is not to announce, since nobody can have them.
    """

    document: bytes | None
    origins: Origins | None
    serial: int
    fresh_until: datetime
    stale_since: datetime | None = None
    changed_at: datetime | None = None
    withdrawn: Withdrawn = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tell:
    """Answers a page before it is kept.

    Attributes:
        page: answers everybody who waits for it.
        hurry: says that somebody waits until it is kept.
    """

    page: Callable[[MirroredPage], None]
    hurry: Hurry


@dataclass(frozen=True, slots=True)
class MirroredList:
    """A mirror's list of projects; `fresh_until` and `stale_since` as for pages.

    Attributes:
        packed: see `shared.formats.python.packed_lists`; None where the upstream has no list, or is not asked for it.
    """

    packed: bytes | None
    serial: int
    fresh_until: datetime
    stale_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """A project of a mirror, or its list."""

    mirror: IndexRecord
    project: NormalizedName

    @property
    def id(self) -> MirrorId:
        """The mirror."""
        return MirrorId(self.mirror.id, self.mirror.life)

    @property
    def key(self) -> SubjectKey:
        """What tells it from all others."""
        return self.id, self.project, self.upstream

    @property
    def what(self) -> str:
        """Name of the turn to ask for it."""
        return fetches.what_page(self.mirror.id, self.project)

    @property
    def options(self) -> MirrorOptions:
        """How the mirror asks."""
        return self.mirror.mirror or MirrorOptions(None)

    @property
    def upstream(self) -> str:
        """URL that it is asked for at, "" for none."""
        return self.options.url or ""


async def opened(kept: KeptPage, withdrawn: Withdrawn, *, stale: bool) -> MirroredPage:
    """Return a kept page as it is answered."""
    document = None
    if kept.document is not None:
        document = await sized(len(kept.document), unpack, kept.document)
    validity = kept.validity
    since = validity.checked_at if stale else None
    told = (validity.serial or 0, validity.fresh_until, since, validity.changed_at)
    return MirroredPage(document, kept.origins, *told, withdrawn)
