"""A look at an index from outside, as clients have it: a cold refresh, a warm one, and how long everything still lasts.

Whoever runs a registry has this run by a machine that is not theirs: metrics tell what was signed, not what arrives.
Source: trust contract section 2.7.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from tuf.api.metadata import SuccinctRoles

from countermark.cache import Cache
from countermark.core.errors import InvalidMetadata
from countermark.credentials import Notify
from countermark.location import Location
from countermark.roots import TrustedRoot
from countermark.transport import ByteSource
from countermark.updater import POLICY_TARGET, Starting, TrustedIndex

_TOP = ("root", "timestamp", "snapshot", "targets")
_DELEGATED = ("trust", "registry")

_MOST_BITS = 14
"""A registry has at most 2 to the power of this many bins. Source: trust contract section 1.5."""

_TRIES = 64
"""Target paths tried for each bin: that none of so many falls into one of them happens once in 10^24 times."""


class Run(StrEnum):
    """Which of the two refreshes."""

    COLD = "cold"
    """With an empty cache, as a new client does."""
    WARM = "warm"
    """With the cache that was kept, as all others do."""


@dataclass(frozen=True, slots=True)
class Life:
    """How long a role's verified metadata lasts.

    Attributes:
        role: its name; `bins` stands for all of them.
        version: of the file, or of the bin that expires first.
        expires: when it, or the first of the bins, does.
        files: how many there are: 1, or the number of bins.
        first: the bin that expires first.
    """

    role: str
    version: int
    expires: datetime
    files: int = 1
    first: str | None = None

    def left(self, now: datetime) -> timedelta:
        """Return how long it lasts from a moment on; negative when it has expired by then."""
        return self.expires - now


@dataclass(frozen=True, slots=True)
class Probe:
    """What is probed, from which root, and the cache that is kept for the warm refresh.

    Attributes:
        location: the repository, whose cache it is.
        address: where it is read: there, or at a mirror.
    """

    location: Location
    address: Location
    root: TrustedRoot
    source: ByteSource
    cache: Cache
    notify: Notify

    def run(self, run: Run) -> list[Life]:
        """Refresh, read all roles and all bins, and return how long each lasts.

        Raises:
            ClientError: the first step that failed; also when something has expired.
        """
        if run is Run.WARM:
            with self.cache.opened(self.location, self.root.sha256, self.notify) as folder:
                return self._lives(folder)
        with tempfile.TemporaryDirectory(prefix="countermark-probe-") as folder:
            return self._lives(Path(folder))

    def _lives(self, folder: Path) -> list[Life]:
        index = TrustedIndex(Starting(self.address, self.root, folder), self.source)
        index.refresh()
        # Each look-up reads the roles on its way, checked as for a download.
        index.holds(POLICY_TARGET)
        index.holds(_path(0))
        lives = [_life(folder, role) for role in (*_TOP, *_DELEGATED)]
        bins = _bins(folder)
        for path in _one_path_each(bins):
            index.holds(path)
        each = [_life(folder, name) for name in bins.get_roles()]
        first = min(each, key=lambda life: life.expires)
        return [*lives, Life("bins", first.version, first.expires, len(each), first.role)]


def expired_by(lives: Iterable[Life], moment: datetime) -> list[Life]:
    """Return what will have expired at a moment."""
    return [life for life in lives if life.left(moment) <= timedelta(0)]


def _life(folder: Path, role: str) -> Life:
    """Read from the cache what was verified a moment ago."""
    try:
        signed = json.loads((folder / f"{role}.json").read_bytes())["signed"]
    except FileNotFoundError:
        raise InvalidMetadata(f"the repository has no role {role} where this client looks for it") from None
    return Life(role, int(signed["version"]), datetime.fromisoformat(signed["expires"]).astimezone(UTC))


def _bins(folder: Path) -> SuccinctRoles:
    """Return the bins that the registry delegates to, as verified."""
    signed = json.loads((folder / "registry.json").read_bytes())["signed"]
    roles = signed.get("delegations", {}).get("succinct_roles")
    if roles is None or not 1 <= int(roles["bit_length"]) <= _MOST_BITS:
        raise InvalidMetadata("the registry role delegates to no bins that this client can read")
    return SuccinctRoles.from_dict(roles)


def _one_path_each(bins: SuccinctRoles) -> Iterator[str]:
    """Yield target paths of which each lies in another bin, one for every bin."""
    missing = set(bins.get_roles())
    for number in range(_TRIES * len(missing)):
        path = _path(number)
        name = bins.get_role_for_target(path)
        if name in missing:
            missing.discard(name)
            yield path
        if not missing:
            return
    raise InvalidMetadata(f"no target path was found for the bins {', '.join(sorted(missing)[:3])}")


def _path(number: int) -> str:
    """Return a target path that nobody can have published: project names of this kind are the registry's own."""
    return f"pointers/countermark--probe/{number}.pointer"
