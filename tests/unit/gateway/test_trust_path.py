"""The trust path of a file says what is verified, what is claimed and what is contradicted, whatever the API tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from gateway.dashboard.file_pages import attest_recipes, check_recipes
from gateway.dashboard.shapes import Verification
from gateway.dashboard.trust_path import Fact, Mark, State, TrustPath, trust_path
from gateway.words import bounded

OID = "1.3.6.1.4.1.57264.1."
REPOSITORY = "https://github.com/acme/thing"
WORKFLOW = f"{REPOSITORY}/.github/workflows/release.yml"
NAMES = [
    *("root", "timestamp", "snapshot", "target", "pointer", "digest", "attestation digest"),
    *("statement", "subject", "signature", "identity", "log", "policy", "catalogue"),
]
CLAIMS = {"source": REPOSITORY, "ref": "refs/tags/v1", "builder_id": WORKFLOW, "build_type": "https://t"}
IDENTITY: dict[str, Any] = {
    "root": "private",
    "root_kind": "sigstore",
    "issuer": "https://issuer.test",
    "san": f"{WORKFLOW}@refs/tags/v1",
    "certificate": {f"{OID}12": REPOSITORY, f"{OID}14": "refs/tags/v1"},
}


def path(failed: str | None = None, skipped: tuple[str, ...] = (), **evidence: Mapping[str, Any]) -> TrustPath:
    """Return the path of a chain that breaks at a step, with the evidence of steps."""
    at = len(NAMES) if failed is None else NAMES.index(failed)
    steps = []
    for place, name in enumerate(NAMES):
        result = "passed" if place < at else "failed" if place == at else "skipped"
        reason = "why" if place <= at else f"not looked at, since {failed} failed"
        if name in skipped:
            result, reason = "skipped", "the file has no attestation"
        told = evidence.get(name.replace(" ", "_"), {})
        steps.append({"number": place + 1, "name": name, "result": result, "reason": reason, "evidence": told})
    document = {"index": "a/b", "verified": failed is None, "exit_code": 0, "failed": failed, "reason": "why"}
    document |= {"serial": 1, "checked_at": "2026-11-02T09:30:00Z", "steps": steps}
    return trust_path(Verification.model_validate(document), {"root": "2 of 3: ines", "bins": "1 of 1: this server"})


def facts(found: TrustPath, key: str) -> dict[str, Fact]:
    """Return the facts of a station, by name and mark."""
    (station,) = [one for one in found.stations if one.key == key]
    return {f"{fact.name} {fact.mark}": fact for fact in station.facts}


def states(found: TrustPath) -> dict[str, State]:
    """Return how each station stands."""
    return {station.key: station.state for station in found.stations}


def test_what_a_certificate_says_is_verified_and_the_rest_is_a_claim() -> None:
    """A claim that equals the certificate is one fact; one that nothing bears out is marked and has words."""
    found = path(statement={"claims": CLAIMS}, identity=IDENTITY)
    assert set(states(found).values()) == {State.VERIFIED}
    assert set(facts(found, "commit")) == {"Repository verified", "Ref verified"}
    build = facts(found, "build")
    assert build["Builder verified"].value == WORKFLOW
    assert build["Build type claim"].note == "no certificate bears it out"


@pytest.mark.parametrize(
    ("entry", "mark"),
    [
        (".github/workflows/release.yml", Mark.VERIFIED),
        ("/.github/workflows/release.yml", Mark.CLAIM),
        ("release.yml", Mark.CLAIM),
        (".github/workflows/release.yml@refs/tags/v1", Mark.CLAIM),
    ],
)
def test_what_was_run_is_borne_out_by_the_certificates_workflow(entry: str, mark: Mark) -> None:
    """The whole path between repository and ref, and no end of it."""
    certificate = {**IDENTITY["certificate"], f"{OID}18": f"{WORKFLOW}@refs/tags/v1"}
    found = path(statement={"claims": {"entry": entry}}, identity=IDENTITY | {"certificate": certificate})
    assert facts(found, "build")[f"Entry {mark}"].value == entry


def test_a_claim_that_the_certificate_contradicts_is_said_to_be_that() -> None:
    """Both stand there, and the station does not hold."""
    found = path(statement={"claims": CLAIMS | {"source": "https://github.com/evil/x"}}, identity=IDENTITY)
    commit = facts(found, "commit")
    assert commit["Repository verified"].value == REPOSITORY
    assert commit["Repository contradicted"].value == "https://github.com/evil/x"
    assert states(found)["commit"] is State.FAILED
    assert found.contradicted
    assert not path(statement={"claims": CLAIMS}, identity=IDENTITY).contradicted


def test_a_key_has_no_certificate_so_that_all_is_claimed() -> None:
    """Where a named key signed, commit and builder are its holder's word alone."""
    found = path(
        statement={"claims": CLAIMS}, identity={"root": "k", "root_kind": "key", "key": "ab", "certificate": {}}
    )
    assert {fact.mark for fact in facts(found, "commit").values()} == {Mark.CLAIM}
    assert states(found)["commit"] is State.CLAIMED
    assert facts(found, "build")["Signed by key verified"].value == "ab"
    assert facts(found, "attestation")["Signed at unproven"].value == "not known"


@pytest.mark.parametrize("named", ["a" * 64, "b" * 64, None])
def test_an_attestation_that_no_pointer_names_is_said_to_be_that(named: str | None) -> None:
    """What verifies and is not covered by the signed metadata is evidence that clients may not see."""
    bundle = "a" * 64
    found = path(pointer={"attestation_sha256": named}, statement={"bundle_sha256": bundle}, identity=IDENTITY)
    assert found.named is (named == bundle)
    told = {fact.name: fact.value for station in found.stations for fact in station.facts}
    assert told["Named by the signed pointer"] == ("yes" if named == bundle else "no")


def test_a_time_stamp_says_when_without_a_log() -> None:
    """An own authority has no log: the step is left out, and when it was signed is proven all the same."""
    found = path(skipped=("log",), identity=IDENTITY | {"root_kind": "ca", "signed_at": 1_700_000_000})
    assert facts(found, "attestation")["Signed at verified"].value == "14 Nov 2023, 22:13 UTC"
    assert "Log verified" not in facts(found, "attestation")
    assert states(found)["attestation"] is State.VERIFIED


def test_a_predicate_that_cannot_be_read_claims_nothing() -> None:
    """The reason stands there, and it is not called a claim."""
    found = path(statement={"claims": {"unreadable": "buildType is missing"}}, identity=IDENTITY)
    assert facts(found, "build")["Predicate unproven"].value == "buildType is missing"


@pytest.mark.parametrize("failed", ["attestation digest", "statement", "signature", "identity"])
def test_what_did_not_verify_shows_nothing_of_itself(failed: str) -> None:
    """Before the signer is known there is no claim and no certificate, also where the API tells of one."""
    found = path(failed, statement={"claims": CLAIMS}, identity=IDENTITY)
    assert facts(found, "commit") == {}
    assert facts(found, "build") == {}
    assert states(found)["commit"] is State.UNKNOWN
    assert State.FAILED in {states(found)["build"], states(found)["attestation"]}
    assert states(found)["bytes"] is State.VERIFIED
    assert found.policy.state is State.UNKNOWN or failed == "identity"


def test_without_an_attestation_the_path_is_metadata_and_bytes() -> None:
    """No station claims anything about a build that nobody attests."""
    found = path(skipped=tuple(NAMES[6:12]))
    assert [station.key for station in found.stations] == ["metadata", "bytes"]
    assert found.attested is False
    assert set(states(found).values()) == {State.VERIFIED}


@pytest.mark.parametrize(("named", "attested"), [(None, None), ("a" * 64, True)])
def test_what_was_not_reached_is_not_said_to_be_missing(named: str | None, attested: bool | None) -> None:
    """A chain that broke in front of the attestation tells nothing of it but what the pointer names."""
    found = path("digest", pointer={"attestation_sha256": named})
    assert found.attested is attested
    assert states(found)["attestation"] is State.UNKNOWN
    assert states(found)["bytes"] is State.FAILED


def test_metadata_files_have_versions_and_who_may_sign() -> None:
    """Root, timestamp, snapshot, and the roles down to the bin, which the one key of bins signs."""
    roles = {"registry": {"version": 2}, "b8-3f": {"version": 9, "keys": ["c" * 64]}}
    found = path(root={"version": 3, "sha256": "a" * 64}, snapshot={"version": 7}, target={"roles": roles})
    lines = {line.role: line for line in found.roles}
    assert {role: line.version for role, line in lines.items()} == {
        "root": "3", "snapshot": "7", "registry": "2", "b8-3f": "9",
    }  # fmt: skip
    assert lines["root"].may_sign == "2 of 3: ines"
    assert (lines["b8-3f"].may_sign, lines["b8-3f"].signed_by) == ("1 of 1: this server", ("c" * 64,))
    assert lines["snapshot"].may_sign == "not known here"


def test_a_policy_that_refuses_an_identity_shows_its_checks() -> None:
    """They stand at the step that failed, as the policy's own step is not reached."""
    checks = [{"name": "workflow", "wanted": "w", "found": None, "ok": False}]
    found = path("identity", identity={"checks": checks})
    (check,) = found.policy.checks
    assert (check.name, check.found, check.ok) == ("workflow", "nothing", False)
    assert found.policy.state is State.FAILED


def test_evidence_of_another_shape_is_left_out() -> None:
    """A newer or a broken service cannot break the page: what is not understood is no evidence."""
    odd: dict[str, Any] = {
        "claims": 7,
        "certificate": [1],
        "roles": "x",
        "verdict": 3,
        "checks": "no",
        "keys": {"a": 1},
    }
    odd |= {"signed_at": "soon", "log": 5, "log_index": {}, "version": None, "root": ["x"]}
    found = path(None, (), **{name.replace(" ", "_"): odd for name in NAMES})
    assert facts(found, "commit") == {}
    assert found.policy.checks == ()
    assert all(len(fact.value) < 400 for station in found.stations for fact in station.facts)


def test_what_others_wrote_is_bounded_and_is_what_it_looks_like() -> None:
    """Ten thousand characters become 300; another alphabet's letters and marks of direction stand as escapes."""
    long = path(statement={"claims": {"build_type": "x" * 10_000}}, identity=IDENTITY)
    assert facts(long, "build")["Build type claim"].value == "x" * 300 + "..."
    assert bounded("https://github.com/\u0430cme") == "https://github.com/\\u0430cme"
    assert bounded("a\u202eb\nc\\") == "a\\u202eb\\nc\\\\"
    assert bounded("\U0001f600" * 300, 3) == "\\U0001f600" * 3 + "..."


def test_commands_are_quoted_and_name_this_index() -> None:
    """What is copied is one command, whatever a version or a name holds."""
    url = "https://registry.test/team/stable"
    verify, fetch = (recipe.lines for recipe in check_recipes(url, "demo", "1!1.0+a", "x; rm -rf ~.whl"))
    assert verify == f"countermark verify 'x; rm -rf ~.whl' --repository {url}"
    assert fetch == f"countermark download 'demo==1!1.0+a' --file 'x; rm -rf ~.whl' --repository {url}"
    assert all(url in recipe.lines for recipe in attest_recipes(url, "x.whl"))
