"""Bundles verify, and each attack on what they state, and on whose certificate it is, fails at its own step.

Trust contract section 6 (19 to 22), and the good cases of both logs.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding

from countermark.core.attestations.dsse import pae
from countermark.core.attestations.facts import LogKind, RootKind, SanType
from countermark.core.attestations.results import Step
from countermark.core.digest import sha256_of
from tests.support.sigstore.authority import Authority
from tests.support.sigstore.instance import IN_TOTO, PUBLISH, SLSA, Instance, Logged, _envelope, statement
from tests.support.sigstore.keys import LogKey, b64
from tests.support.sigstore.tokens import GOOGLE, Provider, github
from tests.unit.attestations.bundles import CONTENT, NAME, ROOT, SHA, check, failed, payload, replaced, signed, verifier

SLSA_V02 = "https://slsa.dev/provenance/v0.2"
V0_1 = "https://in-toto.io/Statement/v0.1"


@pytest.fixture(scope="module")
def instance() -> Instance:
    """An instance whose parts no test replaces."""
    return Instance()


class TestGood:
    """What is as it should be."""

    @pytest.mark.parametrize(("log", "stamped"), [("v1", False), ("v1", True), ("v2", True)])
    def test_facts(self, instance: Instance, log: Logged, stamped: bool) -> None:
        """What is proven of a bundle is told: who, of what, when, and by which log."""
        at = 1_750_000_000
        made = signed(instance, log=log, stamped=stamped, at=at)
        report = check(instance, made)
        assert report.failure is None
        assert [passed for _, passed in report.steps] == [True] * 7 + [None]
        found = report.verified
        assert found is not None
        assert (found.predicate_type, found.predicate, found.subject_name) == (SLSA, {"buildDefinition": {}}, NAME)
        assert (found.root, found.root_kind, found.key) == (ROOT, RootKind.SIGSTORE, None)
        assert found.issuer == "https://token.actions.githubusercontent.com"
        assert found.san == "https://github.com/acme/thing/.github/workflows/release.yml@refs/tags/v1"
        assert found.san_type == SanType.URI
        assert (found.claim(12), found.claim(5), found.claim(99)) == (
            "https://github.com/acme/thing",
            "acme/thing",
            None,
        )
        assert (found.log, found.signed_at) == (LogKind(log), at + 1)
        assert found.log_index is not None
        assert found.log_index >= 5
        assert found.log_origin == ("rekor.test - 1" if log == "v1" else "rekor2.test")
        assert found.bundle_sha256 == report.bundle_sha256 == sha256_of(json.dumps(made).encode())

    def test_a_stamp_instead_of_a_promise(self, instance: Instance) -> None:
        """An entry of the first version without a promise is taken with a stamp; then nothing binds its number."""
        made = signed(instance, stamped=True)
        del made["verificationMaterial"]["tlogEntries"][0]["inclusionPromise"]
        found = check(instance, made).verified
        assert found is not None
        assert found.log_index is None

    @pytest.mark.parametrize("kind", ["0.1", "0.2"])
    def test_old_bundles(self, instance: Instance, kind: str) -> None:
        """Bundles of old clients hold their certificate in a chain."""
        made = signed(instance) | {"mediaType": f"application/vnd.dev.sigstore.bundle+json;version={kind}"}
        material = made["verificationMaterial"]
        material["x509CertificateChain"] = {"certificates": [material.pop("certificate")]}
        assert check(instance, made).failure is None

    def test_old_statements(self, instance: Instance) -> None:
        """Old pipelines state in v0.1 with a predicate of its time."""
        report = check(instance, signed(instance, payload=payload(SLSA_V02, _type=V0_1)))
        assert report.verified is not None
        assert report.predicate_type == SLSA_V02

    @pytest.mark.parametrize("kind", [PUBLISH, "https://cosign.sigstore.dev/attestation/v1", SLSA_V02])
    def test_any_predicate(self, instance: Instance, kind: str) -> None:
        """Statements v1 have any predicate; whether it will do is the policy's question."""
        report = check(instance, signed(instance, payload=payload(kind)))
        assert report.verified is not None
        assert report.verified.predicate_type == kind

    def test_one_of_several_subjects(self, instance: Instance) -> None:
        """A statement about all files of a release is one about each."""
        subjects = [{"name": "thing-1.0.tar.gz", "digest": {"sha256": "0" * 64}}, {"digest": {"sha1": "0" * 40}}]
        subjects.append({"name": NAME, "digest": {"sha512": "x", "sha256": SHA}})
        assert check(instance, signed(instance, payload=payload(subject=subjects))).failure is None

    def test_people(self) -> None:
        """People's certificates name an address, which is told to be one."""
        instance = Instance(Provider(GOOGLE))
        found = check(instance, signed(instance, claims={"sub": "1", "email": "a@acme.test"})).verified
        assert found is not None
        assert (found.san, found.san_type, found.issuer) == ("a@acme.test", SanType.EMAIL, GOOGLE)


class TestWhatIsStated:
    """Rows 19, 20 and 21."""

    def test_replayed(self, instance: Instance) -> None:
        """A good bundle is none for another version or other bytes, and names are compared exactly."""
        made = signed(instance)
        for name in ("thing-1.1-py3-none-any.whl", "Thing-1.0-py3-none-any.whl", "thing-1.0.tar.gz", ""):
            assert failed(check(instance, made, name)) == (Step.SUBJECT, 52)
        assert failed(check(instance, made, sha256=sha256_of(b"other"))) == (Step.SUBJECT, 52)

    @pytest.mark.parametrize(
        "subject",
        [
            [{"name": NAME, "digest": {"sha256": "0" * 64}}, {"name": "other.whl", "digest": {"sha256": SHA}}],
            [{"name": NAME, "digest": {"sha1": hashlib.sha1(CONTENT).hexdigest()}}],
            [{"name": NAME, "digest": {"sha512": SHA}}],
            [{"name": "_", "digest": {"sha256": SHA}}],
            [{"name": "", "digest": {"sha256": SHA}}],
            [{"digest": {"sha256": SHA}}],
            [{"name": NAME, "digest": {"sha256": SHA.upper()}}],
            [{"name": NAME, "digest": {"sha256": f"sha256:{SHA}"}}],
            [{"name": NAME, "digest": {"sha256": [SHA]}}],
            [{"name": [NAME], "digest": {"sha256": SHA}}],
            [{"name": NAME + "\u200b", "digest": {"sha256": SHA}}],
            [{"name": NAME.replace("t", "\u0442", 1), "digest": {"sha256": SHA}}],
        ],
    )
    def test_subjects(self, instance: Instance, subject: Any) -> None:
        """One subject has both the name and the sha256 as they are written; look-alikes are other names."""
        assert failed(check(instance, signed(instance, payload=payload(subject=subject)))) == (Step.SUBJECT, 52)

    @pytest.mark.parametrize(
        "more",
        [
            {"_type": V0_1},
            {"_type": V0_1, "predicateType": "https://cosign.sigstore.dev/attestation/v1"},
            {"_type": "https://in-toto.io/Statement/v2"},
            {"_type": ["https://in-toto.io/Statement/v1"]},
            {"predicateType": 7},
            {"predicateType": ""},
            {"predicateType": "https://slsa.dev/\u202eprovenance/v1"},
            {"predicateType": "x" * 301},
            {"predicate": []},
            {"predicate": "x"},
            {"subject": NAME},
            {"subject": []},
            {"subject": [NAME]},
            {"subject": [{"name": NAME, "digest": SHA}]},
            {"subject": [{"name": NAME, "digest": {"sha256": SHA}}] * 1025},
        ],
    )
    def test_types(self, instance: Instance, more: dict[str, Any]) -> None:
        """A statement is of a version that fits its predicate, and every part of it is of its type."""
        assert failed(check(instance, signed(instance, payload=payload(**more)))) == (Step.STATEMENT, 51)

    def test_statements_that_are_none(self, instance: Instance) -> None:
        """A key twice, a list, no JSON, and JSON in another encoding."""
        twice = payload()[:-1] + b', "_type": "https://in-toto.io/Statement/v1"}'
        for content in (twice, b"[]", b"x", payload().decode().encode("utf-16")):
            assert failed(check(instance, signed(instance, payload=content))) == (Step.STATEMENT, 51)

    @pytest.mark.parametrize(
        "kind", ["text/plain", "application/vnd.in-toto+json ", "application/vnd.in-toto.slsa+json"]
    )
    def test_payload_type(self, instance: Instance, kind: str) -> None:
        """What was signed as something else is not taken for a statement."""
        assert failed(check(instance, signed(instance, payload_type=kind))) == (Step.STRUCTURE, 51)

    def test_retyped(self, instance: Instance) -> None:
        """What was signed as text does not become a statement by saying so."""
        made = replaced(signed(instance, payload_type="text/plain"), ["dsseEnvelope", "payloadType"], "x")
        made["dsseEnvelope"]["payloadType"] = "application/vnd.in-toto+json"
        assert failed(check(instance, made)) == (Step.SIGNATURE, 60)

    def test_altered(self, instance: Instance) -> None:
        """A payload that nobody signed, and the signature of something else."""
        made = signed(instance, payload=statement(NAME, b"other"))
        made["dsseEnvelope"]["payload"] = base64.b64encode(payload()).decode()
        assert failed(check(instance, made)) == (Step.SIGNATURE, 60)
        made, other = signed(instance), signed(instance)
        made["dsseEnvelope"]["signatures"] = other["dsseEnvelope"]["signatures"]
        assert failed(check(instance, made)) == (Step.SIGNATURE, 60)

    def test_truncated(self, instance: Instance) -> None:
        """A bundle that was cut off is none, wherever that was."""
        body = json.dumps(signed(instance)).encode()
        made = verifier(instance)
        for end in (0, 1, len(body) // 2, len(body) - 1):
            assert failed(made.verify(body[:end], NAME, SHA)) == (Step.STRUCTURE, 51)

    def test_too_large(self, instance: Instance) -> None:
        """Ten megabytes are no bundle."""
        assert failed(check(instance, b" " * 10_000_000)) == (Step.STRUCTURE, 51)


class TestCertificate:
    """Who issued it, and whether a CT log saw it."""

    @pytest.mark.parametrize("log", ["v1", "v2"])
    def test_foreign_authority(self, instance: Instance, log: Logged) -> None:
        """A certificate of an authority that has the same names and another key is none; nor is one of other names."""
        foreign = Authority(instance.ct_log)
        assert failed(check(instance, signed(instance, authority=foreign, log=log))) == (Step.CERTIFICATE, 60)
        foreign = Authority(instance.ct_log, of="evil ")
        assert failed(check(instance, signed(instance, authority=foreign, log=log))) == (Step.CERTIFICATE, 60)

    @pytest.mark.parametrize("scts", [0, 2])
    def test_timestamps_of_the_ct_log(self, scts: int) -> None:
        """A certificate holds exactly one."""
        instance = Instance()
        instance.authority.scts = scts
        assert failed(check(instance, signed(instance))) == (Step.CERTIFICATE, 60)

    def test_foreign_ct_log(self) -> None:
        """A log that the root does not name, or has under another name, is none."""
        instance = Instance()
        made, foreign = signed(instance), LogKey("https://ct.test")

        def renamed(root: Any) -> None:
            root["ctlogs"][0]["logId"]["keyId"] = base64.b64encode(foreign.id).decode()

        assert failed(check(instance, made, change=renamed)) == (Step.CERTIFICATE, 60)
        instance.authority.log = foreign
        assert failed(check(instance, signed(instance))) == (Step.CERTIFICATE, 60)

    def test_another_signers_certificate(self, instance: Instance) -> None:
        """A certificate of somebody else says nothing of a signature."""
        made, other = signed(instance), signed(instance, claims=github("evil/fork"))
        made["verificationMaterial"]["certificate"] = other["verificationMaterial"]["certificate"]
        assert failed(check(instance, made)) == (Step.SIGNATURE, 60)

    def test_an_authoritys_certificate(self, instance: Instance) -> None:
        """A certificate that is none, and the authority's own, which signed nothing."""
        made = signed(instance)
        made["verificationMaterial"]["certificate"]["rawBytes"] = base64.b64encode(b"0").decode()
        assert failed(check(instance, made)) == (Step.STRUCTURE, 51)
        made["verificationMaterial"]["certificate"] = instance.authority.listed()["certChain"]["certificates"][0]
        assert failed(check(instance, made)) == (Step.SIGNATURE, 60)

    @pytest.mark.parametrize("text", ["https://github.com/acme/\u202egniht", "a\u0000b", "x" * 5000])
    def test_texts_that_cannot_be_printed(self, instance: Instance, text: str) -> None:
        """A certificate whose words would turn, hide or flood the screen says nothing of whose it is."""
        made = signed(instance, claims=github(runner_environment=text))
        assert failed(check(instance, made)) == (Step.CERTIFICATE, 60)

    @pytest.mark.parametrize("log", ["v1", "v2"])
    def test_other_curves(self, instance: Instance, log: Logged) -> None:
        """A signer's key on another curve is refused: sigstore's parts do not agree on how it signs."""
        at, key = int(time.time()) - 60, ec.generate_private_key(ec.SECP384R1())
        claims = github() | {"iss": instance.provider.issuer}
        certificate = instance.authority.issue(key.public_key(), claims, at)
        held = {"certificate": {"rawBytes": b64(certificate.public_bytes(Encoding.DER))}}
        envelope = _envelope(payload(), IN_TOTO, key)
        made = instance._bundle(envelope, held, certificate, log, log == "v2", at + 1)
        assert failed(check(instance, made)) == (Step.SIGNATURE, 60)
        again = key.sign(pae(IN_TOTO, payload()), ec.ECDSA(SHA384()))
        envelope["signatures"] = [{"sig": b64(again)}]
        made = instance._bundle(envelope, held, certificate, log, log == "v2", at + 1)
        assert failed(check(instance, made)) == (Step.SIGNATURE, 60)
