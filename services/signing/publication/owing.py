"""Whether an index is to be signed again though nobody has changed anything."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from services.signing.keys.custody import Custody
from services.signing.publication.bins import BinCache, bins_of
from shared.catalogue import trust
from shared.catalogue.publication_rows import HeadState
from shared.ids import IndexId
from shared.trust.roles import Profile, Role, is_due


class Owing:
    """What heads owe to the clock, to newer shared files, and to new keys."""

    def __init__(self, profile: Profile, bins: BinCache) -> None:
        self._profile = profile
        self._bins = bins
        self._signed_anew: dict[IndexId, datetime] = {}
        """Since when the newest key is in use that has signed all bins of an index."""

    async def is_due(
        self, connection: AsyncConnection, index_id: IndexId, head: HeadState, custody: Custody, now: datetime
    ) -> bool:
        """Return whether a head runs out, is signed with shared files of which there are newer ones, or lacks the
        signature of a key that has come into use."""
        if is_due(self._profile.roles[Role.TIMESTAMP], head.timestamp_expires_at, now):
            return True
        if custody.owes(Role.TIMESTAMP, head.timestamp_expires_at):
            return True
        if custody.owes(Role.SNAPSHOT, head.snapshot_expires_at):
            return True
        if not await trust.are_newest(connection, head.shared_versions):
            return True
        return await self._bins_are_owed(connection, index_id, head, custody)

    async def _bins_are_owed(
        self, connection: AsyncConnection, index_id: IndexId, head: HeadState, custody: Custody
    ) -> bool:
        since = custody.since.get(Role.BINS)
        if since is None or since == self._signed_anew.get(index_id):
            return False
        shared = await trust.trust_files_in_use(connection, head.registry_version)
        prefix = f"{bins_of(shared['registry'].content)[0].name_prefix}-"
        if custody.owed_bins(await self._bins.current(connection, index_id, head), prefix):
            return True
        self._signed_anew[index_id] = since
        return False
