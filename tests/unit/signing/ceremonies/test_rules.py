"""What a deployment's state allows of a signing event."""

from __future__ import annotations

import pytest

from countermark.core.ceremony.changes import Change
from countermark.core.ceremony.faults import CeremonyFault
from countermark.core.ceremony.payload import metadata_bytes
from services.signing.ceremonies.rules import check_children, check_online_keys, first_steps_left
from shared.trust.roles import PROFILES, Role
from tests.support.ceremonies import SharedFiles, first_files, signer, signers

PRODUCTION = PROFILES["production"]


def changed(files: SharedFiles, role: str, change: Change) -> bytes:
    """Return the next version of a role, signed by its first keys."""
    payload = files.payload(role, change)
    return metadata_bytes(payload, [key.sign(payload) for key in signers(role)])


@pytest.fixture
def files() -> SharedFiles:
    """The first version of every shared file."""
    return first_files()


def test_keys_that_sign_must_stay_listed(files: SharedFiles) -> None:
    """Another key beside the one that signs is fine; in its place it is not."""
    mine = signer("timestamp").public_key.keyid
    add = (("timestamp", signer("timestamp", 1).public_key),)
    signing = {Role.TIMESTAMP: [mine]}
    check_online_keys("root", changed(files, "root", Change(add=add)), signing, PRODUCTION)
    instead = changed(files, "root", Change(add=add, remove=(("timestamp", mine),)))
    with pytest.raises(CeremonyFault, match=f"takes away key {mine} of role timestamp"):
        check_online_keys("root", instead, signing, PRODUCTION)
    check_online_keys("root", instead, {}, PRODUCTION)


def test_more_signatures_than_the_server_makes_are_refused(files: SharedFiles) -> None:
    """A threshold of two for bins, which one key signs, would stop every publication."""
    change = Change(add=(("bins", signer("bins", 1).public_key),), thresholds={"bins": 2})
    with pytest.raises(CeremonyFault, match="bins would need 2 signatures, and this server makes 1"):
        check_online_keys(
            "registry",
            changed(files, "registry", change),
            {Role.BINS: [signer("bins").public_key.keyid]},
            PRODUCTION,
        )


def test_children_must_verify_below_a_new_file(files: SharedFiles) -> None:
    """One holder of two who signed may leave; with both gone the child has to be signed anew first."""
    first, second, third = (key.public_key.keyid for key in signers("trust"))
    check_children("targets", changed(files, "targets", Change(remove=(("trust", third),))), files.newest)
    gone = Change(
        add=tuple(("trust", signer("trust", number).public_key) for number in (3, 4)),
        remove=(("trust", first), ("trust", second)),
    )
    with pytest.raises(CeremonyFault, match="trust version 1 does not have signatures enough"):
        check_children("targets", changed(files, "targets", gone), files.newest)
    check_children("targets", changed(files, "targets", gone), {"root": files.newest["root"]})


def test_what_is_left_of_a_first_ceremony_is_told_role_by_role() -> None:
    """Signed, waiting, finalisable and not proposed are told apart; nothing is left when all files are there."""
    assert first_steps_left(["root"], {"targets": (2, 2), "trust": (0, 2)}) == [
        "2 of 2 signatures of targets, to be finalised",
        "0 of 2 signatures of trust",
        "registry is not proposed",
    ]
    assert first_steps_left(["root", "targets", "trust", "registry"], {}) == []
