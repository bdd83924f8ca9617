"""What is known of fetched bytes, and what of it lies in the store: one goes without the other for a moment, or after
somebody else removed one of them.

Source: architecture section 11.6; ADR 0028.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import Length
from shared.catalogue import mirror_files
from shared.catalogue.engine import one_by_one
from shared.catalogue.fetches import Turn
from shared.catalogue.mirror_files import Kept
from shared.clock import Clock
from shared.fetching.wanted import Wanted
from shared.objects.interface import Key, ObjectStore


@dataclass(frozen=True, slots=True)
class Keeping:
    """Rows and objects of fetched bytes."""

    engine: AsyncEngine
    store: ObjectStore
    clock: Clock

    async def lying(self, wanted: Wanted) -> Kept | None:
        """Return what is kept of something and lies in the store; it stays there for a while.

        Raises:
            ObjectStoreError: the store cannot be used.
        """
        kept = await self._kept(wanted)
        if kept is None:
            return None
        info = await self.store.head(wanted.key)
        return kept if info is not None and info.length == kept.length else None

    async def found(self, wanted: Wanted) -> Kept | None:
        """Return what lies in the store; bytes of which nothing is known but their digest are noted.

        Raises:
            ObjectStoreError: the store cannot be used.
        """
        info = await self.store.head(wanted.key)
        if info is None or wanted.length not in (None, info.length):
            return None
        kept = await self._kept(wanted)
        if kept is None and wanted.sha256 is not None:
            kept = Kept(wanted.sha256, Length(info.length))
            await self.note(wanted, kept)
        return kept if kept is not None and kept.length == info.length else None

    async def note(self, wanted: Wanted, kept: Kept, turn: Turn | None = None, *, later: bool = False) -> None:
        """Note that bytes lie in the store.

        Args:
            turn: in which they were fetched; ended with this if it is this process's.
            later: whether nobody waits for it: it is noted together with others then.
        """
        now = self.clock.now()
        if later and turn is not None and turn.mine:
            await mirror_files.note_fetched(self.engine, wanted.key, kept, now, turn)
            return
        async with one_by_one(self.engine) as connection:
            if turn is not None and turn.mine:
                await mirror_files.note_fetched(connection, wanted.key, kept, now, turn)
            else:
                await mirror_files.note_stored(connection, wanted.key, kept, now)

    async def forget(self, key: Key) -> None:
        """Remove bytes that are not the right ones, and what is known of them."""
        await self.store.delete(key)
        async with self.engine.begin() as connection:
            await mirror_files.forget(connection, key)

    async def _kept(self, wanted: Wanted) -> Kept | None:
        """Return what is known of something; it is not removed for a while then."""
        async with one_by_one(self.engine) as connection:
            kept = await mirror_files.kept_file(connection, wanted.key)
            if kept is not None and kept.evicting:
                await mirror_files.note_stored(connection, wanted.key, kept, self.clock.now())
            return kept
