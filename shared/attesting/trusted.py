"""What the trust role signs for attestations, verified from the first root down, as this process knows it.

Upload judges by it, and signing once more. Who can write to catalogue and store could else choose the policy that the
server applies. The order:

1. Which files are the newest; when they are those that were verified before, nothing more is done than 6.
2. Each root from the first on, `targets` and `trust`: signatures, thresholds, delegation. The verifying process does
   that, which has the TUF library.
3. The first root is the one that the settings name, else the one that this process saw first.
4. No version is older than what this process saw.
5. The bytes of policy and roots have the length and the digest that were signed.
6. None of the files has expired.

What does not hold stops all that would be judged by it, with words, a log line and a metric.
Source: TUF specification 1.0.34 section 5; trust contract sections 1.1, 2.3 and 4; ADR 0045.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Never

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from countermark.core.attestations.trust_material import BadTrustMaterial, TrustMaterial
from countermark.core.digest import Sha256, sha256_of
from shared.attesting.processes import Verifying
from shared.catalogue import trust_material
from shared.catalogue.engine import one_by_one
from shared.catalogue.own_keys import own_keys
from shared.catalogue.trust_material import POLICY, Newest
from shared.clock import Clock
from shared.errors import ErrorKind, ServiceError
from shared.metrics import Metrics
from shared.trust.links import TRUST_CHAIN, TrustFiles, TrustReport

log = structlog.get_logger()

_SECONDS = 20.0
"""That verifying may take; some 20 ms."""

SIGNATURE, ANCHOR, OLDER, BYTES, EXPIRED = "signature", "anchor", "older", "bytes", "expired"
"""Why what trust signs is refused, as the metric has it."""


class TrustRefused(ServiceError):
    """What the trust role signs cannot be used; UNAVAILABLE, with the reason in `detail`."""

    def __init__(self, reason: str) -> None:
        words = f"What the trust role signs for attestations cannot be used, so that nothing is taken: {reason}."
        super().__init__(ErrorKind.UNAVAILABLE, words.encode("ascii", "backslashreplace").decode())


@dataclass(frozen=True, slots=True)
class _Known:
    """What was verified.

    Attributes:
        files: which files it was.
        expires: role -> when its file does.
    """

    files: Newest
    versions: Mapping[str, int]
    expires: Mapping[str, datetime]
    material: TrustMaterial


class Trusted:
    """Reads and verifies what trust signs, once for each version of it; one for all services of a process."""

    def __init__(
        self, engine: AsyncEngine, verifying: Verifying, clock: Clock, metrics: Metrics, first_root: Sha256 | None
    ) -> None:
        """Args: first_root: sha256 of the first root; None takes the one that is there when it is first asked for."""
        self._engine = engine
        self._verifying = verifying
        self._clock = clock
        self._metrics = metrics
        self._is_set = first_root is not None
        self._first_root = first_root
        self._known: _Known | None = None
        self._reading = asyncio.Lock()

    async def material(self) -> TrustMaterial:
        """Return the policy and the roots; nothing of them before the deployment has a file of trust.

        With them come the keys whose signatures are no evidence: the deployment's own (ADR 0043). Nobody holds a
        connection of the catalogue meanwhile: verifying may have to start a process.

        Raises:
            TrustRefused: it is not what the key holders signed, or has expired: nothing may be judged.
            ServiceError: UNAVAILABLE; it could not be verified now.
        """
        async with one_by_one(self._engine) as connection:
            newest = await trust_material.newest(connection)
            own = await self._own(connection)
        if "trust" not in newest and self._known is None and not self._is_set:
            # Its first ceremony is not over: no index can be published, and nothing is signed to be judged by.
            return TrustMaterial()
        known = self._known
        if known is None or known.files != newest:
            known = await self._read(newest)
        for role in TRUST_CHAIN:
            self._fresh(role, known.versions[role], known.expires[role])
        # The same object while nothing changed: callers keep by it what they read of the policy.
        if known.material.own_keys != own:
            latest, known = known, replace(known, material=replace(known.material, own_keys=own))
            self._known = known if self._known is latest else self._known
        return known.material

    async def _own(self, connection: AsyncConnection) -> frozenset[str]:
        try:
            return await own_keys(connection)
        except LookupError as error:
            self._refuse(BYTES, str(error))

    def _fresh(self, role: str, version: int, expires: datetime) -> None:
        if expires <= self._clock.now():
            ended = f"version {version} of {role} expired on {expires:%Y-%m-%d}, and clients refuse it too"
            renewal = f"its key holders have to sign it again (countermark ceremony propose {role} --renew)"
            self._refuse(EXPIRED, f"{ended}: {renewal}")

    async def _read(self, newest: Newest) -> _Known:
        async with self._reading:
            # Whoever waited here asks for what was just read.
            if self._known is None or self._known.files != newest:
                self._known = await self._verified()
            return self._known

    async def _verified(self) -> _Known:
        """Read and verify the newest files.

        Raises:
            TrustRefused: they do not hold.
            ServiceError: UNAVAILABLE; they could not be verified now.
        """
        try:
            async with self._engine.connect() as connection:
                newest = await trust_material.newest(connection)
                files = await trust_material.trust_files(connection, newest)
        except LookupError as error:
            self._refuse(BYTES, str(error))
        first, report = await self._report(files)
        if report.refused is not None:
            self._refuse(SIGNATURE, report.refused)
        if self._first_root not in (None, first):
            whose = "the settings name" if self._is_set else "this process saw before"
            self._refuse(ANCHOR, f"the first root has the sha256 {first}, {whose} {self._first_root}")
        seen = {} if self._known is None else self._known.versions
        for role, version in report.versions.items():
            if version < seen.get(role, 0):
                self._refuse(OLDER, f"{role} has version {version}, this process has seen version {seen[role]}")
        material = await self._material(report)
        self._first_root = first
        return _Known(newest, report.versions, report.expires, material)

    async def _report(self, files: TrustFiles) -> tuple[Sha256, TrustReport]:
        """Return the digest of the first root, and what the verifying process says of the files."""
        answer = await self._verifying.ask({"ask": "trust", "files": files.to_document()}, "what trust signs", _SECONDS)
        return sha256_of(files.roots[0]), TrustReport.from_document(answer["report"])

    async def _material(self, report: TrustReport) -> TrustMaterial:
        """Return the targets of trust that count, each as it was signed.

        Raises:
            TrustRefused: the catalogue has others, or lacks one.
        """
        named = {path: sha256 for path, (sha256, _) in report.targets.items()}
        try:
            async with self._engine.connect() as connection:
                material = await trust_material.named_material(connection, named, report.versions["trust"])
        except (LookupError, BadTrustMaterial) as error:
            self._refuse(BYTES, str(error))
        found = dict(material.roots) if material.policy is None else {**material.roots, POLICY: material.policy}
        if (path := await asyncio.to_thread(_other, found, report)) is not None:
            self._refuse(BYTES, f"{path} in the catalogue is not what trust names")
        return material

    def _refuse(self, why: str, reason: str) -> Never:
        """Raise the alarm.

        Raises:
            TrustRefused: always.
        """
        log.error("trust_refused", why=why, error=reason[:500])
        self._metrics.refused_trust(why)
        raise TrustRefused(reason[:500])


def _other(found: Mapping[str, bytes], report: TrustReport) -> str | None:
    """Return a target whose bytes are not those that were signed. Hashes up to 16 MB: not for the event loop."""
    signed = report.targets
    return next((path for path, body in found.items() if (sha256_of(body), len(body)) != signed[path]), None)
