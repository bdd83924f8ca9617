"""Attestations are verified, and each attack fails at the step that is its own. Trust contract section 6 (19 to 26)."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sigstore.models import Bundle
from sigstore.verify import Verifier, policy

from countermark.core.attestations.results import Report, Step, document_of
from countermark.core.attestations.trust_root import BadRoot, Root, public_root
from countermark.core.attestations.verifying import ProvenanceVerifier
from countermark.core.digest import Sha256, sha256_of
from tests.support.sigstore.instance import SLSA, Instance, pep740, provenance, statement
from tests.support.sigstore.keys import BEGAN, LogKey
from tests.support.sigstore.log import TransparencyLog
from tests.support.sigstore.tokens import GITLAB, GOOGLE, Provider, github, gitlab

NAME, CONTENT = "thing-1.0-py3-none-any.whl", b"a wheel"
SHA = sha256_of(CONTENT)


@pytest.fixture(scope="module")
def instance() -> Instance:
    """An instance whose parts no test replaces."""
    return Instance()


def check(
    root: Instance, body: bytes, name: str = NAME, sha256: Sha256 = SHA, change: Callable[[Any], None] | None = None
) -> Report:
    """Verify against the root of an instance, changed or not."""
    document = json.loads(root.trusted_root())
    if change is not None:
        change(document)
    return ProvenanceVerifier(Root(json.dumps(document).encode())).verify(body, name, sha256)


def failed_at(report: Report) -> Step | None:
    """Return the first step that failed of the object, or of its first attestation."""
    assert not report.verified
    failure = report.failure or report.attestations[0].failure
    return None if failure is None else failure.step


def of(instance: Instance, payload: bytes, **options: Any) -> bytes:
    """Return a provenance object with a signed payload."""
    return provenance(pep740(instance.sign(payload, **options)))


class TestGood:
    """What is as it should be."""

    def test_stock_sigstore_verifies_what_the_instance_signs(self, instance: Instance) -> None:
        """The unmodified library, with its public ways alone, takes a bundle of the test instance."""
        payload = statement(NAME, CONTENT)
        root = Root(instance.trusted_root()).sigstore
        bundle = Bundle.from_json(json.dumps(instance.sign(payload)))
        found = Verifier(trusted_root=root).verify_dsse(bundle, policy.OIDCIssuerV2(instance.provider.issuer))
        assert found == ("application/vnd.in-toto+json", payload)

    @pytest.mark.parametrize("count", [1, 2, 3])
    def test_all_of_an_object(self, instance: Instance, count: int) -> None:
        """Every attestation is verified, whatever its place in the log's tree."""
        made = [instance.attest(NAME, CONTENT) for _ in range(count)]
        report = check(instance, provenance(*made))
        assert report.verified
        assert len(report.attestations) == count
        document = document_of(report)
        assert all(step["passed"] for one in document["attestations"] for step in one["steps"])
        assert document["attestations"][0]["certificate"]["1.3.6.1.4.1.57264.1.12"] == "https://github.com/acme/thing"

    def test_another_spelling_of_the_name(self, instance: Instance) -> None:
        """Names that mean the same distribution are the same."""
        assert check(instance, of(instance, statement("Thing-1.0-py3-none-any.whl", CONTENT))).verified

    def test_build_provenance(self, instance: Instance) -> None:
        """SLSA provenance is a predicate that is known."""
        report = check(instance, of(instance, statement(NAME, CONTENT, SLSA)))
        assert report.verified
        assert report.attestations[0].predicate_type == SLSA

    @pytest.mark.parametrize(
        ("issuer", "claims", "publisher"),
        [
            (GITLAB, gitlab(), {"kind": "GitLab", "repository": "acme/thing", "workflow_filepath": ".gitlab-ci.yml"}),
            (GOOGLE, {"sub": "1", "email": "b@acme.test"}, {"kind": "Google", "email": "b@acme.test"}),
        ],
    )
    def test_other_publishers(self, issuer: str, claims: dict[str, str], publisher: dict[str, str]) -> None:
        """Each kind of publisher is verified by its own rules."""
        instance = Instance(Provider(issuer))
        body = provenance(instance.attest(NAME, CONTENT, claims), publisher=publisher)
        assert check(instance, body).verified

    def test_what_is_not_proven_is_told(self, instance: Instance) -> None:
        """No certificate names the environment of a workflow: the result says that it is only said."""
        publisher = {"kind": "GitHub", "repository": "acme/thing", "workflow": "release.yml", "environment": "prod"}
        report = check(instance, provenance(instance.attest(NAME, CONTENT), publisher=publisher))
        assert report.verified
        assert report.attestations[0].unproven == ("environment",)

    def test_the_root_that_comes_with_the_library(self, instance: Instance) -> None:
        """It can be read without a network, and does not know the test instance."""
        verifier = ProvenanceVerifier(Root(public_root()))
        report = verifier.verify(provenance(instance.attest(NAME, CONTENT)), NAME, SHA)
        assert failed_at(report) == Step.CERTIFICATE


class TestStatement:
    """What is stated, of which file."""

    def test_of_another_file(self, instance: Instance) -> None:
        """An attestation is not taken for another file: other name, version, format or bytes."""
        body = provenance(instance.attest(NAME, CONTENT))
        for name in ("other-1.0-py3-none-any.whl", "thing-1.1-py3-none-any.whl", "thing-1.0.tar.gz", "thing.egg"):
            assert failed_at(check(instance, body, name)) == Step.SUBJECT
        assert failed_at(check(instance, body, sha256=sha256_of(b"other"))) == Step.SUBJECT
        archived = of(instance, statement("thing-1.0.zip", CONTENT))
        assert failed_at(check(instance, archived, "thing-1.0.tar.gz")) == Step.SUBJECT

    @pytest.mark.parametrize(
        "subject",
        [
            [],
            [{"name": NAME, "digest": {"sha256": SHA}}] * 2,
            [{"name": "_", "digest": {"sha256": SHA}}],
            [{"name": NAME, "digest": {"sha256": SHA.upper()}}],
            [{"name": NAME, "digest": {"sha256": f"sha256:{SHA}"}}],
            [{"name": NAME, "digest": {"sha1": hashlib.sha1(CONTENT).hexdigest()}}],
            [{"name": NAME, "digest": {}}],
            [{"digest": {"sha256": SHA}}],
            [NAME],
        ],
    )
    def test_subjects(self, instance: Instance, subject: Any) -> None:
        """Exactly one subject, with this name and this sha256 as it is written."""
        assert failed_at(check(instance, of(instance, statement(NAME, CONTENT, subject=subject)))) == Step.SUBJECT

    @pytest.mark.parametrize(
        "more",
        [
            {"_type": "https://in-toto.io/Statement/v0.1"},
            {"predicateType": "https://slsa.dev/provenance/v0.2"},
            {"predicateType": SLSA},
            {"predicateType": 7},
            {"predicate": {"anything": 1}},
            {"subject": NAME},
        ],
    )
    def test_kinds(self, instance: Instance, more: dict[str, Any]) -> None:
        """Only Statement v1 with a known predicate of its own form is taken."""
        assert failed_at(check(instance, of(instance, statement(NAME, CONTENT, **more)))) == Step.STATEMENT

    def test_a_key_twice(self, instance: Instance) -> None:
        """A statement that two readers could read differently is none."""
        twice = statement(NAME, CONTENT)[:-1] + b', "_type": "https://in-toto.io/Statement/v1"}'
        assert failed_at(check(instance, of(instance, twice))) == Step.STATEMENT
        assert failed_at(check(instance, of(instance, b"no json"))) == Step.STATEMENT

    def test_another_payload_type(self, instance: Instance) -> None:
        """What was signed as text is not taken for a statement."""
        body = of(instance, statement(NAME, CONTENT), payload_type="text/plain")
        assert failed_at(check(instance, body)) == Step.SIGNATURE

    def test_altered(self, instance: Instance) -> None:
        """A statement that nobody signed is told by its signature."""
        attestation = instance.attest(NAME, b"something else")
        attestation["envelope"]["statement"] = base64.b64encode(statement(NAME, CONTENT)).decode()
        assert failed_at(check(instance, provenance(attestation))) == Step.SIGNATURE
        attestation = instance.attest(NAME, CONTENT)
        attestation["envelope"]["signature"] = instance.attest(NAME, CONTENT)["envelope"]["signature"]
        assert failed_at(check(instance, provenance(attestation))) == Step.SIGNATURE


class TestCertificate:
    """Who issued it, who saw it, when it held."""

    def test_foreign_authority(self, instance: Instance) -> None:
        """A certificate of an authority that the root does not name is none, though it has the same names."""
        foreign = Instance(instance.provider, instance.ct_log, instance.log)
        assert failed_at(check(instance, provenance(foreign.attest(NAME, CONTENT)))) == Step.CERTIFICATE

    @pytest.mark.parametrize("scts", [0, 2])
    def test_timestamps(self, scts: int) -> None:
        """It holds exactly one timestamp of a CT log."""
        instance = Instance()
        instance.authority.scts = scts
        assert failed_at(check(instance, provenance(instance.attest(NAME, CONTENT)))) == Step.CERTIFICATE

    def test_foreign_ct_log(self, instance: Instance) -> None:
        """A timestamp of a log that the root does not name is none; nor is one under the name of no log."""
        instance_, foreign = Instance(), LogKey("https://ct.test")
        body = provenance(instance_.attest(NAME, CONTENT))

        def renamed(root: Any) -> None:
            root["ctlogs"][0]["logId"]["keyId"] = base64.b64encode(foreign.id).decode()

        assert failed_at(check(instance_, body, change=renamed)) == Step.CERTIFICATE
        instance_.authority.log = foreign
        assert failed_at(check(instance_, provenance(instance_.attest(NAME, CONTENT)))) == Step.CERTIFICATE

    @pytest.mark.parametrize("later", [-5, 601])
    def test_out_of_date(self, instance: Instance, later: int) -> None:
        """It held when the log took the signature in, neither before nor after."""
        assert failed_at(check(instance, of(instance, statement(NAME, CONTENT), later=later))) == Step.CERTIFICATE

    def test_long_ago(self, instance: Instance) -> None:
        """It need not hold now."""
        at = int(BEGAN.timestamp()) + 86400
        report = check(instance, of(instance, statement(NAME, CONTENT), at=at))
        assert report.verified
        assert report.attestations[0].signed_at == at + 1


class TestLog:
    """Which log, which entry, when."""

    def test_foreign_log(self, instance: Instance) -> None:
        """An entry of a log that the root does not name is none."""
        foreign = Instance(instance.provider, instance.ct_log, TransparencyLog(LogKey("https://rekor.test")))
        foreign.authority = instance.authority
        assert failed_at(check(instance, provenance(foreign.attest(NAME, CONTENT)))) == Step.LOG

    def test_entry_of_another_signature(self, instance: Instance) -> None:
        """An entry that was made for something else proves nothing."""
        attestation, other = instance.attest(NAME, CONTENT), instance.attest(NAME, b"other")
        entries = other["verification_material"]["transparency_entries"]
        attestation["verification_material"]["transparency_entries"] = entries
        assert failed_at(check(instance, provenance(attestation))) == Step.LOG

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            (["logIndex"], "3"),
            (["integratedTime"], "1"),
            (["inclusionProof", "logIndex"], "3"),
            (["inclusionProof", "treeSize"], "99"),
            (["inclusionProof", "hashes"], []),
            (["inclusionProof", "rootHash"], base64.b64encode(bytes(32)).decode()),
            (["inclusionProof", "checkpoint", "envelope"], "rekor.test - 1\n1\nAA==\n\n\u2014 x AAAAAAAA\n"),
            (["inclusionPromise", "signedEntryTimestamp"], base64.b64encode(b"x" * 70).decode()),
            (["canonicalizedBody"], base64.b64encode(b"{}").decode()),
        ],
    )
    def test_altered(self, instance: Instance, path: list[str], value: Any) -> None:
        """Whatever is changed of an entry fails it; a changed time may fail the certificate first."""
        attestation = instance.attest(NAME, CONTENT)
        [holder] = attestation["verification_material"]["transparency_entries"]
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = value
        assert failed_at(check(instance, provenance(attestation))) in (
            {Step.CERTIFICATE} if path == ["integratedTime"] else {Step.LOG}
        )

    def test_later_time(self, instance: Instance) -> None:
        """A time that the log did not promise is no time, also within the certificate's."""
        attestation = instance.attest(NAME, CONTENT)
        [entry] = attestation["verification_material"]["transparency_entries"]
        entry["integratedTime"] = str(int(entry["integratedTime"]) + 1)
        assert failed_at(check(instance, provenance(attestation))) == Step.LOG

    @pytest.mark.parametrize(
        ("before", "signer", "good"),
        [
            ("", "rekor.test", True),
            ("", "sekor.test", False),
            ("", "rekor.test.evil", False),
            ("\u2014 witness.test AAAAAAAAAAAA\n", "rekor.test", True),
            ("\u2014 rekor.test AAAAAAAAAAAA\n", "witness.test", False),
        ],
    )
    def test_who_signed_a_checkpoint(self, instance: Instance, before: str, signer: str, good: bool) -> None:
        """The line with the log's key names the log: nothing signs that name; lines of others do not count."""
        attestation = instance.attest(NAME, CONTENT)
        checkpoint = attestation["verification_material"]["transparency_entries"][0]["inclusionProof"]["checkpoint"]
        envelope = checkpoint["envelope"].replace("\u2014 rekor.test", f"\u2014 {signer}")
        checkpoint["envelope"] = envelope.replace("\n\n", f"\n\n{before}")
        report = check(instance, provenance(attestation))
        assert report.verified if good else failed_at(report) == Step.LOG

    def test_checkpoint_of_another_log(self) -> None:
        """A checkpoint is the log's own by its name as well, though the key be right."""
        instance = Instance()
        instance.log.origin = "other.test - 1"
        assert failed_at(check(instance, provenance(instance.attest(NAME, CONTENT)))) == Step.LOG

    @pytest.mark.parametrize("missing", ["inclusionPromise", "inclusionProof", "integratedTime", "kindVersion"])
    def test_less_than_needed(self, instance: Instance, missing: str) -> None:
        """Without a promise, a proof or a time there is nothing to verify."""
        attestation = instance.attest(NAME, CONTENT)
        del attestation["verification_material"]["transparency_entries"][0][missing]
        assert failed_at(check(instance, provenance(attestation))) == Step.STRUCTURE


class TestWindows:
    """The trust root says from when to when; the library does not look at the end."""

    @pytest.mark.parametrize("part", ["tlogs", "ctlogs", "certificateAuthorities"])
    def test_closed(self, instance: Instance, part: str) -> None:
        """What a log or an authority did after the root's end for it does not count; what it did before does."""
        body = provenance(instance.attest(NAME, CONTENT))

        def ends(year: int) -> Callable[[Any], None]:
            def change(root: Any) -> None:
                holder = root[part][0]
                holder.get("publicKey", holder)["validFor"]["end"] = f"{year}-01-01T00:00:00Z"

            return change

        assert failed_at(check(instance, body, change=ends(2024))) == Step.WINDOWS
        assert check(instance, body, change=ends(datetime.now(UTC).year + 2)).verified

    @pytest.mark.parametrize("part", ["tlogs", "ctlogs", "certificateAuthorities"])
    def test_roots_without_a_part(self, instance: Instance, part: str) -> None:
        """A root that trusts nobody is refused as a whole."""
        document = json.loads(instance.trusted_root())
        document[part] = []
        with pytest.raises(BadRoot):
            Root(json.dumps(document).encode())

    @pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"x" * (2 << 20), b'{"mediaType": "text/plain"}'])
    def test_no_roots(self, content: bytes) -> None:
        """What is no trust root is told so."""
        with pytest.raises(BadRoot):
            Root(content)


class TestIdentity:
    """The publisher is the one whom the certificate names."""

    @pytest.mark.parametrize(
        "publisher",
        [
            {"kind": "GitHub", "repository": "acme/other", "workflow": "release.yml"},
            {"kind": "GitHub", "repository": "Acme/thing", "workflow": "release.yml"},
            {"kind": "GitHub", "repository": "acme/thing", "workflow": "test.yml"},
            {"kind": "GitHub", "repository": "acme/thing"},
            {"kind": "GitHub", "repository": 1, "workflow": "release.yml"},
            {"kind": "GitLab", "repository": "acme/thing", "workflow_filepath": "release.yml"},
            {"kind": "Google", "email": "b@acme.test"},
            {"kind": "Nobody"},
            {"kind": "GitHub", "repository": "acme/thing", "workflow": "release.yml", "claims": {"sha": "7" * 40}},
            {"kind": "GitHub", "repository": "acme/thing", "workflow": "release.yml", "claims": {"phase": "moon"}},
            {"kind": "GitHub", "repository": "acme/thing", "workflow": "release.yml", "claims": []},
        ],
    )
    def test_not_borne_out(self, instance: Instance, publisher: dict[str, Any]) -> None:
        """Another repository, workflow, service, or a claim that the certificate does not repeat."""
        body = provenance(instance.attest(NAME, CONTENT), publisher=publisher)
        assert failed_at(check(instance, body)) == Step.IDENTITY

    def test_wrong_issuer(self) -> None:
        """Who looks like the publisher and signed in somewhere else is not the publisher."""
        instance = Instance(Provider("https://token.actions.githubusercontent.com/"))
        assert failed_at(check(instance, provenance(instance.attest(NAME, CONTENT)))) == Step.IDENTITY

    def test_claims(self, instance: Instance) -> None:
        """Claims that the certificate repeats are borne out, by name or by object identifier."""
        claims = {"sha": "5" * 40, "repository_id": "4711", "1.3.6.1.4.1.57264.1.14": "refs/tags/v1"}
        publisher = {"kind": "GitHub", "repository": "acme/thing", "workflow": "release.yml", "claims": claims}
        assert check(instance, provenance(instance.attest(NAME, CONTENT), publisher=publisher)).verified

    def test_one_of_two(self, instance: Instance) -> None:
        """One bad attestation spoils the object, and each is told apart."""
        good, bad = instance.attest(NAME, CONTENT), instance.attest(NAME, CONTENT, github("evil/fork"))
        report = check(instance, provenance(good, bad))
        assert not report.verified
        assert [one.failure and one.failure.step for one in report.attestations] == [None, Step.IDENTITY]
