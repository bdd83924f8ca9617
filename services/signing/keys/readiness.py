"""Whether the keys that this process is to sign with are there and sign; for its readiness."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from countermark.core.signing.access import KeyAccess
from services.signing.keys.access import key_access
from services.signing.keys.handles import load_handles
from services.signing.keys.signers import KeyHandle, KeyUnusable, Signers, online
from shared.http import NotReady
from shared.resources import Resources

_GOOD_FOR = 60.0
"""Seconds for which keys that signed count as good: keys may lie in a service that is asked over the network."""

Load = Callable[[Sequence[KeyHandle], KeyAccess], object]
"""Loads keys, blocking; raises `KeyUnusable`."""


class KeyCheck:
    """Tries the online keys, at most once a minute while they are good.

    A key service may take longer than a check is waited for: the try goes on, and the next check waits for that one.
    """

    def __init__(self, resources: Resources, load: Load = Signers) -> None:
        self._resources = resources
        self._load = load
        self._good_until = 0.0
        self._trying: asyncio.Task[None] | None = None

    async def __call__(self) -> None:
        """Return when all keys sign.

        Raises:
            NotReady: one cannot be used, or there is no trust root.
            SQLAlchemyError: the catalogue is away.
        """
        if time.monotonic() < self._good_until:
            return
        if self._trying is None:
            self._trying = asyncio.create_task(self._try())
            self._trying.add_done_callback(self._tried)
        await asyncio.shield(self._trying)

    def _tried(self, task: asyncio.Task[None]) -> None:
        self._trying = None
        if not task.cancelled():
            # Looked at, also when nobody waits any more.
            task.exception()

    async def _try(self) -> None:
        try:
            handles = online(await load_handles(self._resources))
            if not handles:
                raise NotReady("the deployment has no trust root yet: run countermark-server init", passing=False)
            await asyncio.to_thread(self._load, handles, key_access(self._resources.settings))
        except KeyUnusable as error:
            hint = "signing.keys says where key files lie, signing.uris where else keys are"
            raise NotReady(f"{error} ({hint})", passing=error.passing) from error
        self._good_until = time.monotonic() + _GOOD_FOR
