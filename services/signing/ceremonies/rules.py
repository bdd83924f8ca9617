"""What the deployment's own state allows of a signing event, beside the rules of the payload itself. Pure.

A payload may follow every rule of the contract and still stop every client: when it leaves out the key that signs
timestamps, or when the file below it was signed by keys that it takes away.

Source: trust contract sections 2.5 and 2.8.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tuf.api.exceptions import UnsignedMetadataError

from countermark.core.ceremony.faults import CeremonyFault
from countermark.core.ceremony.key_lists import key_lists
from countermark.core.ceremony.payload import read_published
from countermark.core.ceremony.tree import DELEGATOR
from shared.trust.metadata import verify_with
from shared.trust.roles import Profile, Role


def check_online_keys(role: str, content: bytes, signing: Mapping[Role, Iterable[str]], profile: Profile) -> None:
    """Refuse a file that would leave the server signing with keys that it does not list.

    Args:
        role: the shared role of the file.
        content: the file to publish.
        signing: online role -> ids of the keys that everything which clients read of it is signed with: of them one has
            to stay.

    Raises:
        CeremonyFault: with what to do first.
    """
    for name, listed in key_lists(read_published(role, content)).items():
        online = Role(name)
        used = set(signing.get(online, ()))
        if used and not used & set(listed.keyids):
            raise CeremonyFault(
                f"it takes away key {min(used)} of role {name}, with which this server signs: clients would refuse "
                f"everything. Put another key of {name} to use first (countermark-server keys rotate)"
            )
        if online in signing and listed.threshold > profile.roles[online].threshold:
            raise CeremonyFault(
                f"role {name} would need {listed.threshold} signatures, and this server makes "
                f"{profile.roles[online].threshold}"
            )


def check_children(role: str, content: bytes, newest: Mapping[str, bytes]) -> None:
    """Refuse a file under which the files that it delegates to would no longer verify.

    Args:
        role: the shared role of the file.
        content: the file to publish.
        newest: shared role -> its newest published file.

    Raises:
        CeremonyFault: with what to do first.
    """
    for child in sorted(name for name, delegator in DELEGATOR.items() if delegator == role and name != role):
        if child not in newest:
            continue
        try:
            verify_with(content, child, newest[child])
        except UnsignedMetadataError as error:
            version = read_published(child, newest[child]).version
            raise CeremonyFault(
                f"{child} version {version} does not have signatures enough of the keys that it lists: let a new "
                f"version of {child} be signed by old and new holders and finalise that first"
            ) from error


def first_steps_left(files: Iterable[str], standing: Mapping[str, tuple[int, int]]) -> list[str]:
    """Return in words what is missing of a deployment's first ceremony, a line for each role; empty when it is done.

    Args:
        files: shared roles that have a published file.
        standing: shared role that waits for signatures -> how many it has, how many it needs.
    """
    done, lines = set(files), []
    for role in DELEGATOR:
        if role in done:
            continue
        if role not in standing:
            lines.append(f"{role} is not proposed")
            continue
        has, needs = standing[role]
        lines.append(f"{has} of {needs} signatures of {role}" + (", to be finalised" if has >= needs else ""))
    return lines
