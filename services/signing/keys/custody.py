"""Which keys sign at a moment, and what they have not signed yet. Pure.

While a key is being replaced a role has two: the old one, which clients know, and the new one, which they are about to
learn. Everything is signed with both until clients have the root or the registry that names the new one alone: so no
client ever meets a file that it cannot verify. What was signed before a key came into use is signed again.
Source: trust contract section 2.8 (the hitless order).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby, islice

from shared.catalogue.publication_rows import CurrentFile
from shared.catalogue.trust import UsedKey
from shared.trust.roles import ONLINE, Profile, Role

MOST_BINS = 1024
"""Bins that a batch signs again because of a new key: a few seconds, so that uploads need not wait for all."""

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Custody:
    """The keys that sign at a moment.

    Attributes:
        profile: how long what they sign is valid.
        ids: their key ids.
        since: when the newest key of each online role came into use that has more than one.
    """

    profile: Profile
    ids: frozenset[str]
    since: Mapping[Role, datetime]

    def owes(self, role: Role, expires_at: datetime) -> bool:
        """Return whether a file of a role was signed before its newest key came into use, by when it expires."""
        return expires_at < self._expiry_since(role)

    def owed_bins(self, bins: Mapping[str, CurrentFile], prefix: str) -> list[str]:
        """Return the bins that the newest key has not signed, at most `MOST_BINS` of them.

        Args:
            prefix: what the names of the bins begin with that the registry delegates to; nobody asks for others.
        """
        expiry = self._expiry_since(Role.BINS)
        owed = (file.role for file in bins.values() if file.expires_at < expiry and file.role.startswith(prefix))
        return list(islice(owed, MOST_BINS))

    def _expiry_since(self, role: Role) -> datetime:
        """Return when a file expires that was signed when the newest key of a role came into use."""
        since = self.since.get(role)
        return _NEVER if since is None else since + self.profile.roles[role].lifetime


def custody_of(profile: Profile, keys: Iterable[UsedKey], now: datetime) -> Custody:
    """Return who signs at a moment.

    Of an online role that is its oldest key, whatever the clock says, and those after it whose time has come. What a
    lone key has not signed cannot be told, and need not: a key is retired only once the others have signed everything.
    """
    ids, since = set(), {}
    for role, of_role in groupby(sorted(keys, key=lambda key: (key.role, key.since)), lambda key: Role(key.role)):
        first, *more = of_role
        begun = [key for key in more if role not in ONLINE or key.since <= now]
        ids |= {key.keyid for key in (first, *begun)}
        if begun and role in ONLINE:
            since[role] = begun[-1].since
    return Custody(profile, frozenset(ids), since)
