"""The shared roles as they are published now: versions, expiries, thresholds, keys and their holders. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from countermark.core.ceremony.key_lists import key_lists, listed_keys
from countermark.core.ceremony.payload import read_published
from countermark.core.ceremony.tree import DELEGATOR, SHARED_ROLES
from countermark.core.digest import sha256_of
from services.signing.ceremonies.views import SharedFiles, first_ceremony
from shared.resources import Resources
from shared.trust.roles import PROFILES, Role


@dataclass(frozen=True, slots=True)
class KeyLine:
    """A key of a role; `holder` are words that nobody signed."""

    keyid: str
    scheme: str
    holder: str | None


@dataclass(frozen=True, slots=True)
class RoleLine:
    """A role; version, expiry and digest are those of its shared file, None for roles that each index signs."""

    role: str
    version: int | None
    expires_at: datetime | None
    sha256: str | None
    threshold: int
    keys: Sequence[KeyLine]
    online: bool


async def trust_state(resources: Resources) -> tuple[list[str], list[RoleLine]]:
    """Return what is missing of the first ceremony, in words, and the roles that are published."""
    profile = PROFILES[resources.settings.signing.profile]
    async with resources.engine.connect() as connection:
        missing = await first_ceremony(connection)
        shared = await SharedFiles.read(connection)
    by_role: dict[str, RoleLine] = {}
    for file in shared.files:
        # A registry that the server signed is nothing before the targets that name its key.
        if DELEGATOR[file] not in shared.files:
            continue
        for line in _listed(shared, file, online=profile.registry_is_online):
            by_role[line.role] = line
    return missing, [by_role[role] for role in map(str, Role) if role in by_role]


def _listed(shared: SharedFiles, file: str, *, online: bool) -> list[RoleLine]:
    """Return the roles whose keys a published file lists."""
    content = shared.files[file].content
    signed = read_published(file, content)
    keys = listed_keys(signed)
    lines = []
    for role, listed in key_lists(signed).items():
        if role in SHARED_ROLES and DELEGATOR[role] != file:
            continue
        own = shared.files.get(role)
        lines.append(
            RoleLine(
                role=role,
                version=None if own is None else own.version,
                expires_at=None if own is None else own.expires_at,
                sha256=None if own is None else sha256_of(own.content),
                threshold=listed.threshold,
                keys=[_key(keyid, keys[keyid].scheme, shared.holders) for keyid in listed.keyids],
                online=role not in SHARED_ROLES or (role == Role.REGISTRY and online),
            )
        )
    return lines


def _key(keyid: str, scheme: str, holders: Mapping[str, str]) -> KeyLine:
    return KeyLine(keyid, scheme, holders.get(keyid))
