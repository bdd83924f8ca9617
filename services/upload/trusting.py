"""What trust signs for attestations, as this process knows it."""

from __future__ import annotations

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.attestations.trust_material import BadTrustMaterial, TrustMaterial
from shared.catalogue import trust_material
from shared.errors import ErrorKind, ServiceError

log = structlog.get_logger()


class Trusting:
    """Keeps the policy and the roots until trust is published anew."""

    def __init__(self) -> None:
        self._known = TrustMaterial()

    async def material(self, connection: AsyncConnection) -> TrustMaterial:
        """Return what the newest file of trust names.

        Raises:
            ServiceError: unavailable; it cannot be used, so that nothing may be judged.
        """
        try:
            self._known = await trust_material.current(connection, self._known)
        except (LookupError, BadTrustMaterial) as error:
            log.error("trust_material_unusable", error=str(error)[:500])
            words = f"What the trust role signs for attestations cannot be used, so that nothing is taken: {error}."
            raise ServiceError(ErrorKind.UNAVAILABLE, words) from error
        return self._known
