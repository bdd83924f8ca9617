"""What an index's settings say of its upstream, and of what it shows of mirrored files. Pure.

Settings were checked when they were written (`gateway.devpi.values`, `gateway.policy_values`); what cannot be read all
the same closes instead of opening: a policy that is damaged shows nothing.
Source: contract devpi sections 6 and 14; contract python-index section 6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from countermark.core.names import IndexName
from shared.reading.policy import Exemption, Policy

POLICY = "policy"
"""Key of an index's settings that holds its policy, as `policy_settings` writes it."""

_SHUT = frozenset[str]()


@dataclass(frozen=True, slots=True)
class MirrorOptions:
    """An upstream.

    Attributes:
        url: of the simple index, with a slash at its end; None when none was set yet.
        expiry: seconds for which a page is used without asking again; None for the deployment's.
        lists: whether the upstream has a list of projects that may be asked for.
        serials: whether its serials count.
    """

    url: str | None
    expiry: int | None = None
    lists: bool = True
    serials: bool = True


def mirror_options(settings: Mapping[str, Any]) -> MirrorOptions:
    """Return what the settings of a mirror say of its upstream."""
    url, expiry = settings.get("mirror_url"), settings.get("mirror_cache_expiry")
    return MirrorOptions(
        url=f"{url.rstrip('/')}/" if isinstance(url, str) and url else None,
        expiry=expiry if isinstance(expiry, int) else None,
        lists=not settings.get("mirror_no_project_list"),
        serials=not settings.get("mirror_ignore_serial_header"),
    )


def policy_from(
    index: IndexName,
    settings: Mapping[str, Any],
    exemptions: Sequence[Exemption] = (),
    reserved: Sequence[str] = (),
) -> Policy:
    """Return what an index shows of mirrored files.

    Args:
        reserved: prefixes that belong to the whole deployment.
    """
    said = settings.get(POLICY)
    if said is None:
        return Policy(index, reserved=tuple(reserved), exemptions=tuple(exemptions))
    try:
        allowed = said.get("allowed")
        return Policy(
            index,
            min_age=timedelta(seconds=int(said.get("min_age", 0))),
            reserved=tuple(dict.fromkeys([*reserved, *map(str, said.get("reserved", ()))])),
            denied={str(pattern): str(reason) for pattern, reason in said.get("denied", {}).items()},
            allowed=None if allowed is None else frozenset(map(str, allowed)),
            quarantined={str(name): str(reason) for name, reason in said.get("quarantined", {}).items()},
            exemptions=tuple(exemptions),
        )
    except (AttributeError, TypeError, ValueError, OverflowError):
        return Policy(index, allowed=_SHUT)


def policy_settings(policy: Policy) -> dict[str, Any]:
    """Return a policy, without its exemptions, as an index's settings keep it."""
    return {
        "min_age": int(policy.min_age.total_seconds()),
        "reserved": list(policy.reserved),
        "denied": dict(policy.denied),
        "allowed": None if policy.allowed is None else sorted(policy.allowed),
        "quarantined": dict(policy.quarantined),
    }
