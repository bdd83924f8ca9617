"""What the trust role signs for attestations is read before anybody signs it, and again before it is published.

A policy that does not parse, or a root that cannot be read, would have every upload, download and signature refused
that asks for it. It is read by the code that will judge by it; roots by the process that verifies, since a server loads
none of its libraries.
Source: trust contract sections 2.5 and 4; architecture section 11.3; ADR 0040.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.attestations.trust_material import BadTrustMaterial, TrustMaterial
from countermark.core.ceremony.faults import CeremonyFault
from countermark.core.policy import InvalidPolicy, parse_policy
from services.signing.ceremonies.trust_targets import named_targets, targets_of
from shared.attesting.processes import Verifying
from shared.catalogue.trust_material import POLICY, is_material

_SECONDS = 20.0
"""That reading all roots may take."""


async def check_trust(
    verifying: Verifying, connection: AsyncConnection, previous: bytes | None, content: bytes
) -> None:
    """Refuse a file of trust whose targets are not there, or that names others than before by which nothing could be
    judged. What was signed before this was looked at can be renewed as it is.

    Args:
        previous: the published file of the version before, None for the first.

    Raises:
        CeremonyFault: with what is wrong.
        LookupError: the catalogue lacks the bytes of one.
        ServiceError: UNAVAILABLE; the roots could not be looked at.
    """
    targets = {str(path): one for path, one in (await targets_of(connection, content)).items()}
    if previous is None or named_targets(previous) != named_targets(content):
        await check_material(verifying, targets)


async def check_material(verifying: Verifying, targets: Mapping[str, bytes]) -> None:
    """Refuse targets of trust by which nothing could be judged.

    Args:
        targets: all that trust is to sign, path -> content.

    Raises:
        CeremonyFault: the policy is none, it names a root that is not signed, or a root is none.
        ServiceError: UNAVAILABLE; the roots could not be looked at.
    """
    mine = {path: content for path, content in targets.items() if is_material(path, with_policy=POLICY in targets)}
    policy = mine.pop(POLICY, None)
    try:
        material = TrustMaterial(policy, mine)
        named = {} if policy is None else parse_policy(policy).roots
    except BadTrustMaterial as error:
        raise CeremonyFault(str(error)) from error
    except InvalidPolicy as error:
        raise CeremonyFault(f"{POLICY} is no policy: {error}") from error
    for name, path in sorted(named.items()):
        if path not in mine:
            raise CeremonyFault(f"{POLICY} names the root {name}, {path}, which trust does not sign: add that target")
    # Which of the other documents below trust/ are roots only the policy says.
    roots = {path: content for path, content in material.roots.items() if path in named.values() or is_root(path)}
    if not roots:
        return
    asked = {"ask": "roots", "roots": roots}
    faults = (await verifying.ask(asked, "what trust signs", _SECONDS))["faults"]
    for path in sorted(faults):
        raise CeremonyFault(f"{path} is no Sigstore trust root: {faults[path]}")


def is_root(path: str) -> bool:
    """Return whether a target is a trust root by its name. Pure."""
    return path != POLICY and is_material(path, with_policy=False)
