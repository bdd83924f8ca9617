"""Verification summaries in place of build provenance: of the right signer, about this file, passed, and high enough.

Trust contract section 4 (VSA); ADR 0043.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from countermark.core.attestations.facts import LogKind, RootKind
from countermark.core.attestations.summary import UnreadableSummary, read_summary, resource_uri
from countermark.core.policy import parse_policy
from tests.support.policies import (
    FILE,
    GOOD,
    ISSUER,
    NOW,
    PINNED,
    POLICY,
    RESOURCE,
    SOURCE,
    VERIFIED,
    VERIFIER,
    claims,
    edited,
    judged,
    summarised,
    summary,
)

THIRD = "https://ci.example/third/verify/.ci/verify.yml@refs/heads/main"
BOTH = edited(
    {
        "packages:\n": POLICY[POLICY.index("builders:") : POLICY.index("  acme-nightly")] + "packages:\n",
        'verifiers: ["other-team"]': 'builders: ["acme-release"]\n    verifiers: ["other-team"]',
    },
    VERIFIED,
)
"""Build provenance or a summary."""


KEY_VERIFIER = f"""
schema: "policy/v1"
keys:
  release: |
    -----BEGIN PUBLIC KEY-----
    MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
    -----END PUBLIC KEY-----
verifiers:
  other-team: {{verifier_id: "{VERIFIER}", key: "release", level: 3}}
packages:
  - {{match: "widget", verifiers: ["other-team"], log: {{rekor: ["none"], max_age_days: 30}}, min_level: 1}}
"""
"""Of a key, as registries sign their own summaries."""


def told(text: str = VERIFIED, **changes: Any) -> tuple[int, str | None]:
    """Return exit code and failed check of a summary."""
    verdict = judged(summarised(**changes), policy=text)
    return verdict.exit_code, next((check.name for check in verdict.checks if not check.ok), None)


def test_a_summary_is_taken() -> None:
    """The verdict names the verifier and its level, and nothing of the source of the run that verified."""
    verdict = judged(summarised(), policy=VERIFIED)
    assert (verdict.allowed, verdict.builder, verdict.verifier, verdict.level) == (True, None, "other-team", 3)
    assert (verdict.source, verdict.ref, verdict.commit) == (None, None, None)
    assert "is verified by other-team" in verdict.reason
    assert [check.name for check in verdict.checks] == [
        *("root", "issuer", "workflow", "workflow ref", "verifier id", "log", "age", "result", "resource", "level")
    ]


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({"verifier": {"id": "https://verify.example/third"}}, (60, "verifier id")),
        ({"verifier": {"id": f"{VERIFIER}/"}}, (60, "verifier id")),
        ({"san": "https://ci.example/eve/verify/.ci/verify.yml@refs/heads/main"}, (60, "workflow")),
        ({"san": "https://ci.example/other/verify/.ci/verify.yml@refs/heads/eve"}, (60, "workflow ref")),
        ({"issuer": f"{ISSUER}/"}, (60, "issuer")),
        ({"root": "company"}, (60, "root")),
        ({"root_kind": RootKind.KEY, "root": "private", "key": "c" * 64}, (60, "root")),
        ({"certificate": claims() | {"1.3.6.1.4.1.57264.1.6": "refs/heads/eve"}}, (60, "certificate")),
        ({"san": THIRD}, (62, "verifier")),
        ({"san": THIRD, "verifier": {"id": "https://verify.example/third"}}, (62, "verifier")),
        ({"log": LogKind.NONE}, (61, "log")),
        ({"verificationResult": "FAILED"}, (62, "result")),
        ({"verifiedLevels": ["SLSA_BUILD_LEVEL_3", "FAILED"]}, (62, "result")),
        ({"verifiedLevels": ["SLSA_BUILD_LEVEL_2"]}, (62, "level")),
        ({"verifiedLevels": []}, (62, "level")),
        ({"verifiedLevels": ["SLSA_BUILD_LEVEL_33", "slsa_build_level_3", "SLSA_SOURCE_LEVEL_3"]}, (62, "level")),
        ({"verifiedLevels": ["SLSA_BUILD_LEVEL_UNEVALUATED", "SLSA_BUILD_LEVEL_3 "]}, (62, "level")),
        ({"resourceUri": RESOURCE.replace("1.0", "1.1")}, (62, "resource")),
        ({"resourceUri": RESOURCE.replace("root/stable", "root/dev")}, (62, "resource")),
        ({"resourceUri": RESOURCE.replace(".whl", ".whl?x")}, (62, "resource")),
        ({"timeVerified": "2030-02-15T00:00:00Z"}, (62, "age")),
        ({"timeVerified": None}, (62, "age")),
        ({"predicate": {"verificationResult": "PASSED"}}, (62, "summary")),
        ({"predicate": None}, (62, "summary")),
        ({"predicate_type": "https://slsa.dev/verification_summary/v0.2"}, (62, "predicate")),
    ],
)
def test_what_fails(changes: dict[str, Any], failed: tuple[int, str]) -> None:
    """Each forgery fails at its own check, with the code of its kind."""
    assert told(**changes) == failed


def test_other_evidence_does_not_count_for_verifiers() -> None:
    """A rule with verifiers alone takes no build provenance, and one without takes no summary, whoever signed it."""
    assert judged(GOOD, policy=VERIFIED).exit_code == 62
    assert "there is https://slsa.dev/verification_summary/v1" in judged(summarised()).reason
    as_builder = summarised(san=GOOD.san, certificate=GOOD.certificate)
    assert judged(as_builder).exit_code == 62
    # A builder's signature is not a verifier's.
    assert judged(as_builder, policy=BOTH).exit_code == 60


def test_one_of_both_is_enough() -> None:
    """Beside builders, either is enough; what fails beside it changes nothing."""
    assert judged(GOOD, policy=BOTH).builder == "acme-release"
    assert judged(summarised(), policy=BOTH).verifier == "other-team"
    assert judged(summarised(verificationResult="FAILED"), GOOD, policy=BOTH).allowed
    assert judged(replace(GOOD, issuer="https://eve.example"), summarised(), policy=BOTH).allowed


def test_levels_are_capped() -> None:
    """What a summary claims counts up to the level that the verifier is trusted with, and no further."""
    low = edited({"    level: 3\n  third": "    level: 2\n  third"}, VERIFIED)
    assert told(low) == (62, "level")
    assert judged(summarised(), policy=edited({"min_level: 3": "min_level: 2"}, low)).level == 2
    assert told(edited({"    level: 3\n  third": "  third"}, VERIFIED)) == (62, "level")


SOURCED = edited(
    {"    min_level": f'    source: "{SOURCE}"\n    source_refs: ["refs/tags/v{{version}}"]\n    min_level'}, VERIFIED
)
PIN = edited({"    level: 3\n  third": f'    level: 3\n    policies: ["{PINNED}"]\n  third'}, SOURCED)


def test_a_source_needs_a_pinned_policy() -> None:
    """A summary says nothing of the source: a rule that asks for it takes one only by a policy that was reviewed."""
    assert told(SOURCED) == (62, "source")
    assert told(edited({f'    source: "{SOURCE}"\n': ""}, SOURCED)) == (62, "source ref")
    # The certificate's source is that of the run that verified, and no help even where it is the same.
    assert told(SOURCED, certificate=claims()) == (62, "source")
    assert told(PIN) == (0, None)
    other = {"uri": "https://x", "digest": {"sha256": "d" * 64}}
    assert told(PIN, policy=other) == (62, "verifier's policy")
    assert told(PIN, policy={"uri": "https://x"}) == (62, "verifier's policy")
    assert told(PIN, policy={"uri": PINNED, "digest": {"sha512": PINNED}}) == (62, "verifier's policy")


def test_the_age_is_that_of_the_older() -> None:
    """What is said counts, and never as younger than the signature is proven to be."""
    assert told(timeVerified="2031-01-01T00:00:00Z", signed_at=NOW - 86_400 * 31) == (62, "age")
    without = {"log": LogKind.NONE, "signed_at": 0}
    open_log = edited({"{max_age_days: 30}": '{rekor: ["none"], max_age_days: 30}'}, VERIFIED)
    assert told(open_log, **without) == (0, None)
    assert told(open_log, **without, timeVerified="2030-02-01T00:00:00Z") == (62, "age")


def test_a_key_is_a_signer() -> None:
    """A key alone may sign for a verifier: that one, and no other."""
    [key] = parse_policy(KEY_VERIFIER.encode()).key_ids.values()
    by_key: dict[str, Any] = {"root_kind": RootKind.KEY, "root": "release", "issuer": None, "san": None}
    by_key |= {"san_type": None, "certificate": {}, "log": LogKind.NONE, "signed_at": 0}
    assert told(KEY_VERIFIER, **by_key, key=key) == (0, None)
    assert told(KEY_VERIFIER, **by_key, key="c" * 64) == (60, "key")
    assert told(KEY_VERIFIER) == (60, "key")


def test_a_signer_of_two_verifiers() -> None:
    """One signer may sign for several: then the one that the summary names is meant."""
    twice = edited(
        {
            'san: {workflow: "https://ci.example/third/verify': 'san: {workflow: "https://ci.example/other/verify',
            'verifiers: ["other-team"]': 'verifiers: ["third", "other-team"]',
        },
        VERIFIED,
    )
    assert judged(summarised(), policy=twice).verifier == "other-team"
    assert judged(summarised(verifier={"id": "https://verify.example/third"}), policy=twice).verifier == "third"
    assert told(twice, verifier={"id": "https://verify.example/fourth"}) == (60, "verifier id")


def test_other_names_of_files() -> None:
    """A verifier may name files in its own way; what is put in is text, percent-encoded."""
    asked = {"index": "root/stable", "project": "widget", "version": "1!1.0+x", "file_name": "widget-1+{x} y.whl"}
    assert resource_uri("pkg:pypi/{project}@{version}?f={file}&in={index}", **asked) == (
        "pkg:pypi/widget@1!1.0%2Bx?f=widget-1%2B%7Bx%7D%20y.whl&in=root/stable"
    )
    purl = "pkg:generic/{project}@{version}?file={file}"
    named = edited(
        {"    level: 3\n  third": f'    level: 3\n    resource_uris: ["{purl}", "x:{{file}}"]\n  third'}, VERIFIED
    )
    assert told(named) == (62, "resource")
    assert told(named, resourceUri=f"pkg:generic/widget@1.0?file={FILE.file_name}") == (0, None)
    assert told(named, resourceUri=f"x:{FILE.file_name}") == (0, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"verifier": None},
        {"verifier": {}},
        {"verifier": {"id": ["x"]}},
        {"verifier": {"id": "x" * 3000}},
        {"resourceUri": None},
        {"resourceUri": 1},
        {"policy": None},
        {"policy": {"digest": {"sha256": PINNED}}},
        {"policy": {"uri": "x", "digest": {"sha256": PINNED.upper()}}},
        {"policy": {"uri": "x", "digest": {"sha256": f"sha256:{PINNED}"}}},
        {"policy": {"uri": "x", "digest": {"sha256": PINNED[:-2]}}},
        {"policy": {"uri": "x", "digest": {}}},
        {"policy": {"uri": "x", "digest": PINNED}},
        {"verificationResult": None},
        {"verificationResult": "passed"},
        {"verificationResult": ["PASSED"]},
        {"verifiedLevels": None},
        {"verifiedLevels": "SLSA_BUILD_LEVEL_3"},
        {"verifiedLevels": [3]},
        {"verifiedLevels": ["x"] * 65},
        {"inputAttestations": {}},
        {"inputAttestations": [{"uri": "x"}]},
        {"dependencyLevels": {"SLSA_BUILD_LEVEL_3": True}},
        {"dependencyLevels": {"SLSA_BUILD_LEVEL_3": -1}},
        {"slsaVersion": 1.1},
        {"timeVerified": "2030-03-16"},
        {"timeVerified": 1_900_000_000},
        {"timeVerified": "2030-13-16T00:00:00Z"},
    ],
)
def test_no_summaries(changes: dict[str, Any]) -> None:
    """What lacks a field, or has one of another kind, is no summary."""
    read_summary(summary())
    with pytest.raises(UnreadableSummary):
        read_summary(summary(**changes))
