"""The bins of all indexes, parsed, kept between batches so that a publication parses only what it has not seen.

A bin is taken out of the cache to be edited and comes back only when its batch was committed: a failed batch leaves
nothing half-edited behind.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping

from sqlalchemy.ext.asyncio import AsyncConnection
from tuf.api.metadata import Metadata, Targets

from shared.catalogue import publications
from shared.catalogue.publication_rows import CurrentFile
from shared.ids import IndexId

MOST_TARGETS = 400_000
"""Targets kept parsed at the most, over all bins: about 300 MB; the bins used longest ago go first."""


class BinCache:
    """Parsed bins by index and name, bounded by the number of targets in them."""

    def __init__(self, most_targets: int = MOST_TARGETS) -> None:
        self._most = most_targets
        self._targets = 0
        self._kept: OrderedDict[tuple[IndexId, str], tuple[int, Metadata[Targets]]] = OrderedDict()

    async def take(
        self, connection: AsyncConnection, index_id: IndexId, names: Collection[str], current: Mapping[str, CurrentFile]
    ) -> dict[str, Metadata[Targets]]:
        """Return the named bins as of their current version, ready to be edited."""
        taken: dict[str, Metadata[Targets]] = {}
        for name in names:
            kept = self._kept.pop((index_id, name), None)
            if kept is not None:
                self._targets -= _weight(kept[1])
                if kept[0] == current[name].version:
                    taken[name] = kept[1]
        missing = [name for name in names if name not in taken]
        contents = await publications.current_contents(connection, index_id, missing)
        return taken | {name: Metadata[Targets].from_bytes(contents[name]) for name in missing}

    def keep(self, index_id: IndexId, name: str, version: int, metadata: Metadata[Targets]) -> None:
        """Keep a bin whose batch was committed."""
        self._kept[index_id, name] = (version, metadata)
        self._targets += _weight(metadata)
        while self._targets > self._most and len(self._kept) > 1:
            _, (_, oldest) = self._kept.popitem(last=False)
            self._targets -= _weight(oldest)


def _weight(metadata: Metadata[Targets]) -> int:
    return 1 + len(metadata.signed.targets)
