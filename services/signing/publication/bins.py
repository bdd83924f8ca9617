"""The bins of all indexes, parsed, kept between batches so that a publication parses only what it has not seen.

A bin is taken out of the cache to be edited and comes back only when its batch was committed: a failed batch leaves
nothing half-edited behind.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Mapping
from functools import lru_cache

from sqlalchemy.ext.asyncio import AsyncConnection
from tuf.api.metadata import SuccinctRoles

from services.signing.publication.batch import Batch
from services.signing.publication.signatures import SignedRoles
from shared.catalogue import publications
from shared.catalogue.publication_rows import CurrentFile, HeadState
from shared.ids import IndexId
from shared.trust.metadata import Entries, read_bin, succinct_roles_of, verify_with

MOST_TARGETS = 100_000
"""Targets kept parsed at the most, over all bins: about 75 MB; the bins used longest ago go first. One that is not kept
costs about half a millisecond for a thousand targets, so more would buy little."""

MOST_VERSIONS = 100_000
"""Bins whose versions are kept at the most, over all indexes: about 20 MB; one index's are always kept."""


_INLINE = 4
"""Bins verified on the event loop at the most: a thousand targets take about a millisecond."""


class BinDamaged(Exception):
    """A bin of the catalogue is not what was signed: nothing may be signed from it. The message names it."""


class BinCache:
    """Parsed bins by index and name, bounded by the number of targets in them; and which versions are current."""

    def __init__(self, most_targets: int = MOST_TARGETS) -> None:
        self._most = most_targets
        self._targets = 0
        self._current: OrderedDict[IndexId, tuple[int, Mapping[str, CurrentFile]]] = OrderedDict()
        """Versions of all bins by index, each with the version of the timestamp they are current under."""
        self._parsed: OrderedDict[tuple[IndexId, str], tuple[int, Entries]] = OrderedDict()

    async def take(
        self,
        connection: AsyncConnection,
        index_id: IndexId,
        names: Collection[str],
        current: Mapping[str, CurrentFile],
        *,
        registry: bytes,
    ) -> dict[str, Entries]:
        """Return the named bins as of their current version, ready to be edited.

        Args:
            registry: the file that delegates to them: what this process has not signed itself is verified by it.

        Raises:
            BinDamaged: one of the catalogue is not what was signed.
        """
        taken: dict[str, Entries] = {}
        for name in names:
            kept = self._parsed.pop((index_id, name), None)
            if kept is not None:
                self._targets -= _weight(kept[1])
                if kept[0] == current[name].version:
                    taken[name] = kept[1]
        missing = [name for name in names if name not in taken]
        if not missing:
            return taken
        return taken | await read_signed_bins(connection, index_id, missing, registry)

    async def current(
        self, connection: AsyncConnection, index_id: IndexId, head: HeadState | None
    ) -> Mapping[str, CurrentFile]:
        """Return the current version of each bin; without a query when the head is the one this process signed last."""
        kept = self._current.get(index_id)
        if kept is not None and head is not None and kept[0] == head.timestamp_version:
            self._current.move_to_end(index_id)
            return kept[1]
        return await publications.current_files(connection, index_id)

    def keep(self, batch: Batch, signed: SignedRoles) -> None:
        """Keep what a batch signed, now that it is committed."""
        index_id = batch.index.id
        files = [file for file in signed.files if file.role != "snapshot"]
        newer = {file.role: CurrentFile(file.role, file.version, file.expires_at) for file in files}
        self._current[index_id] = (batch.version, {**batch.bins, **newer})
        self._current.move_to_end(index_id)
        while sum(len(bins) for _, bins in self._current.values()) > MOST_VERSIONS and len(self._current) > 1:
            self._current.popitem(last=False)
        for name, entries in signed.edited.items():
            self._parsed[index_id, name] = (batch.version, entries)
            self._targets += _weight(entries)
        while self._targets > self._most and len(self._parsed) > 1:
            _, (_, oldest) = self._parsed.popitem(last=False)
            self._targets -= _weight(oldest)


async def read_signed_bins(
    connection: AsyncConnection, index_id: IndexId, names: Collection[str], registry: bytes
) -> dict[str, Entries]:
    """Return bins of the catalogue, each verified: what is signed anew, or compared with, was signed before.

    Raises:
        BinDamaged: one is missing, or is not what was signed.
    """
    contents = await publications.current_contents(connection, index_id, names)
    if len(names) <= _INLINE:
        return _verified(names, contents, registry)
    return await asyncio.to_thread(_verified, names, contents, registry)


def _verified(names: Collection[str], contents: Mapping[str, bytes], registry: bytes) -> dict[str, Entries]:
    found = {}
    for name in names:
        try:
            verify_with(registry, name, contents[name])
            found[name] = read_bin(contents[name])
        except KeyError:
            raise BinDamaged(f"the catalogue has no bin {name}: restore a backup") from None
        except Exception as error:
            # Whatever the parser makes of bytes that nobody signed.
            raise BinDamaged(f"bin {name} of the catalogue is not what was signed: {error}") from error
    return found


@lru_cache(maxsize=4)
def bins_of(registry: bytes) -> tuple[SuccinctRoles, tuple[str, ...]]:
    """Return the bins that registry metadata delegates to, and their names.

    Raises:
        ValueError: it delegates to none.
    """
    roles = succinct_roles_of(registry)
    return roles, tuple(roles.get_roles())


def _weight(entries: Entries) -> int:
    return 1 + len(entries)
