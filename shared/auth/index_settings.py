"""What the settings of indexes decide, read again only where an index changed.

Settings may be large, and most of what is in them decides nothing: so they stay in the catalogue, and its own mark of a
row's version (`xmin`) tells which of them may say something else now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import ColumnElement, Text, cast, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.names import IndexName
from shared.catalogue.tables import IndexRow
from shared.ids import IndexId
from shared.reading.mirror_options import POLICY, MirrorOptions, mirror_options, policy_from
from shared.reading.policy import Policy
from shared.reading.resolution import MIRROR

ROW_VERSION: ColumnElement[str] = cast(literal_column('"index".xmin'), Text).label("row_version")
"""Another one after every change of an index's row."""

_AT_ONCE = 1_000
"""Indexes whose settings are read with one query."""

_INTERSECTION = "intersection"

VERIFY_ON_READ = "verify_on_read"
"""Setting of a stage: its files are served only while their chain holds (ADR 0039)."""

_DECIDING = (
    "mirror_cache_expiry",
    "mirror_ignore_serial_header",
    "mirror_no_project_list",
    "mirror_url",
    "mirror_whitelist",
    "mirror_whitelist_inheritance",
    POLICY,
    VERIFY_ON_READ,
)


@dataclass(frozen=True, slots=True)
class Decided:
    """What an index's settings say that decides; see `shared.auth.directory.IndexRecord`.

    Attributes:
        policy: without exemptions, which are rows of their own; None when it hides nothing.
    """

    row_version: str = ""
    whitelist: frozenset[str] = frozenset()
    inheritance: str = _INTERSECTION
    mirror: MirrorOptions | None = None
    policy: Policy | None = None
    verify_on_read: bool = False


class IndexSettings:
    """Remembers what the settings of all living indexes decide."""

    def __init__(self, reserved: Sequence[str]) -> None:
        """Args: reserved: prefixes of names that every index keeps from mirrors' upstreams."""
        self._reserved = tuple(reserved)
        self._known: Mapping[IndexId, Decided] = {}

    async def read(self, connection: AsyncConnection, row_versions: Mapping[IndexId, str]) -> Mapping[IndexId, Decided]:
        """Return what the settings of each index decide, nothing for one that is gone meanwhile.

        Args:
            row_versions: of the rows of all living indexes.
        """
        known = {
            index_id: kept
            for index_id, version in row_versions.items()
            if (kept := self._known.get(index_id)) is not None and kept.row_version == version
        }
        rest = (index_id for index_id in row_versions if index_id not in known)
        found: dict[IndexId, Decided] = {}
        said = [IndexRow.settings[key] for key in _DECIDING]
        while ids := list(islice(rest, _AT_ONCE)):
            columns = (IndexRow.id, IndexRow.owner, IndexRow.name, IndexRow.type, ROW_VERSION)
            for row in await connection.execute(select(*columns, *said).where(IndexRow.id.in_(ids))):
                index_id, owner, name, kind, version, *values = row
                settings = dict(zip(_DECIDING, values, strict=True))
                policy = policy_from(IndexName(owner, name), settings, reserved=self._reserved)
                found[IndexId(index_id)] = Decided(
                    row_version=version,
                    whitelist=frozenset(settings["mirror_whitelist"] or ()),
                    inheritance=settings["mirror_whitelist_inheritance"] or _INTERSECTION,
                    mirror=mirror_options(settings) if kind == MIRROR else None,
                    policy=None if policy == Policy(policy.index) else policy,
                    verify_on_read=kind != MIRROR and settings[VERIFY_ON_READ] is True,
                )
        self._known = {**known, **found}
        return {index_id: self._known.get(index_id, Decided()) for index_id in row_versions}
