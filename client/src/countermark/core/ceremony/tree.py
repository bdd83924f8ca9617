"""The shared roles: whose keys each file lists, who delegates to it, what it may say and how long it may last. Pure.

Without the TUF library: every process of a server loads this.

Source: trust contract section 2.3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta

from countermark.core.ceremony.faults import CeremonyFault

SHARED_ROLES = ("root", "targets", "trust", "registry")
"""Roles whose files are signed in a ceremony, and used byte for byte by every index."""

KEYED_BY: Mapping[str, tuple[str, ...]] = {
    "root": ("root", "targets", "snapshot", "timestamp"),
    "targets": ("trust", "registry"),
    "trust": (),
    "registry": ("bins",),
}
"""Shared role -> the roles whose keys its file lists."""

DELEGATOR: Mapping[str, str] = {"root": "root", "targets": "root", "trust": "targets", "registry": "targets"}
"""Shared role -> the shared role whose file lists its keys."""

TRUST_PATHS = ("trust/*", "trusted_root.json", "signing_config.v0.2.json")
"""What `trust` may sign."""

REGISTRY_PATHS = ("pointers/*/*", "conan/*/*", "generic/*/*")
"""What `registry` delegates to the bins; a later pattern would need an offline signature."""

DELEGATED_PATHS: Mapping[str, tuple[str, ...]] = {"trust": TRUST_PATHS, "registry": REGISTRY_PATHS}

Window = tuple[timedelta, timedelta]
"""The shortest and the longest time to the expiry of a payload."""

WINDOWS: Mapping[str, Window] = {
    "root": (timedelta(days=60), timedelta(days=365)),
    "targets": (timedelta(days=60), timedelta(days=365)),
    "trust": (timedelta(days=30), timedelta(days=180)),
    "registry": (timedelta(days=30), timedelta(days=180)),
}
"""Shared role -> its window: what expires sooner than the role is signed anew would be due before it is published."""

MAX_BIN_BITS = 14
"""Hash bins as a power of two, at the most: 16384. Source: trust contract section 1.5."""

_TRUST_TARGET = re.compile(r"(trust/[A-Za-z0-9][A-Za-z0-9._-]{0,199}|trusted_root\.json|signing_config\.v0\.2\.json)\Z")


def check_role(role: str) -> str:
    """Return the name of a shared role.

    Raises:
        CeremonyFault: there is none of that name.
    """
    if role not in SHARED_ROLES:
        raise CeremonyFault(f"{role[:40]!r} is no role that is signed in a ceremony: name {', '.join(SHARED_ROLES)}")
    return role


def is_trust_target(path: str) -> bool:
    """Return whether `trust` may sign a target of this path: one of `TRUST_PATHS`, in plain characters."""
    return _TRUST_TARGET.match(path) is not None


def bin_prefix(bin_bits: int) -> str:
    """Return the name prefix of bins, which tells their count: changing the count never reuses a name."""
    return f"b{bin_bits}"
