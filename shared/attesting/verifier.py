"""Has provenance objects of mirrored files verified, against the trust root of the settings.

Source: ADR 0031; contract python-index sections 4.2 and 4.3.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog

from countermark.core.attestations.provenance import MAX_BYTES
from countermark.core.attestations.results import Failed, Report, Step, document_of
from countermark.core.digest import Sha256
from shared.attesting.processes import Verifying
from shared.errors import ErrorKind, ServiceError
from shared.settings import Attestations

log = structlog.get_logger()

_RETRY_AFTER = timedelta(seconds=5)


class AttestationVerifier:
    """Verifies against the trust root of the settings."""

    def __init__(self, settings: Attestations, verifying: Verifying) -> None:
        self._settings = settings
        self._verifying = verifying

    async def verify(self, provenance: bytes, file_name: str, sha256: Sha256) -> dict[str, Any]:
        """Return what is found out of a provenance object, as `document_of` has it, with `trusted_root`.

        Raises:
            ServiceError: UNAVAILABLE; it took too long, too many wait, or the trust root cannot be used.
        """
        root = await asyncio.to_thread(self._root)
        anchor = {"kind": "public" if root is None else "configured"}
        if len(provenance) > MAX_BYTES:
            failed = Failed(Step.STRUCTURE, f"it has more than {MAX_BYTES} bytes")
            return document_of(Report((), failed)) | {"trusted_root": anchor}
        asked = {
            "ask": "provenance",
            "provenance": provenance,
            "trusted_root": root,
            "file_name": file_name,
            "sha256": sha256,
        }
        found = await self._verifying.ask(asked, file_name, self._settings.seconds)
        if "bad_root" in found:
            raise _bad_root(found["bad_root"])
        report: dict[str, Any] = found["report"]
        return report | {"trusted_root": anchor | {"sha256": found["trusted_root"]}}

    def _root(self) -> bytes | None:
        """Read the trust root that was set, None for the public one. Blocking.

        Raises:
            ServiceError: UNAVAILABLE.
        """
        path: Path | None = self._settings.trusted_root
        if path is None:
            return None
        try:
            return path.read_bytes()
        except OSError as error:
            raise _bad_root(str(error)) from error


def _bad_root(why: str) -> ServiceError:
    log.error("trusted_root_unusable", error=why[:500])
    words = "The trust root that attestations.trusted_root names cannot be used; the server's log says why."
    return ServiceError(ErrorKind.UNAVAILABLE, words, retry_after=_RETRY_AFTER)
