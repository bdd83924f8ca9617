"""A file is judged by its bundles and the signed policy: rows 19, 22, 23 and 26 of trust contract section 6."""

from __future__ import annotations

import json

import pytest

from countermark.core.attestations.judging import MAX_BUNDLES
from countermark.core.attestations.trust_material import TrustMaterial
from tests.support.sigstore.instance import PUBLISH, SLSA, Instance
from tests.support.sigstore.keys import new_key
from tests.support.sigstore.tokens import GITHUB, GOOGLE, Provider, github
from tests.unit.attestations.bundles import payload
from tests.unit.attestations.judging import AT, POLICY, WORKFLOW, built, code, judged, made, of
from tests.unit.attestations.test_bundle_roots import pem


class TestPassed:
    """What is as it should be."""

    def test_a_named_bundle(self, instance: Instance, material: TrustMaterial) -> None:
        """The pointer's bundle verifies and satisfies the rule."""
        found = judged(material, made(instance))
        assert code(found) == (0, "policy")
        verdict = found.verdict
        assert (verdict.builder, verdict.level, verdict.source) == ("release", 2, "https://github.com/acme/thing")
        assert (verdict.ref, verdict.commit) == ("refs/tags/v1.0", "5" * 40)

    def test_the_second_log(self, instance: Instance, material: TrustMaterial) -> None:
        """Either log will do where the rule says nothing."""
        assert judged(material, made(instance, log="v2")).passed

    def test_one_of_several(self, instance: Instance, material: TrustMaterial) -> None:
        """One bundle that satisfies the rule is enough, and what is bad beside it changes nothing."""
        assert judged(material, None, b"{}", made(instance, github("evil/fork")), made(instance)).passed
        publish = made(instance, payload=payload(PUBLISH))
        assert judged(material, publish, made(instance)).passed

    def test_the_companys(self, instance: Instance, material: TrustMaterial) -> None:
        """A rule that says so takes what is in no log."""
        own = made(instance, payload=payload(PUBLISH), log="none", authority=instance.company)
        assert judged(material, own, project="own-thing").passed
        assert code(judged(material, own, project="logged")) == (61, "log")

    def test_without_a_policy(self, instance: Instance) -> None:
        """Nothing is demanded then; what is named is verified against every root that is no test's."""
        material = of(instance, None)
        assert judged(material, None).passed
        assert judged(material, None, b"{}").passed
        found = judged(material, made(instance))
        assert code(found) == (60, "identity")
        assert "test instance" in found.reason

    def test_what_is_not_demanded(self, instance: Instance, material: TrustMaterial) -> None:
        """A rule that demands nothing takes a file without evidence, and checks what is named all the same."""
        assert judged(material, None, project="free").passed
        assert judged(material, made(instance), project="free").passed
        foreign = made(Instance())
        assert code(judged(material, foreign, project="free")) == (60, "identity")

    def test_the_same_bundle_twice(self, instance: Instance, material: TrustMaterial) -> None:
        """What is named is not judged again where it is among the others."""
        named = made(instance)
        assert len(judged(material, named, named, named).bundles) == 1


class TestReplay:
    """Row 19."""

    def test_another_file(self, instance: Instance, material: TrustMaterial) -> None:
        """A good bundle of another version is no evidence."""
        other = made(instance, payload=payload(subject=[{"name": "thing-0.9.tar.gz", "digest": {"sha256": "0" * 64}}]))
        assert code(judged(material, other)) == (52, "subject")
        assert code(judged(material, None, other)) == (52, "subject")

    def test_an_old_build(self, instance: Instance, material: TrustMaterial) -> None:
        """The same file, built from another tag: the newest policy decides by the ref."""
        old = made(instance, github(ref="refs/tags/v0.9"), payload=built("refs/tags/v0.9"))
        found = judged(material, old)
        assert code(found) == (62, "policy")
        assert "ref" in found.reason

    def test_too_old(self, instance: Instance, material: TrustMaterial) -> None:
        """A signature of more days ago than the rule takes."""
        assert code(judged(material, made(instance, at=AT - 40 * 86_400))) == (62, "policy")


class TestIdentity:
    """Rows 22 and 23: everything is compared character by character."""

    @pytest.mark.parametrize(
        "claims",
        [
            github("acme/other", ref="refs/tags/v1.0"),
            github("evil/thing", ref="refs/tags/v1.0"),
            github("acme/thing-fork", ref="refs/tags/v1.0"),
            github("Acme/thing", ref="refs/tags/v1.0"),
            github("acme/Thing", ref="refs/tags/v1.0"),
            github("acme/thing", "test.yml", "refs/tags/v1.0"),
            github("acme/thing", "Release.yml", "refs/tags/v1.0"),
            github("acme/thing", ref="refs/heads/v1.0"),
            github("acme/thing", ref="refs/heads/main"),
            github("acme/thing", ref="refs/tags/1.0"),
            github("acme/th-ing", ref="refs/tags/v1.0"),
            github("acme/thing/", ref="refs/tags/v1.0"),
            {"sub": "1", "email": f"{WORKFLOW}@refs/tags/v1.0"},
            {"sub": "1", "email": "release@acme.test"},
        ],
    )
    def test_somebody_else(self, instance: Instance, material: TrustMaterial, claims: dict[str, str]) -> None:
        """Other repository, fork, workflow, branch, case, and an address with the text of a URI."""
        assert code(judged(material, made(instance, claims))) == (60, "identity")

    @pytest.mark.parametrize(
        "repository", ["acme/thing\u200b", "\u0430cme/thing", "acme/th\u0131ng", "acme/thing\u0301"]
    )
    def test_look_alikes(self, instance: Instance, material: TrustMaterial, repository: str) -> None:
        """A repository whose name looks the same is another; what is not ASCII is in no certificate's name at all."""
        claims = github(ref="refs/tags/v1.0")
        claims["repository"] = repository
        assert code(judged(material, made(instance, claims))) == (60, "identity")

    @pytest.mark.parametrize(
        "issuer", [GITHUB + "/", GOOGLE, GITHUB.upper(), "https://token.actions.githubusercontent.co"]
    )
    def test_issuers(self, issuer: str) -> None:
        """Who looks like the builder and signed in somewhere else, or with another spelling, is not the builder."""
        instance = Instance(Provider(issuer))
        assert code(judged(of(instance), made(instance))) == (60, "identity")

    def test_another_root(self, instance: Instance, material: TrustMaterial) -> None:
        """The same names under the company's authority are another builder's, which this rule does not name."""
        own = made(instance, log="none", authority=instance.company)
        assert code(judged(material, own)) == (62, "policy")
        policy = POLICY.replace('root: "company"', 'root: "company"\n    issuer: "https://idp.acme.test"')
        assert code(judged(of(instance, policy), own)) == (60, "identity")

    @pytest.mark.parametrize(
        ("claims", "wanted"), [(github("evil/thing", ref="refs/tags/v1.0"), 60), (github(ref="refs/tags/v1.0"), 0)]
    )
    def test_forged_builder(
        self, instance: Instance, material: TrustMaterial, claims: dict[str, str], wanted: int
    ) -> None:
        """A predicate that claims a trusted builder does not make one of another workflow."""
        assert judged(material, made(instance, claims, payload=built())).exit_code == wanted

    def test_a_key_for_a_builder(self, instance: Instance, material: TrustMaterial) -> None:
        """A key that no policy names is nobody's."""
        keyed = json.dumps(instance.sign_with_key(built(), new_key())).encode()
        assert code(judged(material, keyed)) == (60, "signature")


class TestMaterial:
    """Row 26, and what trust signs."""

    def test_keys(self, instance: Instance) -> None:
        """A policy's key is a builder without a certificate."""
        key = new_key()
        lines = "".join(f"    {line}\n" for line in pem(key).decode().splitlines())
        policy = (
            f'schema: "policy/v1"\nkeys:\n  release: |\n{lines}builders:\n  keyed: {{key: "release"}}\npackages:\n'
            f'  - {{match: "*", builders: ["keyed"], predicates: ["{PUBLISH}"], log: {{rekor: ["none"]}}}}\n'
        )
        signed_ = json.dumps(instance.sign_with_key(payload(PUBLISH), key)).encode()
        assert judged(of(instance, policy), signed_).passed
        other = json.dumps(instance.sign_with_key(payload(PUBLISH), new_key())).encode()
        assert code(judged(of(instance, policy), other)) == (60, "signature")

    def test_test_roots(self, instance: Instance) -> None:
        """A test instance in a production policy is refused."""
        policy = POLICY.replace('test_roots: ["private", "company"]\n', "")
        assert code(judged(of(instance, policy), made(instance))) == (60, "identity")
        assert code(judged(of(instance, policy), None, made(instance))) == (60, "identity")

    def test_a_root_that_is_not_signed(self, instance: Instance) -> None:
        """A policy that names a root which trust does not sign proves nothing with it."""
        found = judged(TrustMaterial(POLICY.encode(), {"trust/other.json": instance.trusted_root()}), made(instance))
        assert code(found) == (60, "identity")

    def test_no_material(self, instance: Instance) -> None:
        """Without roots nothing that is named verifies; without that too, nothing is demanded."""
        found = judged(TrustMaterial(), made(instance))
        assert code(found) == (60, "identity")
        assert "no trust root is signed" in found.reason
        assert judged(TrustMaterial(), None).passed

    def test_an_unreadable_policy(self, instance: Instance) -> None:
        """A policy that cannot be read takes nothing."""
        material = of(instance, "schema: policy/v9")
        for named in (None, made(instance), b"{}"):
            found = judged(material, named)
            assert code(found) == (62, "policy")
            assert "cannot be read" in found.reason

    def test_nothing_there(self, material: TrustMaterial) -> None:
        """Where something is demanded, nothing is a refusal; where all is denied, so is everything."""
        assert code(judged(material, None)) == (62, "policy")
        assert code(judged(material, None, project="unknown")) == (62, "policy")

    def test_denied(self, instance: Instance, material: TrustMaterial) -> None:
        """What is denied is refused as that, whatever is wrong with its bundles."""
        found = judged(material, None, b"{}", project="unknown")
        assert code(found) == (62, "policy")
        assert judged(material, made(instance), project="unknown").exit_code == 62


class TestBad:
    """Bundles that are none."""

    @pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b" " * 10_000_000, b"[" * 100_000])
    def test_named(self, material: TrustMaterial, body: bytes) -> None:
        """What the pointer names has to be a bundle."""
        assert code(judged(material, body)) == (51, "statement")

    def test_named_beside_a_good_one(self, instance: Instance, material: TrustMaterial) -> None:
        """A named bundle that does not verify is a failure whatever else there is."""
        assert code(judged(material, b"{}", made(instance))) == (51, "statement")

    def test_wrong_predicate(self, instance: Instance, material: TrustMaterial) -> None:
        """A statement of another kind than the rule wants is no evidence."""
        for kind in (PUBLISH, "https://slsa.dev/provenance/v2", SLSA + "/"):
            found = judged(material, made(instance, payload=payload(kind, predicate=None)))
            assert code(found) == (62, "policy")

    def test_too_many(self, instance: Instance, material: TrustMaterial) -> None:
        """A file has few bundles; more are not looked at, and refused."""
        found = judged(material, made(instance), *(b"%d" % number for number in range(MAX_BUNDLES)))
        assert code(found) == (51, "statement")
        assert not found.verdict.allowed

    @pytest.mark.parametrize("had", [True, False, None])
    def test_continuity(self, instance: Instance, had: bool | None) -> None:
        """A rule with continuity demands of a project what it had before."""
        policy = POLICY.replace("attested: false", "attested: false\n    continuity: true")
        found = judged(of(instance, policy), None, project="free", had=had)
        assert found.passed is (had is not True)
