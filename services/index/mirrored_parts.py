"""The parts of a page that come from mirrors: asked for side by side, and shown as far as the policies let them.

Source: architecture sections 5.9 and 11.6; contract python-index sections 5.3 and 6.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from countermark.core.names import NormalizedName
from services.index.mirror_subjects import UpstreamAway
from services.index.mirroring import Mirroring
from shared.auth.directory import IndexRecord
from shared.errors import ErrorKind, ServiceError
from shared.formats.python.merged import Part, unannounced
from shared.ids import IndexId
from shared.reading.mirrored import policies_of, shown_document
from shared.reading.policy import judge_name
from shared.threads import sized

_STALE_FOR = timedelta(seconds=2)
"""How long a stale page is served before the upstream is looked after again."""


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What mirrors add to a page.

    Attributes:
        parts: of the mirrors that have the project, in the order in which they were asked.
        serial: sum of theirs.
        until: when it is to be put together again, None without mirrors.
        stale_since: of the part that was confirmed longest ago, when one is stale.
        away: why a mirror is left out that nothing is known of.
        upstreams: when each mirror's upstream was asked for what is shown.
    """

    parts: tuple[Part, ...]
    serial: int
    until: datetime | None
    stale_since: datetime | None
    away: tuple[UpstreamAway, ...]
    upstreams: Mapping[IndexId, datetime]


async def mirrored_parts(
    mirroring: Mirroring, asked: IndexRecord, mirrors: Sequence[IndexRecord], project: NormalizedName, now: datetime
) -> Mirrored:
    """Return what some mirrors show of a project in an index that is based on them, or is one of them."""
    if not mirrors:
        return Mirrored((), 0, None, None, (), {})
    wanted = [mirror for mirror in mirrors if judge_name(policies_of(asked, mirror), project) is None]
    found = await asyncio.gather(*(mirroring.page(mirror, project) for mirror in wanted), return_exceptions=True)
    parts, away, moments, stale, serial = [], [], [], [], 0
    upstreams = {}
    for mirror, page in zip(wanted, found, strict=True):
        if isinstance(page, UpstreamAway):
            away.append(page)
            continue
        if isinstance(page, BaseException):
            raise page
        moments.append(page.fresh_until if page.stale_since is None else now + _STALE_FOR)
        if page.changed_at is not None:
            upstreams[mirror.id] = page.changed_at
        stale += [page.stale_since] if page.stale_since is not None else []
        if page.document is None:
            continue
        serial += page.serial
        policies, gone = policies_of(asked, mirror), page.withdrawn
        shown = (page.document, page.origins, policies, project, now)
        part, change = await sized(len(page.document), shown_document, *shown)
        parts.append(Part(mirror.name, unannounced(part, gone) if gone else part))
        moments += gone.values()
        moments += [change] if change is not None else []
    if away:
        moments.append(now + _STALE_FOR)
    until, since = min(moments, default=None), min(stale, default=None)
    return Mirrored(tuple(parts), serial, until, since, tuple(away), upstreams)


class UpstreamsAway(ServiceError):
    """Nobody here knows a project or has a list, and an upstream that may know gives no answer."""


def unavailable(away: Sequence[UpstreamAway]) -> UpstreamsAway:
    """Return what a client is told when nobody here knows a project, and an upstream that may know it is away.

    Not "not found": installers would go on to another index, and get the name from there.
    """
    longest = max(one.retry_after for one in away)
    return UpstreamsAway(ErrorKind.UNAVAILABLE, f"{'; '.join(map(str, away))[:1000]}.", retry_after=longest)
