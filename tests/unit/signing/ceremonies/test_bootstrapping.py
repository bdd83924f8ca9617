"""The first ceremony as planned: who must be named, and what the first files say."""

from __future__ import annotations

import pytest

from countermark.core.ceremony import rules
from countermark.core.ceremony.changes import build
from countermark.core.ceremony.payload import canonical_payload
from countermark.core.ceremony.tree import WINDOWS
from services.signing.ceremonies.bootstrapping import (
    HeldKey,
    check_holders,
    first_proposals,
    offline_roles,
    online_roles,
)
from shared.errors import ServiceError
from shared.trust.roles import PROFILES, Role
from tests.support.ceremonies import NOW, signer, signers


def held(profile: str) -> list[HeldKey]:
    """Return as many holders as a profile wants."""
    spec = PROFILES[profile]
    return [
        HeldKey(role, key.public_key, f"person {number}")
        for role in offline_roles(spec)
        for number, key in enumerate(signers(role, spec.roles[role].keys))
    ]


@pytest.mark.parametrize("profile", ["small", "production"])
def test_first_files_follow_every_rule(profile: str) -> None:
    """What is proposed passes the same checks as every later version, and each role has a proposal or a key here."""
    spec = PROFILES[profile]
    check_holders(spec, held(profile))
    online = {role: [signer(role).public_key] for role in online_roles(spec)}
    proposals = first_proposals(spec, held(profile), online, spec.bin_bits)
    assert [proposal.role for proposal in proposals] == offline_roles(spec)
    for proposal in proposals:
        lifetime = spec.roles[Role(proposal.role)].lifetime
        payload = canonical_payload(build(proposal.role, None, proposal.change, NOW, lifetime))
        rules.check(proposal.role, payload, None, WINDOWS[proposal.role], NOW)
    assert {*offline_roles(spec), *online_roles(spec)} == set(Role)


def test_every_fault_is_said_at_once() -> None:
    """A role without holders, one too few, a key twice and a holder of what the server signs are all named."""
    named = [one for one in held("small") if one.role is not Role.TRUST][:-1]
    named.append(HeldKey(Role.TARGETS, named[0].key, "somebody"))
    named.append(HeldKey(Role.SNAPSHOT, signer("snapshot").public_key, "nobody"))
    with pytest.raises(ServiceError) as refused:
        check_holders(PROFILES["small"], named)
    lines = refused.value.detail.splitlines()
    assert len(lines) == 3
    assert "named twice" in lines[0]
    assert "no holders of snapshot" in lines[1]
    assert "wants 3 holders of trust, of whom 2 sign, and 0 are named" in lines[2]
