"""The whitelists of indexes, read again only where an index changed.

They are a part of an index's settings, which may be large and of which nothing else decides anything: so the settings
stay in the catalogue, and its own mark of a row's version (`xmin`) tells which whitelist may be another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import ColumnElement, Text, cast, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.catalogue.tables import IndexRow
from shared.ids import IndexId

ROW_VERSION: ColumnElement[str] = cast(literal_column('"index".xmin'), Text).label("row_version")
"""Another one after every change of an index's row."""

_AT_ONCE = 1_000
"""Indexes whose whitelists are read with one query."""

_INTERSECTION = "intersection"


@dataclass(frozen=True, slots=True)
class Whitelist:
    """What an index's row says of mirrors; see `shared.auth.directory.IndexRecord`."""

    row_version: str = ""
    names: frozenset[str] = frozenset()
    inheritance: str = _INTERSECTION


class Whitelists:
    """Remembers the whitelists of all living indexes."""

    def __init__(self) -> None:
        self._known: Mapping[IndexId, Whitelist] = {}

    async def read(
        self, connection: AsyncConnection, row_versions: Mapping[IndexId, str]
    ) -> Mapping[IndexId, Whitelist]:
        """Return the whitelist of each index, empty for one that is gone meanwhile.

        Args:
            row_versions: of the rows of all living indexes.
        """
        known = {
            index_id: kept
            for index_id, version in row_versions.items()
            if (kept := self._known.get(index_id)) is not None and kept.row_version == version
        }
        rest = (index_id for index_id in row_versions if index_id not in known)
        found: dict[IndexId, Whitelist] = {}
        while ids := list(islice(rest, _AT_ONCE)):
            settings = IndexRow.settings
            columns = (settings["mirror_whitelist"], settings["mirror_whitelist_inheritance"].astext)
            rows = await connection.execute(select(IndexRow.id, ROW_VERSION, *columns).where(IndexRow.id.in_(ids)))
            for index_id, version, names, inheritance in rows:
                found[IndexId(index_id)] = Whitelist(version, frozenset(names or ()), inheritance or _INTERSECTION)
        self._known = {**known, **found}
        return {index_id: self._known.get(index_id, Whitelist()) for index_id in row_versions}
