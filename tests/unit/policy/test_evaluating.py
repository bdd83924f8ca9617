"""Policies are evaluated as trust contract section 4 says, with the exit codes of section 3.3. Rows 19, 22, 23."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from countermark.core.attestations.facts import EXTENSIONS, LogKind, RootKind, SanType, VerifiedBundle
from countermark.core.policy import PolicyFile, Verdict, evaluate, parse_policy
from tests.support.policies import (
    COMMIT,
    DAY,
    FILE,
    GOOD,
    ISSUER,
    NOW,
    POLICY,
    REF,
    SOURCE,
    WORKFLOW,
    claims,
    edited,
    evidence,
    judged,
    said,
    slsa_v1,
)

PUBLISH = "https://docs.example/attestations/publish/v1"


def failed(verdict: Verdict) -> str:
    """Return the name of the first check that failed."""
    return next(check.name for check in verdict.checks if not check.ok)


def test_good_evidence_passes_and_says_what_was_proven() -> None:
    """Evidence that satisfies the rule is taken, and the verdict names builder, level, source, ref and commit."""
    verdict = judged(GOOD)
    assert (verdict.allowed, verdict.demanded, verdict.exit_code, verdict.step) == (True, True, 0, "policy")
    assert (verdict.rule, verdict.builder, verdict.level) == ("'widget'", "acme-release", 3)
    assert (verdict.source, verdict.ref, verdict.commit) == (SOURCE, REF, COMMIT)
    assert all(check.ok for check in verdict.checks)
    names = {check.name for check in verdict.checks}
    assert names >= {"root", "issuer", "workflow", "workflow ref", "certificate source", "log", "age", "builder id"}


IDENTITIES: list[tuple[str, dict[str, Any], str]] = [
    ("another root", {"root": "company"}, "root"),
    ("a key that is named like the root", {"root_kind": RootKind.KEY, "issuer": ISSUER, "san": GOOD.san}, "root"),
    ("another issuer", {"issuer": "https://evil.example/oidc"}, "issuer"),
    ("an issuer with a trailing slash", {"issuer": f"{ISSUER}/"}, "issuer"),
    ("an issuer in another case", {"issuer": "https://CI.example/oidc"}, "issuer"),
    ("no issuer", {"issuer": None}, "issuer"),
    ("another workflow", {"san": "https://ci.example/acme/builders/.ci/other.yml@refs/tags/v7"}, "workflow"),
    ("a fork", {"san": "https://ci.example/eve/builders/.ci/release.yml@refs/tags/v7"}, "workflow"),
    ("another case", {"san": "https://ci.example/Acme/builders/.ci/release.yml@refs/tags/v7"}, "workflow"),
    ("a letter that looks alike", {"san": f"{WORKFLOW.replace('a', chr(0x430), 1)}@refs/tags/v7"}, "workflow"),
    ("a letter of another width", {"san": f"{WORKFLOW.replace('acme', chr(0xFF41) + 'cme')}@refs/tags/v7"}, "workflow"),
    ("an invisible letter", {"san": f"{WORKFLOW.replace('acme', 'ac' + chr(0x200B) + 'me')}@refs/tags/v7"}, "workflow"),
    ("a trailing slash", {"san": f"{WORKFLOW}/@refs/tags/v7"}, "workflow"),
    ("a path that leads back", {"san": f"https://ci.example/x/../{WORKFLOW[19:]}@refs/tags/v7"}, "workflow"),
    ("a percent-encoded letter", {"san": f"{WORKFLOW.replace('acme', '%61cme')}@refs/tags/v7"}, "workflow"),
    ("a longer workflow that begins alike", {"san": f"{WORKFLOW}.evil@refs/tags/v7"}, "workflow"),
    ("the workflow without a ref", {"san": WORKFLOW}, "workflow"),
    ("an e-mail with the text of the URI", {"san_type": SanType.EMAIL}, "workflow"),
    ("a name of another kind", {"san_type": SanType.OTHER}, "workflow"),
    ("no subject", {"san": None, "san_type": None}, "workflow"),
    ("a branch instead of a tag", {"san": f"{WORKFLOW}@refs/heads/v7"}, "workflow ref"),
    ("a tag below another", {"san": f"{WORKFLOW}@refs/tags/v7/evil"}, "workflow ref"),
    ("a second @", {"san": f"{WORKFLOW}@refs/heads/main@refs/tags/v7"}, "workflow ref"),
    ("an empty ref", {"san": f"{WORKFLOW}@"}, "workflow ref"),
    ("a certificate for another repository", {"certificate": claims(source="https://ci.example/eve/widget")}, "source"),
    ("a certificate's repository with a slash", {"certificate": claims(source=f"{SOURCE}/")}, "source"),
    ("a certificate's repository in another case", {"certificate": claims(source=SOURCE.upper())}, "source"),
    ("a certificate's look-alike", {"certificate": claims(source=SOURCE.replace("w", chr(0x461)))}, "source"),
]


@pytest.mark.parametrize(("changes", "check"), [row[1:] for row in IDENTITIES], ids=[row[0] for row in IDENTITIES])
def test_row_22_identity_confusion(changes: dict[str, Any], check: str) -> None:
    """What is not exactly the builder's identity ends with 60, however much it looks like it. Row 22."""
    verdict = judged(evidence(**changes))
    assert (verdict.allowed, verdict.exit_code, verdict.step) == (False, 60, "identity")
    assert failed(verdict) in {check, f"certificate {check}"}


def test_row_19_the_same_file_from_an_old_build() -> None:
    """A good bundle about the same bytes, built from another tag, is refused by the newest policy with 62. Row 19."""
    old = evidence(predicate=slsa_v1(ref="refs/tags/v0.9"), certificate=claims(ref="refs/tags/v0.9"))
    verdict = judged(old)
    assert (verdict.exit_code, failed(verdict)) == (62, "source ref")
    assert "refs/tags/v0.9" in verdict.reason
    assert "refs/tags/v1.0" in verdict.reason


def test_row_23_builder_forgery() -> None:
    """A predicate that claims a trusted builder under another workflow's certificate ends with 60. Row 23."""
    other = "https://ci.example/eve/x/.ci/release.yml@refs/tags/v7"
    assert judged(evidence(san=other)).exit_code == 60


def test_row_23_a_workflow_that_is_allowed_elsewhere() -> None:
    """Where the certificate's workflow is a builder of another rule, it is policy that refuses: 62. Row 23."""
    nightly = evidence(san="https://ci.example/acme/builders/.ci/nightly.yml@refs/heads/main")
    verdict = judged(nightly)
    assert (verdict.exit_code, failed(verdict)) == (62, "builder")
    assert "acme-nightly" in verdict.reason


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"source": "https://ci.example/eve/widget"}, "predicate source"),
        ({"ref": "refs/heads/main"}, "predicate ref"),
        ({"commit": "d" * 40}, "predicate commit"),
    ],
)
def test_row_23_the_certificate_beats_the_predicate(changes: dict[str, Any], check: str) -> None:
    """A predicate that says otherwise than the certificate ends with 60: one of them lies. Row 23."""
    verdict = judged(evidence(predicate=slsa_v1(**changes)))
    assert (verdict.exit_code, failed(verdict)) == (60, check)
    assert (verdict.source, verdict.ref, verdict.commit) == (SOURCE, REF, COMMIT)


def test_extensions_that_contradict_each_other() -> None:
    """A certificate whose elder extensions name another commit, ref or repository ends with 60."""
    for number, value in ((3, "d" * 40), (6, "refs/heads/main"), (5, "eve/widget")):
        odd = evidence(certificate=claims() | {f"{EXTENSIONS}{number}": value})
        assert (judged(odd).exit_code, failed(judged(odd))) == (60, "certificate")
    same = claims() | {f"{EXTENSIONS}3": COMMIT, f"{EXTENSIONS}6": REF, f"{EXTENSIONS}5": "acme/widget"}
    assert judged(evidence(certificate=same)).allowed


PREDICATES: list[tuple[dict[str, Any], str]] = [
    ({"source": "https://ci.example/eve/widget"}, "source"),
    ({"source": f"{SOURCE}.git"}, "source"),
    ({"source": SOURCE.replace("w", chr(0x461))}, "source"),
    ({"ref": "refs/heads/main"}, "source ref"),
    ({"ref": "refs/tags/v1.0.0"}, "source ref"),
    ({"ref": "refs/tags/V1.0"}, "source ref"),
    ({"builder_id": "https://ci.example/eve/builder"}, "builder id"),
    ({"build_type": "https://example.com/build/wheel/v2"}, "build type"),
    ({"parameters": {"source": SOURCE, "evil": "yes"}}, "provenance"),
]


@pytest.mark.parametrize(("changes", "check"), PREDICATES)
def test_what_the_predicate_must_say(changes: dict[str, Any], check: str) -> None:
    """A predicate with another source, ref, builder, build type or an unknown parameter ends with 62."""
    verdict = judged(said(**changes))
    assert (verdict.exit_code, verdict.step, failed(verdict)) == (62, "policy", check)


def test_a_level_that_is_too_low() -> None:
    """A builder that counts for less than the rule wants ends with 62; what the predicate claims is not asked."""
    verdict = judged(GOOD, policy=edited({"level: 3\n  acme-nightly": "level: 2\n  acme-nightly"}))
    assert (verdict.exit_code, failed(verdict), verdict.level) == (62, "level", 2)


def test_a_builder_without_lists_takes_no_build_provenance() -> None:
    """An absent list of builder ids or build types is empty: nothing fits it."""
    bare = edited({f'    builder_ids: ["{WORKFLOW}"]\n': ""})
    assert (judged(GOOD, policy=bare).exit_code, failed(judged(GOOD, policy=bare))) == (62, "builder id")


@pytest.mark.parametrize(
    ("rekor", "log", "code"),
    [
        ('["v1", "v2"]', LogKind.V1, 0),
        ('["v1", "v2"]', LogKind.NONE, 61),
        ('["v2"]', LogKind.V1, 61),
        ('["none"]', LogKind.NONE, 0),
        ('["v2", "none"]', LogKind.V2, 0),
    ],
)
def test_kinds_of_log(rekor: str, log: LogKind, code: int) -> None:
    """A log of a kind that the rule does not name ends with 61."""
    verdict = judged(evidence(log=log), policy=edited({'["v1", "v2"]': rekor}))
    assert (verdict.exit_code, verdict.step) == (code, "log" if code else "policy")


@pytest.mark.parametrize(
    ("signed_at", "code"), [(NOW, 0), (NOW + DAY, 0), (NOW - 3650 * DAY, 0), (NOW - 3650 * DAY - 1, 62), (0, 62)]
)
def test_age(signed_at: int, code: int) -> None:
    """An attestation older than the rule takes ends with 62, and so does one whose time nothing proves."""
    verdict = judged(evidence(signed_at=signed_at))
    assert verdict.exit_code == code
    assert not code or failed(verdict) == "age"


def test_nothing_and_what_is_not_asked_for() -> None:
    """Without evidence of a wanted type a file is refused with 62, and the reason names what is there instead."""
    assert (judged().exit_code, failed(judged())) == (62, "predicate")
    other = judged(evidence(predicate_type=PUBLISH))
    assert other.exit_code == 62
    assert PUBLISH in other.reason


def test_default_deny() -> None:
    """A file that no rule is about is refused with 62, whatever it shows; so is one that a rule denies."""
    without = POLICY[: POLICY.index('  - match: "*"')]
    other = replace(FILE, project="gadget")
    verdict = judged(GOOD, policy=without, file=other)
    assert (verdict.allowed, verdict.exit_code, verdict.rule) == (False, 62, None)
    denied = judged(GOOD, file=other)
    assert (denied.exit_code, denied.rule, failed(denied)) == (62, "'*'", "deny")


def test_the_best_of_several() -> None:
    """One piece of good evidence is enough, in any order; of bad ones the verdict is about what came furthest."""
    foreign, aged = evidence(san="https://ci.example/eve/x@refs/tags/v7"), evidence(signed_at=1)
    assert judged(foreign, GOOD, aged).allowed
    assert failed(judged(foreign, aged)) == failed(judged(aged, foreign)) == "age"


def test_several_builders() -> None:
    """A rule takes any of its builders, and the verdict names the one whose identity the evidence has."""
    file = replace(FILE, project="acme-tool")
    assert judged(GOOD, file=file).builder == "acme-release"
    workflow = "https://ci.example/acme/builders/.ci/nightly.yml"
    nightly = evidence(san=f"{workflow}@refs/heads/main", predicate=slsa_v1(builder_id=workflow))
    assert judged(nightly, file=file).builder == "acme-nightly"


def test_publish_attestations() -> None:
    """An attestation of publishing is asked for its identity and source alone, and counts for no level."""
    policy = edited({"    min_level: 3\n": f'    predicates: ["{PUBLISH}"]\n'})
    publish = evidence(predicate_type=PUBLISH, predicate=None)
    verdict = judged(publish, policy=policy)
    assert (verdict.allowed, verdict.level, verdict.source) == (True, None, SOURCE)
    assert judged(replace(publish, certificate=claims(source="https://x.example/y")), policy=policy).exit_code == 60
    assert judged(replace(publish, certificate={}), policy=policy).exit_code == 62


OPTIONAL = """
schema: "policy/v1"
packages:
  - {match: "widget", attested: false, continuity: true}
  - {match: "*", attested: false}
"""


@pytest.mark.parametrize(
    ("had", "found", "code"), [(True, False, 62), (True, True, 0), (False, False, 0), (None, False, 0)]
)
def test_continuity(had: bool | None, found: bool, code: int) -> None:
    """Where a project had provenance, an upload without is refused; where nobody knows, that is not judged."""
    verdict = judged(*([GOOD] if found else []), policy=OPTIONAL, had_provenance=had)
    assert (verdict.exit_code, verdict.demanded) == (code, had is True)


def test_continuity_with_builders() -> None:
    """Where a rule names builders beside `attested: false`, evidence that is owed must be one of theirs."""
    policy = edited({'  - match: "widget"\n': '  - match: "widget"\n    attested: false\n    continuity: true\n'})
    foreign = evidence(san="https://ci.example/eve/x@refs/tags/v7")
    assert judged(policy=policy, had_provenance=False).allowed
    assert judged(foreign, policy=policy, had_provenance=True).exit_code == 60
    assert judged(GOOD, policy=policy, had_provenance=True).allowed


def test_attested_false_demands_nothing() -> None:
    """A rule with `attested: false` takes files with and without evidence, and says that it demanded none."""
    verdict = judged(policy=OPTIONAL, file=replace(FILE, project="other"), had_provenance=True)
    assert (verdict.allowed, verdict.demanded, verdict.exit_code) == (True, False, 0)


def test_no_policy() -> None:
    """Without a policy nothing is demanded, and where the file comes from is told all the same."""
    assert evaluate(None, FILE, (), NOW, had_provenance=True).allowed
    verdict = evaluate(None, FILE, [GOOD], NOW, None)
    assert (verdict.allowed, verdict.demanded, verdict.source, verdict.commit) == (True, False, SOURCE, COMMIT)


@pytest.mark.parametrize(
    ("project", "index", "rule"),
    [
        ("acme-tool", "root/stable", "'acme-tool' in root/stable"),
        ("acme-tool", "root/dev", "'acme-tool'"),
        ("acme-tool-kit", "root/stable", "'acme-tool-*'"),
        ("acme-x", "root/stable", "'acme-*' in root/stable"),
        ("acme-x", "root/dev", "'acme-*'"),
        ("acme", "root/dev", "'*'"),
        ("acmex", "root/stable", "'*' in root/stable"),
    ],
)
def test_the_most_specific_rule_wins(project: str, index: str, rule: str) -> None:
    """A name wins over a prefix, a long prefix over a short one, named indexes over all; order is nothing."""
    matches = ['"*"', '"acme-*"', '"acme-tool"', '"acme-tool-*"']
    rules = [f"  - {{match: {match}, attested: false}}" for match in matches]
    rules += [f'  - {{match: {match}, attested: false, indexes: ["root/stable"]}}' for match in matches[:3]]
    for order in (rules, rules[::-1]):
        policy = 'schema: "policy/v1"\npackages:\n' + "\n".join(order) + "\n"
        verdict = judged(policy=policy, file=PolicyFile(index, project, "1", "f"))
        assert verdict.rule == rule


KEYED = """
schema: "policy/v1"
roots: {ca: "trust/company.trusted_root.json"}
keys:
  release: |
    -----BEGIN PUBLIC KEY-----
    MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
    -----END PUBLIC KEY-----
builders:
  by-key: {key: "release", builder_ids: ["https://ci.example/acme/builders/.ci/release.yml"],
    build_types: ["https://example.com/build/wheel/v1"], level: 1}
  by-ca: {root: "ca", san: {uri: "spiffe://acme.example/release"},
    builder_ids: ["https://ci.example/acme/builders/.ci/release.yml"],
    build_types: ["https://example.com/build/wheel/v1"], level: 2}
packages:
  - {match: "widget", builders: ["by-key", "by-ca"], source: "https://ci.example/acme/widget", log: {rekor: ["none"]}}
"""


def keyed(**changes: Any) -> VerifiedBundle:
    """Return evidence of the named key."""
    key = parse_policy(KEYED.encode()).key_ids["release"]
    bare: dict[str, Any] = {"root": "release", "root_kind": RootKind.KEY, "issuer": None, "san": None, "san_type": None}
    bare |= {"certificate": {}, "key": key, "log": LogKind.NONE, "log_index": None, "log_origin": None, "signed_at": 0}
    return evidence(**(bare | changes))


def test_named_keys() -> None:
    """A named key is an identity; another key, or a certificate under the key's name, is none."""
    verdict = judged(keyed(), policy=KEYED)
    assert (verdict.allowed, verdict.builder, verdict.level, verdict.source) == (True, "by-key", 1, SOURCE)
    assert judged(keyed(key="0" * 64), policy=KEYED).exit_code == 60
    assert judged(keyed(root_kind=RootKind.SIGSTORE), policy=KEYED).exit_code == 60


def test_own_authority() -> None:
    """A company's CA needs no issuer; the same subject under a Sigstore root without one is refused with 60."""
    subject = {"root": "ca", "san": "spiffe://acme.example/release", "san_type": SanType.URI, "key": None}
    assert judged(keyed(root_kind=RootKind.CA, **subject), policy=KEYED).builder == "by-ca"
    assert judged(keyed(root_kind=RootKind.SIGSTORE, **subject), policy=KEYED).exit_code == 60
    assert judged(keyed(root_kind=RootKind.CA, **subject, log=LogKind.V2), policy=KEYED).exit_code == 61


def test_verdicts_are_json_both_ways() -> None:
    """A verdict survives JSON; one that contradicts itself or is no verdict is refused."""
    for verdict in (judged(GOOD), judged(), judged(evidence(root="x"))):
        assert Verdict.from_document(verdict.to_document()) == verdict
    good = judged(GOOD).to_document()
    for bad in ({}, good | {"more": 1}, good | {"exit_code": 60}, good | {"exit_code": 5}, good | {"checks": [1]}):
        with pytest.raises(ValueError, match="verdict"):
            Verdict.from_document(bad)
