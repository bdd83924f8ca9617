"""Has provenance objects verified, by a process of its own for each, and remembers what was found.

What verifies takes 0.4 s and some 70 MB: no service is to have that all the time, and few ask. So a process is
started, at most two at once, and ends with its answer. What it said is remembered by everything that it depends on.
Source: ADR 0031; contract python-index sections 4.2 and 4.3.
"""

from __future__ import annotations

import asyncio
import base64
import sys
from collections import OrderedDict
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import structlog

from countermark.core.attestations.provenance import MAX_BYTES
from countermark.core.attestations.results import Failed, Report, Step, document_of
from countermark.core.digest import Sha256, sha256_of
from shared.errors import ErrorKind, ServiceError
from shared.settings import Attestations

log = structlog.get_logger()

AT_ONCE = 2
"""Processes that verify."""

_WAITING = 16
"""Questions that are being answered, or wait for that."""

_REMEMBERED, _LARGEST = 256, 16 << 10
"""Answers that are remembered, and bytes of the largest of them; most have some 3,000."""

_RETRY_AFTER = timedelta(seconds=5)
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
"""All that the process is told of ours: secrets of settings are in the environment too."""


class _Key(NamedTuple):
    """What an answer depends on."""

    provenance: Sha256
    file_name: str
    sha256: Sha256
    root: Sha256 | None


class AttestationVerifier:
    """Verifies against the trust root of the settings."""

    def __init__(self, settings: Attestations) -> None:
        self._settings = settings
        self._places = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._answers: OrderedDict[_Key, bytes] = OrderedDict()

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
        key = _Key(sha256_of(provenance), file_name, sha256, None if root is None else sha256_of(root))
        said = self._answers.get(key) or await self._in_turn(key, provenance, root)
        found = orjson.loads(said)
        if "bad_root" in found:
            raise _bad_root(found["bad_root"])
        self._remember(key, said)
        report: dict[str, Any] = found["report"]
        return report | {"trusted_root": anchor | {"sha256": found["trusted_root"]}}

    async def _in_turn(self, key: _Key, provenance: bytes, root: bytes | None) -> bytes:
        """Let a process verify when there is a place for it, unless another question had the same answer meanwhile.

        Raises:
            ServiceError: UNAVAILABLE.
        """
        if self._waiting >= _WAITING:
            raise _unavailable("Too much is being verified right now; try again in a few seconds.")
        self._waiting += 1
        try:
            async with self._places:
                return self._answers.get(key) or await self._asked(provenance, key.file_name, key.sha256, root)
        finally:
            self._waiting -= 1

    def _remember(self, key: _Key, said: bytes) -> None:
        if len(said) > _LARGEST:
            return
        self._answers[key] = said
        self._answers.move_to_end(key)
        if len(self._answers) > _REMEMBERED:
            self._answers.popitem(last=False)

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

    async def _asked(self, provenance: bytes, file_name: str, sha256: Sha256, root: bytes | None) -> bytes:
        """Let a process verify; returns what it says.

        Raises:
            ServiceError: UNAVAILABLE.
        """
        asked = {
            "provenance": base64.b64encode(provenance).decode(),
            "trusted_root": None if root is None else base64.b64encode(root).decode(),
            "file_name": file_name,
            "sha256": sha256,
        }
        pipe = asyncio.subprocess.PIPE
        # Isolated: nothing of the folder that the server was started in, nor of the account's own packages.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-m", "shared.attesting.worker"),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=_ENVIRONMENT,
        )
        try:
            async with asyncio.timeout(self._settings.seconds):
                said, errors = await process.communicate(orjson.dumps(asked))
        except TimeoutError as error:
            log.warning("attestations_slow", file=file_name, seconds=self._settings.seconds)
            detail = f"The attestations of {file_name} could not be verified in {self._settings.seconds:g} seconds."
            raise _unavailable(detail) from error
        finally:
            await _end(process)
        if process.returncode != 0:
            last = errors.decode(errors="replace").strip()[-500:]
            log.error("attestations_failed", file=file_name, status=process.returncode, error=last)
            raise _unavailable(f"The attestations of {file_name} could not be verified; the server's log says why.")
        return said


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process that has not, whoever gave up on it."""
    if process.returncode is None:
        process.kill()
        await process.wait()


def _bad_root(why: str) -> ServiceError:
    log.error("trusted_root_unusable", error=why[:500])
    return _unavailable(
        "The trust root that attestations.trusted_root names cannot be used; the server's log says why."
    )


def _unavailable(detail: str) -> ServiceError:
    return ServiceError(ErrorKind.UNAVAILABLE, detail, retry_after=_RETRY_AFTER)
