"""How long what is trusted lasts: roles that key holders sign, and the parts of Sigstore roots. Pure.

A part of a root that has ended is not at fault by itself: what was signed before stays verifiable by it, and public
roots keep theirs for ever. It is one when none of its kind is left, or the last one ends soon: then nothing new can be
verified.

Source: trust contract sections 2.7 (monitoring) and 5.1 (trust material, `validFor`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from countermark.core.digest import Sha256

OFFLINE = ("root", "targets", "trust", "registry")
"""Roles that people sign anew; the others are signed by the registry itself, day by day."""


class Kind(StrEnum):
    """What a part of a Sigstore root is."""

    AUTHORITY = "certificate authority"
    LOG = "transparency log"
    CT_LOG = "CT log"
    STAMPS = "time stamp authority"


@dataclass(frozen=True, slots=True)
class RoleLife:
    """A role of the index's metadata, verified.

    Attributes:
        threshold: signatures of how many of `keyids` it needs.
        keyids: empty for roles whose keys nobody lists one by one.
    """

    role: str
    version: int
    expires: datetime
    threshold: int | None = None
    keyids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """An authority or a log that a Sigstore root trusts.

    Attributes:
        name: its address, or of whom it is.
        ids: of a log its id, of an authority the sha256 of each certificate; hex.
        end: when it ends, by the root or by the first of its certificates to expire; None: never.
    """

    kind: Kind
    name: str
    ids: tuple[str, ...]
    start: datetime | None
    end: datetime | None

    def has_ended(self, now: datetime) -> bool:
        """Return whether nothing new is verified by it."""
        return self.end is not None and self.end <= now


@dataclass(frozen=True, slots=True)
class SigstoreRoot:
    """A Sigstore root that the trust role signs.

    Attributes:
        names: by which the policy calls it.
        fault: why nothing is verified against it; None where it can be used.
        is_test: whether it is a test instance's.
    """

    path: str
    sha256: Sha256
    parts: tuple[Part, ...]
    names: tuple[str, ...] = ()
    fault: str | None = None
    is_test: bool = False


@dataclass(frozen=True, slots=True)
class SignedPolicy:
    """The policy that the trust role signs.

    Attributes:
        rules: how many; None where it cannot be read.
        roots: name -> target path.
        fault: why it cannot be read.
    """

    sha256: Sha256
    rules: int | None = None
    roots: Mapping[str, str] = field(default_factory=dict)
    test_roots: frozenset[str] = frozenset()
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Trusted:
    """All that an index is trusted by.

    Attributes:
        others: what the trust role signs beside policy and roots: target path -> sha256, as signed.
    """

    roles: tuple[RoleLife, ...]
    policy: SignedPolicy | None
    roots: tuple[SigstoreRoot, ...]
    others: Mapping[str, str] = field(default_factory=dict)


def faults(trusted: Trusted, now: datetime, within: timedelta) -> list[str]:
    """Return what is wrong or will be within a time, a sentence each."""
    return [*_of_roles(trusted.roles, now, within), *_of_policy(trusted), *_of_roots(trusted, now, within)]


def _of_roles(roles: Iterable[RoleLife], now: datetime, within: timedelta) -> Iterator[str]:
    for role in roles:
        limit = within if role.role in OFFLINE else timedelta(0)
        if role.expires <= now + limit:
            who = "its key holders are to sign it anew" if role.role in OFFLINE else "the registry's signer has stopped"
            yield f"the role {role.role}, version {role.version}, {_ends(role.expires, now)}: {who}"


def _of_policy(trusted: Trusted) -> Iterator[str]:
    policy = trusted.policy
    if policy is None:
        return
    if policy.fault is not None:
        yield f"the policy cannot be read: {policy.fault}"
    there = {root.path for root in trusted.roots}
    for name, path in policy.roots.items():
        if path not in there:
            yield f"the policy's root {name!r} is {path}, which the role trust does not sign"


def _of_roots(trusted: Trusted, now: datetime, within: timedelta) -> Iterator[str]:
    allowed = frozenset() if trusted.policy is None else trusted.policy.test_roots
    for root in trusted.roots:
        if root.fault is not None:
            yield f"{root.path} cannot be used: {root.fault}"
            continue
        if root.is_test and not set(root.names) & allowed:
            yield f"{root.path} is a test instance's, and the policy does not name it in test_roots"
        for kind in Kind:
            yield from _of_kind(root.path, kind, [part for part in root.parts if part.kind is kind], now, within)


def _of_kind(path: str, kind: Kind, parts: Sequence[Part], now: datetime, within: timedelta) -> Iterator[str]:
    if not parts:
        return
    ends = [part.end for part in parts]
    if None in ends:
        return
    last = max(end for end in ends if end is not None)
    if last <= now + within:
        yield f"{path}: the last {kind} {_ends(last, now)}, and none follows: a new root is to be signed"


def _ends(end: datetime, now: datetime) -> str:
    return f"ended on {end:%Y-%m-%d}" if end <= now else f"ends on {end:%Y-%m-%d}, in {(end - now).days} days"
