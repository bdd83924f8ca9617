"""What an index shows of a mirror's page, and whether it serves a file of it. Pure.

Pages leave out what addresses refuse, since both come from here: the same policies, the same facts, the same clock.
Source: architecture sections 5.9, 11.5 and 11.6; contract python-index sections 5.3 and 6; ADR 0028.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from countermark.core.digest import Sha256
from countermark.core.names import FileName, NormalizedName
from shared.formats.python.merged import without
from shared.formats.python.origins import Origins, unpack_origin, unpack_origins
from shared.formats.python.upstream import Origin
from shared.ids import IndexId
from shared.reading.facts import Standing
from shared.reading.merging import Identified, members_showing
from shared.reading.policy import Hidden, Policy, about, judge_age, judge_file, judge_name, next_change
from shared.reading.resolution import MIRROR


class Judging(Identified, Protocol):
    """A member with its policy."""

    @property
    def policy(self) -> Policy | None:
        """What it shows of mirrored files; None for all."""


V = TypeVar("V", bound=Judging)


@dataclass(frozen=True, slots=True)
class MirroredFile:
    """A file that a mirror's page lists, as an index that is based on the mirror judges it.

    Attributes:
        version: normalised.
        hidden: why it is not shown, None when it is.
        withdrawn: whether its core metadata is not announced now, since it cannot be had.
        page_at: when the upstream was asked for the page, where that counts.
    """

    project: NormalizedName
    file_name: FileName
    version: str
    origin: Origin
    hidden: Hidden | None
    withdrawn: bool = False
    page_at: datetime | None = None

    @property
    def sha256(self) -> Sha256:
        """Its digest."""
        return self.origin.sha256

    @property
    def visible(self) -> bool:
        """Whether it is shown."""
        return self.hidden is None


def policies_of(asked: Judging, mirror: Judging) -> list[Policy]:
    """Return the policies that a file of a mirror passes in an index: that one's, and the mirror's own."""
    both = (mirror.policy,) if asked.id == mirror.id else (mirror.policy, asked.policy)
    return [policy for policy in both if policy is not None]


def shown_document(
    document: bytes, origins: Origins | None, policies: Sequence[Policy], project: NormalizedName, now: datetime
) -> tuple[bytes, datetime | None]:
    """Return what is shown of a mirror's page document, and when the clock alone changes that. Blocking.

    Args:
        origins: of its files.
        policies: which let the name pass.
    """
    if origins is None or not any(policy.min_age for policy in policies):
        return document, None
    policies = about(policies, project)
    hidden, shown, verdicts = {}, [], []
    for name, (origin, version) in unpack_origins(origins).items():
        verdict = judge_age(policies, project, version, origin.uploaded_at, now)
        if verdict is None:
            shown.append(version)
        else:
            hidden[name] = version
            verdicts.append(verdict)
    return without(document, hidden, shown) if hidden else document, next_change(verdicts, policies, now)


def judged_file(
    origins: Origins,
    policies: Sequence[Policy],
    project: NormalizedName,
    file_name: FileName,
    now: datetime,
    withdrawn: Collection[Sha256] = (),
) -> MirroredFile | None:
    """Return the file of a name that a mirror's page lists, None when it lists none. Blocking.

    Args:
        origins: of the page's files.
        withdrawn: core metadata that the page does not announce now.
    """
    found = unpack_origin(origins, file_name)
    if found is None:
        return None
    origin, version = found
    hidden = judge_file(policies, project, version, origin.uploaded_at, now)
    return MirroredFile(project, file_name, version, origin, hidden, origin.metadata_sha256 in withdrawn)


def hiding(
    order: Sequence[V],
    path_key: str,
    mirrored: Sequence[tuple[IndexId, MirroredFile]],
    standings: Mapping[NormalizedName, Mapping[IndexId, Standing]],
) -> Hidden | None:
    """Return what hides the file that an address means in a merged view which serves none under it.

    A name that a stage holds hides mirrors without a word: what they have under it is nobody's affair here.

    Args:
        order: as `resolution_order` returns it; the first is the index that was asked.
        path_key: the first 16 hex digits of the file's sha256.
        mirrored: the files of the name that mirrors list.
        standings: by project, of every project in `mirrored`, and of those that the name may be of.
    """
    for index_id, file in mirrored:
        if file.hidden is not None and file.sha256.startswith(path_key):
            members = members_showing(order, file.project, standings[file.project])
            if any(member.id == index_id for member in members):
                return file.hidden
    return next((hidden for project in standings if (hidden := _closed(order, project, standings[project]))), None)


def _closed(order: Sequence[V], project: NormalizedName, standing: Mapping[IndexId, Standing]) -> Hidden | None:
    """Return what hides a whole project from every mirror of a view in which no stage holds it."""
    if any(one.holds for one in standing.values()):
        return None
    mirrors = [member for member in members_showing(order, project, standing) if member.type == MIRROR]
    verdicts = [judge_name(policies_of(order[0], mirror), project) for mirror in mirrors]
    return verdicts[0] if verdicts and all(verdicts) else None
