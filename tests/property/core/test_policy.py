"""Laws of policies. Source: trust contract section 4 ("default deny; most specific rule wins"), ADR 0038."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from countermark.core.attestations.facts import LogKind, RootKind, SanType, VerifiedBundle
from countermark.core.attestations.summary import SUMMARY, UnreadableSummary, read_summary
from countermark.core.plain_yaml import NotPlain, read_plain
from countermark.core.policy import (
    InvalidPolicy,
    Policy,
    PolicyFile,
    Rule,
    UnreadablePredicate,
    Verdict,
    evaluate,
    normal_form,
    parse_policy,
)
from countermark.core.policy.model import SLSA, SLSA_V02, SLSA_V1
from countermark.core.policy.patterns import InvalidPattern, check_ref_pattern, ref_fits
from tests.support.policies import GOOD, NOW, POLICY, REF, VERIFIED, WORKFLOW, claims, slsa_v1, summarised, summary

BUILDERS, VERIFIERS = parse_policy(POLICY.encode()), parse_policy(VERIFIED.encode())

segments = st.sampled_from(["acme", "acme-tool", "acme-tool-kit", "acme-x", "widget", "b"])
indexes = st.sampled_from(["root/stable", "root/dev", "team/x"])
matches = segments | segments.map("{}-*".format) | st.just("*")
strict = st.builds(
    Rule,
    match=matches,
    indexes=st.lists(indexes, max_size=2, unique=True).map(tuple),
    deny=st.booleans(),
    attested=st.booleans(),
    continuity=st.booleans(),
    builders=st.sampled_from([("acme-release",), ("acme-nightly",), ("acme-nightly", "acme-release"), ()]),
    verifiers=st.sampled_from([(), ("other-team",), ("third", "other-team")]),
    source=st.sampled_from([None, "https://ci.example/acme/widget", "https://ci.example/eve/widget"]),
    source_refs=st.sampled_from([(), ("refs/tags/v{version}",), ("refs/heads/*", "refs/tags/*")]),
    predicates=st.sampled_from([SLSA, (SLSA_V02,), ("https://docs.example/attestations/publish/v1",)]),
    min_level=st.integers(0, 4),
    log_kinds=st.sampled_from([(LogKind.V1, LogKind.V2), (LogKind.NONE,), (LogKind.V1,)]),
    max_age_days=st.sampled_from([None, 1, 3650]),
)

# Good evidence satisfies these: without them, laws about what passes would speak of nothing.
plain = st.builds(Rule, match=matches, builders=st.just(("acme-release",)))
verified = st.builds(
    Rule,
    match=matches,
    builders=st.sampled_from([(), ("acme-nightly",)]),
    verifiers=st.sampled_from([("other-team",), ("third", "other-team")]),
    min_level=st.integers(0, 3),
)
rules = plain | verified | strict


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """A policy of some rules, of which no two are about the same names in the same index."""
    found: list[Rule] = []
    seen: set[tuple[str, str]] = set()
    for rule in draw(st.lists(rules, min_size=1, max_size=6)):
        places = {(rule.match, index) for index in rule.indexes or ("",)}
        if not places & seen:
            seen |= places
            found.append(rule)
    ordered = tuple(sorted(found, key=lambda rule: rule.weight, reverse=True))
    return replace(BUILDERS, verifiers=VERIFIERS.verifiers, rules=ordered)


files = st.builds(
    PolicyFile, indexes, segments, st.sampled_from(["1.0", "2.0"]), st.just("widget-1.0-py3-none-any.whl")
)
CHANGES: dict[str, list[Any]] = {
    "predicate_type": [SLSA_V02, "https://docs.example/attestations/publish/v1"],
    "predicate": [None, {}, slsa_v1(ref="refs/tags/v2.0"), slsa_v1(builder_id="x"), slsa_v1(source="https://x/y")],
    "root": ["company"],
    "root_kind": list(RootKind),
    "issuer": [None, "https://evil.example"],
    "san": [None, f"{WORKFLOW}@refs/heads/main", "a@b", ""],
    "san_type": [*SanType, None],
    "certificate": [{}, claims(ref="refs/tags/v2.0"), claims(source="https://ci.example/x")],
    "log": list(LogKind),
    "signed_at": [0, NOW, NOW - 86_400 * 100],
}


@st.composite
def evidence(draw: st.DrawFn) -> VerifiedBundle:
    """Good evidence with up to three things changed: enough of it passes for laws to be broken."""
    names = draw(st.lists(st.sampled_from(sorted(CHANGES)), max_size=3, unique=True))
    return replace(GOOD, **{name: draw(st.sampled_from(CHANGES[name])) for name in names})


SUMMARIES: dict[str, list[Any]] = {
    "verifier": [{"id": "https://verify.example/third"}, {}, None],
    "verificationResult": ["FAILED", "passed"],
    "verifiedLevels": [[], ["SLSA_BUILD_LEVEL_1"], ["SLSA_BUILD_LEVEL_3", "FAILED"], ["SLSA_BUILD_LEVEL_9"]],
    "resourceUri": ["countermark:root/dev/widget/1.0/widget-1.0-py3-none-any.whl", "x"],
    "policy": [{"uri": "x"}, {}],
    "timeVerified": [None, "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"],
    "log": list(LogKind),
    "signed_at": [0, NOW - 86_400 * 100],
    "san": [GOOD.san, "https://ci.example/third/verify/.ci/verify.yml@refs/heads/main"],
    "predicate_type": ["https://slsa.dev/verification_summary/v0.2", SLSA_V1],
}


@st.composite
def summaries(draw: st.DrawFn) -> VerifiedBundle:
    """A good summary with up to two things changed."""
    names = draw(st.lists(st.sampled_from(sorted(SUMMARIES)), max_size=2, unique=True))
    said = {name: draw(st.sampled_from(SUMMARIES[name])) for name in names}
    asked = draw(st.sampled_from(["root/stable", "root/dev"]))
    project = draw(st.sampled_from(["widget", "acme-tool"]))
    uri = f"countermark:{asked}/{project}/1.0/widget-1.0-py3-none-any.whl"
    return summarised(**({"resourceUri": uri} | said))


evidences = st.just(GOOD) | evidence() | summaries()
hads = st.none() | st.booleans()


@given(policies(), files, st.lists(evidences, max_size=3), hads)
def test_default_deny(policy: Policy, file: PolicyFile, found: list[VerifiedBundle], had: bool | None) -> None:
    """A file that no rule is about never passes, and one that a rule denies neither."""
    verdict = evaluate(policy, file, found, NOW, had)
    rule = policy.rule_for(str(file.index), file.project)
    if rule is None or rule.deny:
        assert (verdict.allowed, verdict.exit_code) == (False, 62)
    if not found and rule is not None and rule.attested:
        assert not verdict.allowed


@given(policies(), files, st.lists(evidences, max_size=3), evidences, hads)
def test_more_evidence_refuses_nothing(
    policy: Policy,
    file: PolicyFile,
    found: list[VerifiedBundle],
    more: VerifiedBundle,
    had: bool | None,
) -> None:
    """What is taken with some evidence is taken with more of it, by the same rule, wherever it is put among it.

    The policy and the time are the same, and so is whether the project had provenance. Evidence is what verified: a
    bundle that a pointer names and that does not verify is refused before any policy is asked.
    """
    before = evaluate(policy, file, found, NOW, had)
    for place in range(len(found) + 1):
        after = evaluate(policy, file, [*found[:place], more, *found[place:]], NOW, had)
        assert after.rule == before.rule
        assert after.allowed or not before.allowed
        assert after.demanded == before.demanded


@given(policies(), files, summaries(), hads)
def test_what_a_summary_needs(policy: Policy, file: PolicyFile, found: VerifiedBundle, had: bool | None) -> None:
    """A summary is evidence of a rule with verifiers alone; a taken one says PASSED of this very file, by a verifier of
    the rule, and is as high as the rule asks."""
    with_it, without = evaluate(policy, file, [found], NOW, had), evaluate(policy, file, [], NOW, had)
    if without.allowed or not with_it.allowed or found.predicate_type != SUMMARY:
        return
    rule = policy.rule_for(str(file.index), file.project)
    assert rule is not None
    assert with_it.verifier in rule.verifiers
    assert with_it.level is not None
    assert with_it.level >= rule.min_level
    read = read_summary(found.predicate)
    assert read.passed
    assert read.resource_uri.startswith(f"countermark:{file.index}/{file.project}/{file.version}/")
    assert read.verifier_id == policy.verifiers[with_it.verifier].verifier_id
    assert rule.source is None
    assert not rule.source_refs


@given(policies(), files, st.lists(evidences, max_size=3))
def test_what_is_known_demands_no_less(policy: Policy, file: PolicyFile, found: list[VerifiedBundle]) -> None:
    """What is taken of a project that had provenance is taken where it had none, and where nobody knows."""
    had = evaluate(policy, file, found, NOW, had_provenance=True)
    for other in (False, None):
        assert not had.allowed or evaluate(policy, file, found, NOW, other).allowed


@given(policies(), files, st.lists(evidences, max_size=3), hads, st.integers(0, 10**10))
def test_verdicts(policy: Policy, file: PolicyFile, found: list[VerifiedBundle], had: bool | None, now: int) -> None:
    """A verdict is taken exactly when its code is 0; its checks bear it out; it survives JSON."""
    verdict = evaluate(policy, file, found, now, had)
    assert verdict.allowed is (verdict.exit_code == 0)
    assert verdict.allowed is all(check.ok for check in verdict.checks)
    assert {60: "identity", 61: "log", 62: "policy", 0: "policy"}[verdict.exit_code] == verdict.step
    assert Verdict.from_document(json.loads(json.dumps(verdict.to_document()))) == verdict


@given(policies(), files)
def test_the_most_specific_rule_wins(policy: Policy, file: PolicyFile) -> None:
    """No rule that is about a file is more specific than the one that decides."""
    chosen = policy.rule_for(str(file.index), file.project)
    about = [rule for rule in policy.rules if rule.covers(str(file.index), file.project)]
    assert (chosen is None) is (not about)
    assert chosen is None or all(rule.weight <= chosen.weight for rule in about)


@given(policies(), files, evidences)
def test_older_is_not_better(policy: Policy, file: PolicyFile, found: VerifiedBundle) -> None:
    """What is refused now is refused later."""
    now, later = (evaluate(policy, file, [found], at, None) for at in (NOW, NOW + 86_400 * 5000))
    assert now.allowed or not later.allowed


hostile = st.text(max_size=200) | st.text("[]{}:,-&*!|>%@`'\"#? \n\tab\u2028\ufeff\x00\x85", max_size=80)


@given(hostile.map(lambda text: text.encode("utf-8", "replace")) | st.binary(max_size=100))
def test_hostile_yaml(data: bytes) -> None:
    """Whatever the bytes are, reading them ends with a document or with one kind of refusal."""
    with suppress(NotPlain):
        read_plain(data, 1000, 6)
    with suppress(InvalidPolicy):
        parse_policy(data)


@given(st.data())
def test_damaged_policies(data: st.DataObject) -> None:
    """A policy with a piece cut out, doubled or replaced is read or refused, and never crashes the reader."""
    start = data.draw(st.integers(0, len(POLICY)))
    end = data.draw(st.integers(start, min(len(POLICY), start + 60)))
    text = POLICY[:start] + data.draw(hostile | st.just(POLICY[start:end] * 2)) + POLICY[end:]
    with suppress(InvalidPolicy):
        parse_policy(text.encode("utf-8", "replace"))


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=20)
    | st.sampled_from(["uri", "digest", REF, "c" * 40]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(SLSA), st.data())
def test_hostile_predicates(kind: str, data: st.DataObject) -> None:
    """Whatever a predicate holds at any place, it is read or refused."""
    document: dict[str, object] = json.loads(json.dumps(slsa_v1() | {"builder": {"id": "x"}, "buildType": "y"}))
    inner: object = document
    while isinstance(inner, dict) and inner:
        key = data.draw(st.sampled_from(sorted(inner)))
        if data.draw(st.booleans()):
            inner[key] = data.draw(values)
            break
        inner = inner[key]
    with suppress(UnreadablePredicate):
        normal_form(kind, document)


@given(st.data())
def test_hostile_summaries(data: st.DataObject) -> None:
    """Whatever a summary holds at any place, it is read or refused."""
    document = summary()
    key = data.draw(st.sampled_from(sorted(document)))
    document[key] = data.draw(values)
    if isinstance(document[key], dict):
        document[key] |= {"id": data.draw(values), "uri": data.draw(values), "digest": data.draw(values)}
    with suppress(UnreadableSummary):
        read_summary(document)


@given(
    st.text("refs/tags*v{}.1", max_size=24), st.text("refs/tagsv.1", max_size=20), st.sampled_from(["1", "*", "v{1}"])
)
def test_patterns(pattern: str, ref: str, version: str) -> None:
    """A pattern that is taken fits no ref of another folder, and one without star and version exactly itself."""
    try:
        check_ref_pattern(pattern)
    except InvalidPattern:
        return
    if ref_fits(ref, pattern, version):
        assert ref.count("/") == pattern.count("/")
    if not {"*", "{"} & set(pattern):
        assert ref_fits(pattern, pattern, version)
        assert ref_fits(ref, pattern, version) is (ref == pattern)
