"""Sets what the trust role signs for attestations, beside a running server, where this deployment has the keys itself.

Source: trust contract sections 2.5 and 4; ADR 0040.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from countermark.core.ceremony.changes import MAX_TARGET_BYTES
from countermark.core.digest import sha256_of
from deploy.errors import LaunchError, UsageError
from deploy.open_resources import open_resources
from deploy.rebuilding import beside_server
from services.signing.ceremonies.own_trust import set_trust_targets, trust_targets
from services.signing.keys.signers import KeyUnusable
from shared.clock import SystemClock
from shared.errors import ErrorKind, ServiceError
from shared.settings import Settings

Row = Mapping[str, object]


async def listed(settings: Settings) -> list[Row]:
    """Return what trust signs now, a line for each target."""
    async with open_resources(beside_server(settings), SystemClock()) as resources:
        try:
            _, targets = await trust_targets(resources)
        except LookupError as error:
            raise LaunchError(str(error)) from error
    return [
        {"path": path, "length": len(content), "sha256": sha256_of(content)}
        for path, content in sorted(targets.items())
    ]


async def set_one(settings: Settings, path: str, file: Path, reason: str) -> str:
    """Let trust sign a target; returns a line that says so.

    Raises:
        UsageError: the file cannot be read, or is none that trust may sign.
        LaunchError: people hold the keys, or a key cannot be used.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_TARGET_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    if len(content) > MAX_TARGET_BYTES:
        raise UsageError(f"{file} has more than {MAX_TARGET_BYTES} bytes, which no target of trust may have")
    version = await _changed(settings, {path: content}, (), reason)
    return f"trust version {version} signs {path}, sha256 {sha256_of(content)}"


async def unset_one(settings: Settings, path: str, reason: str) -> str:
    """Let trust sign a target no more; returns a line that says so.

    Raises:
        As `set_one`.
    """
    version = await _changed(settings, {}, (path,), reason)
    return f"trust version {version} does not sign {path} any more"


async def _changed(settings: Settings, targets: Mapping[str, bytes], untargets: Sequence[str], reason: str) -> int:
    async with open_resources(beside_server(settings), SystemClock()) as resources:
        try:
            return await set_trust_targets(resources, targets, untargets, reason)
        except ServiceError as error:
            wrong = UsageError if error.kind is ErrorKind.INVALID else LaunchError
            raise wrong(error.detail) from error
        except KeyUnusable as error:
            raise LaunchError(str(error)) from error
