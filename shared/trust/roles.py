"""The roles of a deployment's TUF repositories: who delegates to whom, how many keys, how long a signature lasts. Pure.

    root -> targets -> trust     (policy and Sigstore trust root)
                    -> registry  (succinct hash bins) -> b8-00 ... b8-ff (pointers and page documents)
         -> snapshot
         -> timestamp

root, targets, trust and registry are the same bytes for every index; bins, snapshot and timestamp are signed per index.
Source: trust contract section 2.3; architecture section 11.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from countermark.core.ceremony import tree


class Role(StrEnum):
    """A role that has keys. `BINS` stands for all bins of an index: one key signs them."""

    ROOT = "root"
    TARGETS = "targets"
    TRUST = "trust"
    REGISTRY = "registry"
    BINS = "bins"
    SNAPSHOT = "snapshot"
    TIMESTAMP = "timestamp"


SHARED = (Role.ROOT, Role.TARGETS, Role.TRUST, Role.REGISTRY)
"""Roles whose files are made once for the deployment and used by every index byte for byte."""

ONLINE = (Role.BINS, Role.SNAPSHOT, Role.TIMESTAMP)
"""Roles that sign whenever something is published, per index."""

TRUST_PATHS = tree.TRUST_PATHS
"""What `trust` may sign."""

REGISTRY_PATHS = tree.REGISTRY_PATHS
"""What `registry` delegates to the bins; a later pattern would need an offline signature."""


@dataclass(frozen=True, slots=True)
class RoleSpec:
    """How a role is kept.

    Attributes:
        keys: how many keys it has.
        threshold: how many of them must sign.
        lifetime: how long a signature is valid.
        resign_before: how long before its expiry a file is signed again.
    """

    keys: int
    threshold: int
    lifetime: timedelta
    resign_before: timedelta

    def __post_init__(self) -> None:
        """Refuse what no client could ever verify.

        Raises:
            ValueError: more signatures are demanded than there are keys, or none.
        """
        if not 1 <= self.threshold <= self.keys:
            raise ValueError(f"a threshold of {self.threshold} cannot be met with {self.keys} keys")
        if self.resign_before >= self.lifetime:
            raise ValueError("a signature would be due again before it is made")


@dataclass(frozen=True, slots=True)
class Profile:
    """The custody of a deployment: its roles and how many bins an index has, as a power of two."""

    name: str
    roles: dict[Role, RoleSpec]
    bin_bits: int

    @property
    def registry_is_online(self) -> bool:
        """Whether the registry's key is at hand, so that a command can change the count of bins (section 11.3)."""
        return self.roles[Role.REGISTRY].keys == 1

    @property
    def server_roles(self) -> tuple[Role, ...]:
        """The roles whose keys the server has, and people never."""
        return (*ONLINE, Role.REGISTRY) if self.registry_is_online else ONLINE


def _days(days: float) -> timedelta:
    return timedelta(days=days)


_ONLINE = {
    Role.BINS: RoleSpec(1, 1, _days(14), _days(7)),
    Role.SNAPSHOT: RoleSpec(1, 1, _days(7), _days(3.5)),
    Role.TIMESTAMP: RoleSpec(1, 1, _days(1), timedelta(hours=23)),
}

_SMALL_SITE = {
    Role.ROOT: RoleSpec(3, 2, _days(365), _days(60)),
    Role.TARGETS: RoleSpec(3, 2, _days(365), _days(60)),
    Role.TRUST: RoleSpec(3, 2, _days(180), _days(30)),
    Role.REGISTRY: RoleSpec(1, 1, _days(180), _days(30)),
    **_ONLINE,
}

_LARGE_SITE = _SMALL_SITE | {
    Role.ROOT: RoleSpec(5, 3, _days(365), _days(60)),
    Role.REGISTRY: RoleSpec(3, 2, _days(180), _days(30)),
}

PROFILES = {
    "development": Profile("development", _SMALL_SITE, bin_bits=8),
    "small": Profile("small", _SMALL_SITE, bin_bits=8),
    "production": Profile("production", _LARGE_SITE, bin_bits=10),
}
"""name -> profile, as in the table of trust contract section 2.3. What sets `development` apart from `small` is
custody: every
key is generated on the machine itself."""


def is_due(spec: RoleSpec, expires_at: datetime, now: datetime) -> bool:
    """Return whether a file of a role should be signed again."""
    return expires_at - now <= spec.resign_before


def bin_prefix(bin_bits: int) -> str:
    """Return the name prefix of bins, which tells their count: changing the count never reuses a name."""
    return tree.bin_prefix(bin_bits)
