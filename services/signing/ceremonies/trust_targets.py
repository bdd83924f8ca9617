"""The targets of the trust role: bytes that key holders signed by digest, laid into every index's tree as they are."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection
from tuf.api.metadata import Targets

from countermark.core.ceremony.payload import read_published
from countermark.core.names import TargetPath
from shared.catalogue import signing_events
from shared.trust.roles import Role


async def targets_of(connection: AsyncConnection, trust_file: bytes) -> dict[TargetPath, bytes]:
    """Return the targets that a published file of trust names, path -> bytes.

    Raises:
        LookupError: the catalogue lacks the bytes of one; without them the file must not be published.
    """
    named = named_targets(trust_file)
    kept = await signing_events.kept_targets(connection, named.values())
    absent = sorted(path for path, digest in named.items() if digest not in kept)
    if absent:
        raise LookupError(f"the catalogue lacks the bytes of {', '.join(absent)}: propose trust again with them")
    return {TargetPath(path): kept[digest] for path, digest in named.items()}


def named_targets(trust_file: bytes) -> dict[str, str]:
    """Return what a published file of trust names, path -> sha256."""
    signed = read_published(Role.TRUST, trust_file)
    assert isinstance(signed, Targets)
    return {path: target.hashes["sha256"] for path, target in signed.targets.items()}
