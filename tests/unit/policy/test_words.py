"""A policy is told in words, and what is probably not meant in it is noted. Issue 7/7 item 4."""

from __future__ import annotations

import pytest

from countermark.core.policy import parse_policy
from countermark.core.policy.linting import lint
from countermark.core.policy.wording import policy_in_words
from tests.support.policies import ISSUER, PINNED, POLICY, VERIFIED, VERIFIER, edited
from tests.unit.policy.test_evaluating import KEYED, OPTIONAL
from tests.unit.policy.test_summarised import BOTH, KEY_VERIFIER, PIN, SOURCED


def words(text: str) -> str:
    """Return a policy in words."""
    return "\n".join(policy_in_words(parse_policy(text.encode())))


def test_the_example_in_words() -> None:
    """Each demand of a rule is a line: types, builders, source, level, log and age."""
    told = words(POLICY)
    assert told.startswith("widget:\n  an attestation of type SLSA provenance v1 or SLSA provenance v0.2\n")
    for line in (
        "by acme-release: the workflow https://ci.example/acme/builders/.ci/release.yml at refs/tags/v*, as https://ci",
        "oidc says under root private (trusted_root.json); level 3",
        "built from https://ci.example/acme/widget at refs/tags/v{version}",
        "whose builder counts for level 3 or more",
        "recorded in a Rekor v1 log or a Rekor v2 log",
        "signed at most 3650 days ago",
        "projects that begin with acme-:",
    ):
        assert line in told
    assert told.endswith("every project:\n  refused")


def test_other_demands_in_words() -> None:
    """Keys, own authorities, logs that need not be, continuity and what no rule is about are told as well."""
    told = words(KEYED)
    assert "holder of key release (sha256 " in told
    assert "the subject spiffe://acme.example/release, as its own authority says under root ca" in told
    assert "recorded in no log" in told
    assert told.endswith("anything else:\n  refused: no rule is about it")
    told = words(OPTIONAL)
    assert "taken without an attestation" in told
    assert "an upload is refused once the project had one" in told
    assert "by anybody whose certificate or key verifies" in told
    assert "e-mail address a@b" in words(edited({"san: {workflow": 'san: {email: "a@b"}\n    #{workflow'}))
    either = edited(
        {'["v1", "v2"]': '["v2", "none"]', 'match: "widget"': 'match: "widget"\n    indexes: ["root/stable"]'}
    )
    assert "recorded in a Rekor v2 log, or in none" in words(either)
    assert words(either).startswith("widget in root/stable:")
    assert "built from any repository at" in words(edited({'    source: "https://ci.example/acme/widget"\n': ""}))


def test_verifiers_in_words() -> None:
    """Who signs for which verifier, up to which level, under which name of the file and by which policies."""
    told = words(SOURCED)
    for line in (
        "  a verification summary that says PASSED of this very file\n  by other-team: the workflow https://ci.example/other",
        "level 3 at most\n",
        f"which calls itself {VERIFIER} and the file countermark:{{index}}/{{project}}/{{version}}/{{file}}\n",
        "whose summary counts for level 3 or more",
        "a summary says nothing of that: one counts only by a policy",
    ):
        assert line in told
    assert "an attestation of type" not in told
    assert f"by its policy with the sha256 {PINNED}" in words(PIN)
    told = words(BOTH)
    assert "an attestation of type SLSA provenance v1" in told
    assert "  or a verification summary" in told
    assert "whose builder or summary counts for level 3 or more" in told


NOTES = [
    (VERIFIED, "verifier third is named by no rule"),
    (
        VERIFIED.replace("level: 3\n  third", "level: 2\n  third"),
        "verifier other-team can never satisfy it: level 2 of 3",
    ),
    (SOURCED, "verifier other-team can never satisfy it: a summary says nothing of the source"),
    (VERIFIED.replace(f'    issuer: "{ISSUER}"\n', ""), "verifier other-team names no issuer"),
    (VERIFIED.replace("//ci.example/other", "//CI.example/other"), "verifier other-team: https://CI.example/other"),
    (KEY_VERIFIER.replace('rekor: ["none"], ', ""), "what verifier other-team signs with a key is seldom in a log"),
    (edited({'["acme-nightly", "acme-release"]': '["acme-release"]'}), "builder acme-nightly is named by no rule"),
    (POLICY, "root company is used by no rule"),
    (KEYED.replace('builders: ["by-key", "by-ca"]', 'builders: ["by-ca"]'), "key release is used by no rule"),
    (POLICY + 'test_roots: ["company"]\n', "root company may be a test instance's"),
    (KEYED, "builder by-ca names no issuer"),
    (edited({"oidc": "OIDC", "https://ci.example/OIDC": "https://CI.example/oidc"}), "capital letters in its host"),
    (edited({'source: "https://ci': 'source: "https://CI'}), "capital letters in its host"),
    (edited({"level: 3\n  acme": "level: 2\n  acme"}), "builder acme-release can never satisfy it: level 2 of 3"),
    (edited({'    build_types: ["https://example.com/build/wheel/v1"]\n': ""}), "no builder_ids or no build_types"),
    (POLICY, "rule 'acme-*' takes whatever builder acme-release builds, of any repository"),
    (edited({'    source_refs: ["refs/tags/v{version}"]\n': ""}), "takes any branch and tag of"),
    (edited({"    min_level": '    predicates: ["https://x/y"]\n    min_level'}), "min_level is not asked of"),
    (
        edited({"    min_level": '    predicates: ["https://x/y"]\n    min_level'}),
        "clients fetch what else a file has",
    ),
    (edited({'"v1", "v2"': '"none"'}), "max_age_days refuses"),
    (KEYED.replace('["none"]', '["v1"]'), "seldom in a log"),
    (edited({"min_level: 3": "continuity: true"}), "continuity adds nothing"),
    (OPTIONAL, "rule '*' takes everything that no other rule is about"),
    (edited({"min_level: 3": "attested: false"}), "its other demands are never looked at"),
]


@pytest.mark.parametrize(("text", "note"), NOTES)
def test_notes(text: str, note: str) -> None:
    """What is probably not meant is noted, by the name of what it is about."""
    assert any(note in one for one in lint(parse_policy(text.encode())))


def test_a_verifier_is_no_reason_for_notes() -> None:
    """A rule that takes what one key verified, whatever recorded it and not too long ago, has no notes."""
    assert lint(parse_policy(KEY_VERIFIER.encode())) == []


def test_nothing_to_note() -> None:
    """A policy whose every part is used and narrow has no notes; refs of a workflow in the source itself are enough."""
    tight = edited({', company: "trust/company.trusted_root.json"': "", '"acme-nightly", ': ""})
    tight = tight[: tight.index("  acme-nightly:")] + tight[tight.index("packages:") :]
    tight = tight.replace('  - match: "acme-*"\n    builders: ["acme-release"]\n', "")
    assert lint(parse_policy(tight.encode())) == []
    same = tight.replace("https://ci.example/acme/builders/.ci", "https://ci.example/acme/widget/.ci")
    same = same.replace('    source_refs: ["refs/tags/v{version}"]\n', "")
    assert lint(parse_policy(same.encode())) == []
