"""Whether the keys that this process is to sign with are there and sign; for its readiness."""

from __future__ import annotations

import asyncio
import time

from services.signing.access import key_access
from services.signing.ceremony import load_handles
from services.signing.signers import KeyUnusable, Signers, online
from shared.http import NotReady
from shared.resources import Resources

_GOOD_FOR = 60.0
"""Seconds for which keys that signed count as good: keys may lie in a service that is asked over the network."""


class KeyCheck:
    """Tries the keys, at most once a minute while they are good."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._good_until = 0.0

    async def __call__(self) -> None:
        """Return when all keys sign.

        Raises:
            NotReady: one cannot be used, or there is no trust root.
            SQLAlchemyError: the catalogue is away.
        """
        if time.monotonic() < self._good_until:
            return
        try:
            handles = online(await load_handles(self._resources))
            if not handles:
                raise NotReady("the deployment has no trust root yet: run countermark-server init", passing=False)
            await asyncio.to_thread(Signers, handles, key_access(self._resources.settings))
        except KeyUnusable as error:
            hint = "signing.keys says where key files lie, signing.uris where else keys are"
            raise NotReady(f"{error} ({hint})", passing=False) from error
        self._good_until = time.monotonic() + _GOOD_FOR
