"""Policies are read strictly; the schema for editors and the reader say the same. Trust contract section 4."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from countermark.core import policy as package
from countermark.core.attestations.facts import LogKind
from countermark.core.policy import MAX_POLICY_BYTES, InvalidPolicy, parse_policy
from countermark.core.policy.model import SLSA
from tests.support.json_schema import faults
from tests.support.policies import POLICY, VERIFIED, VERIFIER, edited

SCHEMA = json.loads((Path(package.__file__).parent / "schema.json").read_text("utf-8"))

MINIMAL = 'schema: "policy/v1"\npackages: [{match: "*", deny: true}]\n'
RSA_1024 = """-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC7vbqajDw4o6gJy8UtmIbkcpnk
O3Kwc4qsEnSZp/TR+fQi62F79RHWmwKOFmwteURLFbLnQpBWF1tCIyMpNvDcHZYY
N4pjGJKIuBOMGsLRVHHHkxQXZVoPZxp6CQbCJMAqMF4VPpe4fyoqUQIDAQAB
-----END PUBLIC KEY-----
"""


def rule(text: str) -> str:
    """Return the example with another rule for the widget."""
    start, end = POLICY.index('  - match: "widget"'), POLICY.index('  - match: "acme-*"')
    return POLICY[:start] + f"  - {{{text}}}\n" + POLICY[end:]


def builder(text: str) -> str:
    """Return the example with another builder beside."""
    return edited({"packages:\n": f"  other: {{{text}}}\npackages:\n"})


def test_the_example() -> None:
    """The example of the contract is read as it is meant, rules sorted by how specific they are."""
    policy = parse_policy(POLICY.encode())
    assert policy.roots == {"private": "trusted_root.json", "company": "trust/company.trusted_root.json"}
    assert [one.match for one in policy.rules] == ["widget", "acme-*", "*"]
    widget = policy.rules[0]
    assert (widget.predicates, widget.min_level, widget.max_age_days) == (SLSA, 3, 3650)
    assert widget.log_kinds == (LogKind.V1, LogKind.V2)
    assert policy.builders["acme-release"].level == 3


def verifier(text: str) -> str:
    """Return the policy with verifiers, one of which says something more."""
    return edited({"    level: 3\n  third": f"    level: 3\n    {text}\n  third"}, VERIFIED)


def verified(text: str) -> str:
    """Return the policy with verifiers, and another rule."""
    return VERIFIED + f"  - {{{text}}}\n"


GOOD = [
    POLICY,
    MINIMAL,
    rule('match: "widget", attested: false'),
    rule('match: "widget", attested: false, continuity: true, builders: ["acme-release"]'),
    rule('match: "widget", deny: false, builders: ["acme-release"], log: {rekor: ["none"]}'),
    rule('match: "widget", builders: ["acme-release"], source_refs: ["refs/heads/release/v*", "refs/tags/{version}"]'),
    rule('match: "a-b-*", indexes: ["root/stable"], builders: ["acme-release"]'),
    edited({"    min_level": '    predicates: ["https://slsa.dev/provenance/v0.2", "https://x/sbom"]\n    min_level'}),
    VERIFIED,
    verifier('resource_uris: ["pkg:generic/{project}@{version}?f={file}", "{index}{file}"]'),
    verifier(f'policies: ["{"a" * 64}", "{"b" * 64}"]'),
    verified('match: "w", attested: false, continuity: true, verifiers: ["third", "other-team"]'),
    builder('root: "company", san: {uri: "spiffe://acme/x"}'),
    builder('root: "company", issuer: "https://x/", san: {email: "a@acme.example"}, level: 0'),
    builder(f'root: "company", issuer: "x", san: {{workflow: "https://x/y", refs: ["{"a" * 40}"]}}'),
]


@pytest.mark.parametrize("text", GOOD)
def test_good(text: str) -> None:
    """What the reader takes fits the schema as well."""
    parse_policy(text.encode())
    assert faults(SCHEMA, yaml.safe_load(text)) == []


BAD = [
    (MINIMAL.replace("v1", "v2"), 'schema must be "policy/v1"'),
    ('schema: "policy/v1"\n', "packages must be a list"),
    ('schema: "policy/v1"\npackages: []\n', "packages must be a list"),
    ("[]", "must be a mapping"),
    (MINIMAL + "verifyers: {}\n", "unknown key 'verifyers'; known are"),
    (VERIFIED.replace("    verifier_id", "    verifier_ids"), "unknown key 'verifier_ids'"),
    (VERIFIED.replace(f'    verifier_id: "{VERIFIER}"\n', ""), "verifier_id is missing"),
    (verifier('resource_uris: ["countermark:{index}/{project}"]'), "name every file alike"),
    (verifier('resource_uris: ["x:{file}{", "x:{file}"]'), "may be in braces"),
    (verifier('resource_uris: ["x:{file}{sha}"]'), "may be in braces"),
    (verifier(f'policies: ["sha256:{"a" * 64}"]'), "64 digits alone"),
    (verifier('policies: ["abc"]'), "not a sha256"),
    (verifier("policies: []"), "list of 1 to 64"),
    (verifier('key: "k"'), "a key has no root"),
    (verifier('builder_ids: ["x"]'), "unknown key 'builder_ids'"),
    (verified('match: "w", verifiers: ["third"], predicates: ["https://x/y"]'), "the rule names none"),
    (verified('match: "w", verifiers: ["third"], deny: true'), "remove verifiers"),
    (verified('match: "w", verifiers: ["third", "third"]'), "something twice"),
    (edited({"min_level": "min_lvl"}), r"packages\[0\]: unknown key 'min_lvl'"),
    (edited({"level: 2": "levels: 2"}), r"builders.acme-nightly: unknown key"),
    (edited({"rekor:": "reckor:"}), r"packages\[0\].log: unknown key"),
    (edited({"level: 2": "level: 5"}), "builders.acme-nightly.level must be a number from 0 to 4"),
    (edited({"level: 2": "level: two"}), "must be a number"),
    (edited({"level: 2": "level: -1"}), "must be a number"),
    (edited({"level: 2": "level: [2]"}), "must be a number"),
    (edited({"deny: true": 'deny: "yes"'}), r"packages\[2\].deny must be true or false"),
    (edited({"deny: true": "deny: [true]"}), "must be true or false"),
    (edited({"deny: true": "deny: true\n    min_level: 3"}), "demands nothing; remove min_level"),
    (edited({"deny: true": "deny: false"}), "name the builders"),
    (edited({'"trusted_root.json"': '"https://x/trusted_root.json"'}), "must be a target path"),
    (edited({'"trusted_root.json"': '"trust/policy.yaml"'}), "must be a target path"),
    (edited({'"trusted_root.json"': '"trust/../trusted_root.json"'}), "must be a target path"),
    (edited({"private:": "pri/vate:"}), "is no name"),
    (edited({'"v1", "v2"': '"v3"'}), "is no kind of log"),
    (edited({"3650": "0"}), "must be a number from 1"),
    (edited({'["refs/tags/v{version}"]': "[]"}), "must be a list of 1 to 64"),
    (edited({'["refs/tags/v{version}"]': '"refs/tags/v{version}"'}), "must be a list"),
    (edited({"refs/tags/v{version}": "v{version}"}), r"source_refs\[0\].*write it in full"),
    (edited({"refs/tags/v{version}": "refs/*/v{version}"}), "only after the last"),
    (edited({"refs/tags/v{version}": "refs/tags/"}), "empty segment"),
    (edited({"refs/tags/v{version}": "refs/tags//v"}), "empty segment"),
    (edited({"refs/tags/v{version}": "refs/tags/v{Version}"}), "may stand in braces"),
    (edited({"refs/tags/v{version}": "refs/tags/v[0-9]"}), "is no ref"),
    (edited({'source: "https://ci.example/acme/widget"': 'source: "https://ci.example/acme/widget/"'}), "trailing '/'"),
    (edited({'source: "https://ci.example/acme/widget"': 'source: "acme/widget"'}), "repository's address"),
    (edited({'source: "https://ci.example/acme/widget"': 'source: "git@h:acme/widget"'}), "repository's address"),
    (edited({'source: "https://ci.example/acme/widget"': 'source: "https://h/acme/*"'}), "repository's address"),
    (edited({"acme/widget": "acme/w\u0456dget"}), "visible ASCII"),
    (edited({"acme/widget": "acme/ widget"}), "visible ASCII"),
    (edited({'match: "widget"': 'match: "Wid_get"'}), "names are compared as 'wid-get'"),
    (edited({'match: "acme-*"': 'match: "acme*"'}), "matches nothing"),
    (edited({'match: "acme-*"': 'match: "acme_-*"'}), "matches nothing"),
    (edited({'match: "acme-*"': 'match: "a-*-b"'}), "matches nothing"),
    (edited({'match: "acme-*"': 'match: "Acme-*"'}), "compared as 'acme-\\*'"),
    (rule('match: "widget", indexes: ["stable"], deny: true'), "owner/name"),
    (rule('match: "widget"'), "name the builders"),
    (rule('match: "widget", builders: ["acme-release", "acme-release"]'), "something twice"),
    (rule('builders: ["acme-release"]'), "match is missing"),
    (
        edited({"    min_level": '    predicates: ["https://slsa.dev/verification_summary/v1"]\n    min_level'}),
        "taken of verifiers alone",
    ),
    (edited({"    min_level": '    predicates: ["https://slsa.dev/provenance/v0.1"]\n    min_level'}), "not read here"),
    (edited({"    san:": "    sans:"}), "unknown key"),
    (builder('root: "company"'), "write root, issuer and san, or key"),
    (builder('root: "company", san: {}'), "write one of workflow"),
    (builder('root: "company", san: {uri: "x", email: "y@z"}'), "write one of workflow"),
    (builder('root: "company", san: {uri: "x", refs: ["refs/tags/v"]}'), "only a workflow has refs"),
    (builder('root: "company", san: {workflow: "x"}'), "refs is missing"),
    (builder('root: "company", san: {workflow: "x@y", refs: ["refs/tags/v"]}'), "without '@'"),
    (builder('root: "company", san: {email: "nobody"}'), "no e-mail"),
    (MINIMAL + 'keys: {k: "-----BEGIN RSA KEY-----"}\n', "keys.k: write the public key in PEM"),
]

NOT_FOR_SCHEMAS = [
    (edited({'root: "private"': 'root: "nowhere"'}), "'nowhere' is not declared in roots"),
    (rule('match: "widget", builders: ["nobody"]'), "'nobody' is not declared in builders"),
    (builder('key: "none"'), "'none' is not declared in keys"),
    (MINIMAL + 'test_roots: ["none"]\n', "'none' is not declared in roots"),
    (edited({"trust/company.trusted_root.json": "trusted_root.json"}), "two names"),
    (rule('match: "acme-*", deny: true'), r"packages\[1\] is never reached: packages\[0\] is about 'acme-\*' too"),
    (MINIMAL + 'keys: {k: "-----BEGIN PUBLIC KEY-----"}\n', "no public key in PEM"),
    (MINIMAL + f"keys: {{k: {json.dumps(RSA_1024)}}}\n", "no public key in PEM|too short"),
    (rule('match: "widget", indexes: ["api/x"], deny: true'), "reserved"),
    (MINIMAL + "roots: &a {}\n", r"anchors.*\(line 3\)"),
    (MINIMAL + "schema: x\n", r"duplicate .* \(line 3\)"),
    (MINIMAL + "---\nx: y\n", "not YAML"),
    (MINIMAL + "roots: !!map {}\n", "anchors"),
    ("x: " + "[" * 50, "nested too deeply"),
    ("", "empty document"),
    ("# " + "x" * MAX_POLICY_BYTES, "longer than"),
    ("\ud800", "not UTF-8"),
    ("a: 'b", r"not YAML: .*line 1"),
    ('a: "\\UFFFFFFFF"', "not YAML"),
]


@pytest.mark.parametrize(("text", "words"), BAD)
def test_bad(text: str, words: str) -> None:
    """What the reader refuses it names by its place and says what to write; the schema refuses it as well."""
    with pytest.raises(InvalidPolicy, match=words):
        parse_policy(text.encode())
    assert faults(SCHEMA, yaml.safe_load(text))


@pytest.mark.parametrize(("text", "words"), NOT_FOR_SCHEMAS)
def test_bad_beyond_the_schema(text: str, words: str) -> None:
    """What no schema can say (names that are not declared, YAML itself, keys) the reader refuses all the same."""
    with pytest.raises(InvalidPolicy, match=words):
        parse_policy(text.encode("utf-8", "surrogatepass"))


def test_scalars_are_text() -> None:
    """A value means what is written: `match: 1.10` is the project of that spelling, not 1.1."""
    policy = parse_policy(b"schema: policy/v1\npackages: [{match: 1-10, deny: true}, {match: no, deny: true}]\n")
    assert [one.match for one in policy.rules] == ["1-10", "no"]


def test_rules_are_bounded() -> None:
    """More rules, or longer lists than there may be, are refused by reader and schema."""
    many = 'schema: "policy/v1"\npackages:\n' + "".join(f'  - {{match: "p{n}", deny: true}}\n' for n in range(2001))
    wide = rule(f'match: "widget", builders: ["acme-release"], source_refs: [{", ".join(["refs/tags/x"] * 65)}]')
    for text in (many, wide):
        with pytest.raises(InvalidPolicy):
            parse_policy(text.encode())
        assert faults(SCHEMA, yaml.load(text, Loader=yaml.CSafeLoader))
