"""A deployment of profile `small` with its holders, for tests of ceremonies."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from services.signing.publication.usecases import Publisher
from shared.resources import Resources
from tests.support.clock import SettableClock
from tests.support.factories import MadeIndex
from tests.support.holders import CeremonyApi, Holders


@dataclass
class Deployment:
    """A deployment of profile `small` whose first ceremony was begun."""

    resources: Resources
    clock: SettableClock
    index: MadeIndex
    holders: Holders
    admin: CeremonyApi
    plain: CeremonyApi
    tree: Path

    def key(self, role: str, name: str) -> CryptoSigner:
        """Return somebody's key."""
        return self.holders.keys[role][name]

    async def finish(self) -> None:
        """Let alice and bob sign everything, finalise from the top, and publish."""
        waiting = await self.admin.open()
        for role in ("root", "targets", "trust"):
            await self.plain.submit(waiting[role], self.key(role, "alice"), self.key(role, "bob"))
            await self.admin.finalise(waiting[role])
        await Publisher(self.resources).publish(self.index.id)

    async def rotate(self, role: str, change: Mapping[str, object], *keys: CryptoSigner) -> dict[str, object]:
        """Propose, sign and finalise a change, and publish."""
        event = await self.admin.propose(role, change)
        await self.plain.submit(event, *keys)
        await self.admin.finalise(event)
        await Publisher(self.resources).publish(self.index.id)
        return event
