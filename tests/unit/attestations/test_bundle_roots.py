"""Which roots and keys count: several roots, an organisation's own, named keys, and tricks with them.

Trust contract sections 4 and 6 (26).
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from countermark.core.attestations.bundle_verifying import BundleVerifier
from countermark.core.attestations.dsse import key_sha256, pae
from countermark.core.attestations.facts import LogKind, RootKind
from countermark.core.attestations.judgements import BundleReport
from countermark.core.attestations.results import Step
from countermark.core.attestations.trust_root import public_root
from tests.support.sigstore.authority import usage
from tests.support.sigstore.instance import IN_TOTO, Instance, Logged, _envelope
from tests.support.sigstore.keys import b64, new_key
from tests.support.sigstore.stamps import StampAuthority
from tests.unit.attestations.bundles import ENTRY, NAME, ROOT, SHA, check, failed, payload, replaced, signed

AT = 1_750_000_000


@pytest.fixture(scope="module")
def instance() -> Instance:
    """An instance whose parts no test replaces."""
    return Instance()


def against(roots: dict[str, bytes], bundle: Any, only: list[str] | None = None, **options: Any) -> BundleReport:
    """Verify a bundle against some roots."""
    made = BundleVerifier(roots, options.pop("keys", {}), **options)
    return made.verify(json.dumps(bundle).encode(), NAME, SHA, only)


def pem(key: Any) -> bytes:
    """Return a key's public half."""
    content: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return content


def ends(part: str, when: str) -> Any:
    """Return a change of a root: something was trusted until a time."""

    def change(root: Any) -> None:
        root[part][0]["validFor"]["end"] = when

    return change


class TestTricks:
    """Row 26."""

    @pytest.mark.parametrize(
        ("part", "step", "code"),
        [
            ("tlogs", Step.LOG, 61),
            ("ctlogs", Step.CERTIFICATE, 60),
            ("certificateAuthorities", Step.CERTIFICATE, 60),
        ],
    )
    def test_empty(self, instance: Instance, part: str, step: Step, code: int) -> None:
        """A root that lost its logs or its authorities is no root."""

        def emptied(root: Any) -> None:
            root[part] = []

        assert failed(check(instance, signed(instance), change=emptied)) == (step, code)

    def test_without_any_logs(self, instance: Instance) -> None:
        """A root that lost all its logs does not become an organisation's own for those with a log entry."""

        def emptied(root: Any) -> None:
            root["tlogs"] = root["ctlogs"] = []

        for log in ("v1", "v2"):
            made = signed(instance, log=log, stamped=True)
            assert failed(check(instance, made, change=emptied)) == (Step.LOG, 61)
            assert failed(check(instance, made, change=emptied, without_log=[])) == (Step.LOG, 61)

    @pytest.mark.parametrize("options", [{"test_roots": []}, {"test_roots": ["other"]}])
    def test_test_instances(self, instance: Instance, options: dict[str, Any]) -> None:
        """A test instance's root is refused where it is not named as one, whatever it verifies."""
        report = check(instance, signed(instance), **options)
        assert failed(report) == (Step.CERTIFICATE, 60)
        assert "test_roots" in str(report.failure)
        made = signed(instance, log="none", authority=instance.company)
        assert failed(check(instance, made, content=instance.company_root(), **options)) == (Step.CERTIFICATE, 60)

    def test_expired_authority(self, instance: Instance) -> None:
        """An authority that the root ceased to trust before the signature."""
        ended = ends("certificateAuthorities", "2025-06-15T00:00:00Z")
        assert failed(check(instance, signed(instance, at=AT), change=ended)) == (Step.CERTIFICATE, 60)
        later = ends("certificateAuthorities", "2025-06-16T00:00:00Z")
        assert check(instance, signed(instance, at=AT), change=later).failure is None

    @pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"x" * (2 << 20), b'{"mediaType": "text/plain"}'])
    def test_no_roots(self, instance: Instance, content: bytes) -> None:
        """What is no root verifies nothing, and does not keep others from it."""
        assert failed(against({"bad": content}, signed(instance))) == (Step.CERTIFICATE, 60)
        roots = {"bad": content, ROOT: instance.trusted_root()}
        assert against(roots, signed(instance), test_roots=[ROOT]).failure is None

    def test_none_at_all(self, instance: Instance) -> None:
        """Without a root nothing is verified."""
        report = against({}, signed(instance))
        assert failed(report) == (Step.CERTIFICATE, 60)
        assert "no trust root is signed" in str(report.failure)


class TestSeveral:
    """More than one root."""

    def test_each_that_knows_it(self, instance: Instance) -> None:
        """A bundle is proven by every root that verifies it, under that root's name; others say nothing."""
        other, roots = Instance(), {"public": public_root()}
        roots |= {"other": other.trusted_root(), "old": instance.trusted_root(), "new": instance.trusted_root()}
        report = against(roots, signed(instance), test_roots=["other", "old", "new"])
        assert [one.root for one in report.evidence] == ["old", "new"]
        assert against(roots, signed(other), test_roots=["other"]).verified is not None

    def test_only_some(self, instance: Instance) -> None:
        """Who asks for some of the roots is answered by them alone."""
        roots = {"a": instance.trusted_root(), "b": instance.trusted_root()}
        report = against(roots, signed(instance), ["b"], test_roots=["a", "b"])
        assert [one.root for one in report.evidence] == ["b"]
        assert failed(against(roots, signed(instance), [], test_roots=["a", "b"])) == (Step.CERTIFICATE, 60)

    def test_the_one_that_came_furthest_says_why(self, instance: Instance) -> None:
        """Of two failures the one is told that is nearer to what was meant."""
        foreign = Instance(instance.provider, instance.ct_log)
        foreign.authority = instance.authority
        ended = json.loads(instance.trusted_root())
        ends("certificateAuthorities", "2024-01-01T00:00:00Z")(ended)
        roots = {"ended": json.dumps(ended).encode(), "foreign": foreign.trusted_root()}
        report = against(roots, signed(instance, at=AT), test_roots=roots)
        assert failed(report) == (Step.LOG, 61)


class TestOwnAuthority:
    """An organisation's own authority: stamps, no log."""

    def good(self, instance: Instance, **options: Any) -> dict[str, Any]:
        """Return a bundle of the company."""
        return signed(instance, log="none", authority=instance.company, **options)

    def own(self, instance: Instance, bundle: Any, **options: Any) -> BundleReport:
        """Verify a bundle against the company's root."""
        return check(instance, bundle, content=instance.company_root(), **options)

    def test_good(self, instance: Instance) -> None:
        """What is proven has no log, and the stamp's time; nothing is told of steps that are not there."""
        report = self.own(instance, self.good(instance, at=AT))
        found = report.verified
        assert found is not None
        assert (found.root_kind, found.log, found.log_index, found.log_origin) == (
            RootKind.CA,
            LogKind.NONE,
            None,
            None,
        )
        assert found.signed_at == AT + 1
        assert dict(report.steps)[Step.CERTIFICATE] is True
        assert dict(report.steps)[Step.LOG] is None

    def test_where_no_policy_asks_for_it(self, instance: Instance) -> None:
        """Without a log nothing is verified unless a policy says that it may."""
        assert failed(self.own(instance, self.good(instance), without_log=[])) == (Step.LOG, 61)

    def test_stamps(self, instance: Instance) -> None:
        """It wants a stamp of an authority of its root, over this signature."""
        made = self.good(instance, stamped=False)
        assert failed(self.own(instance, made)) == (Step.LOG, 61)
        other = self.good(instance)["verificationMaterial"]["timestampVerificationData"]
        made["verificationMaterial"]["timestampVerificationData"] = other
        assert failed(self.own(instance, made)) == (Step.LOG, 61)
        foreign = Instance(instance.provider, stamps=StampAuthority())
        foreign.company = instance.company
        assert failed(self.own(instance, self.good(foreign))) == (Step.LOG, 61)
        made["verificationMaterial"]["timestampVerificationData"] = {"rfc3161Timestamps": [{"signedTimestamp": "AAAA"}]}
        assert failed(self.own(instance, made)) == (Step.LOG, 61)

    @pytest.mark.parametrize("later", [-5, 601])
    def test_times(self, instance: Instance, later: int) -> None:
        """The certificate held when the stamp was made."""
        assert failed(self.own(instance, self.good(instance, later=later))) == (Step.WINDOWS, 61)

    def test_windows(self, instance: Instance) -> None:
        """The root trusted both authorities then."""
        made = self.good(instance, at=AT)
        ended = ends("certificateAuthorities", "2024-01-01T00:00:00Z")
        assert failed(self.own(instance, made, change=ended)) == (Step.CERTIFICATE, 60)
        ended = ends("timestampAuthorities", "2024-01-01T00:00:00Z")
        assert failed(self.own(instance, made, change=ended)) == (Step.LOG, 61)

    def test_altered(self, instance: Instance) -> None:
        """A statement that nobody signed, under a good certificate and a good stamp of another's signature."""
        made = self.good(instance)
        made["dsseEnvelope"]["payload"] = base64.b64encode(payload(predicate={"x": 1})).decode()
        assert failed(self.own(instance, made)) == (Step.SIGNATURE, 60)

    @pytest.mark.parametrize(
        ("usage_", "purpose", "step"),
        [
            ("digital_signature", ExtendedKeyUsageOID.CODE_SIGNING, None),
            ("digital_signature", ExtendedKeyUsageOID.SERVER_AUTH, Step.CERTIFICATE),
            ("digital_signature", None, Step.CERTIFICATE),
            ("key_agreement", ExtendedKeyUsageOID.CODE_SIGNING, Step.CERTIFICATE),
        ],
    )
    def test_usage(
        self, instance: Instance, usage_: str, purpose: x509.ObjectIdentifier | None, step: Step | None
    ) -> None:
        """The company's other certificates, of its servers and people, sign no code."""
        key, company = new_key(), instance.company
        began = datetime.fromtimestamp(AT, UTC)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(company.key.public_key())
        builder = (
            x509.CertificateBuilder(company.intermediate.subject, x509.Name([]), key.public_key(), 7)
            .not_valid_before(began)
            .not_valid_after(began + timedelta(minutes=10))
            .add_extension(usage(usage_), critical=True)
            .add_extension(authority, critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("build.acme.test")]), critical=True)
        )
        if purpose is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        certificate = builder.sign(company.key, SHA384())
        held = {"certificate": {"rawBytes": b64(certificate.public_bytes(Encoding.DER))}}
        made = instance._bundle(_envelope(payload(), IN_TOTO, key), held, certificate, "none", True, AT + 1)
        report = self.own(instance, made)
        assert report.failure is None if step is None else failed(report) == (step, 60)

    def test_a_log_entry(self, instance: Instance) -> None:
        """An entry that its root cannot verify is not overlooked."""
        made = self.good(instance)
        made["verificationMaterial"]["tlogEntries"] = signed(instance)["verificationMaterial"]["tlogEntries"]
        assert failed(self.own(instance, made)) == (Step.LOG, 61)

    def test_foreign_authority(self, instance: Instance) -> None:
        """An authority with the same names and another key is another; so is Sigstore's."""
        other = Instance()
        other.stamps = instance.stamps
        assert failed(self.own(instance, self.good(other))) == (Step.CERTIFICATE, 60)
        assert failed(self.own(instance, signed(instance, log="none"))) == (Step.CERTIFICATE, 60)

    def test_without_stamp_authorities(self, instance: Instance) -> None:
        """A root without logs and without stamps proves no time, and is none."""

        def emptied(root: Any) -> None:
            root["timestampAuthorities"] = []

        assert self.own(instance, self.good(instance), change=emptied).failure is not None


class TestKeys:
    """Keys that a policy names."""

    def test_good(self, instance: Instance) -> None:
        """What is proven is that the key signed; no time is where nothing says one."""
        key = new_key()
        report = against({}, instance.sign_with_key(payload(), key), keys={"other": pem(new_key()), "mine": pem(key)})
        found = report.verified
        assert found is not None
        assert (found.root, found.root_kind, found.key) == ("mine", RootKind.KEY, key_sha256(key.public_key()))
        assert (found.log, found.signed_at, found.issuer, found.san) == (LogKind.NONE, 0, None, None)

    @pytest.mark.parametrize("hint", ["", "mine", "other", "0" * 64])
    def test_hints(self, instance: Instance, hint: str) -> None:
        """What a bundle says of its key is no more than that."""
        key = new_key()
        made = replaced(instance.sign_with_key(payload(), key), ["verificationMaterial", "publicKey"], {"hint": hint})
        assert against({}, made, keys={"mine": pem(key)}).failure is None
        assert failed(against({}, made, keys={"other": pem(new_key())})) == (Step.SIGNATURE, 60)
        assert failed(against({}, made)) == (Step.SIGNATURE, 60)

    @pytest.mark.parametrize("kind", ["p256", "p384", "ed25519", "rsa", "pss"])
    def test_kinds(self, instance: Instance, kind: str) -> None:
        """Keys of every kind that signs here: files', tokens' and key services'."""
        content = pae(IN_TOTO, payload())
        key: Any = rsa.generate_private_key(65537, 2048) if kind in ("rsa", "pss") else None
        match kind:
            case "p256":
                key = new_key()
                signature = key.sign(content, ec.ECDSA(SHA256()))
            case "p384":
                key = ec.generate_private_key(ec.SECP384R1())
                signature = key.sign(content, ec.ECDSA(SHA384()))
            case "ed25519":
                key = ed25519.Ed25519PrivateKey.generate()
                signature = key.sign(content)
            case "rsa":
                signature = key.sign(content, padding.PKCS1v15(), SHA256())
            case _:
                signature = key.sign(content, padding.PSS(padding.MGF1(SHA256()), 32), SHA256())
        made = instance.sign_with_key(payload(), new_key())
        made["dsseEnvelope"]["signatures"] = [{"sig": base64.b64encode(signature).decode()}]
        assert against({}, made, keys={"mine": pem(key)}).failure is None
        made["dsseEnvelope"]["payload"] = base64.b64encode(payload(predicate={"x": 1})).decode()
        assert failed(against({}, made, keys={"mine": pem(key)})) == (Step.SIGNATURE, 60)

    def test_weak_keys(self, instance: Instance) -> None:
        """A key that is too short is none."""
        key = rsa.generate_private_key(65537, 1024)
        made = instance.sign_with_key(payload(), new_key())
        signature = key.sign(pae(IN_TOTO, payload()), padding.PKCS1v15(), SHA256())
        made["dsseEnvelope"]["signatures"] = [{"sig": base64.b64encode(signature).decode()}]
        assert failed(against({}, made, keys={"mine": pem(key)})) == (Step.SIGNATURE, 60)

    def test_stamps(self, instance: Instance) -> None:
        """A stamp is one of an authority of some root, and then says the time."""
        key = new_key()
        made = instance.sign_with_key(payload(), key, at=AT, stamped=True)
        options: dict[str, Any] = {"keys": {"mine": pem(key)}, "test_roots": [ROOT], "without_log": [ROOT]}
        for root in (instance.trusted_root(), instance.company_root()):
            found = against({"bad": b"", ROOT: root}, made, **options).verified
            assert found is not None
            assert found.signed_at == AT
        assert failed(against({}, made, **options)) == (Step.LOG, 61)
        assert failed(against({ROOT: Instance().trusted_root()}, made, **options)) == (Step.LOG, 61)
        assert failed(against({ROOT: instance.trusted_root()}, made, keys={"mine": pem(key)})) == (Step.LOG, 61)

    @pytest.mark.parametrize(("log", "stamped"), [("v1", False), ("v1", True), ("v2", True)])
    def test_log_entries(self, instance: Instance, log: Logged, stamped: bool) -> None:
        """An entry is verified, and says when; or the bundle is refused."""
        key = new_key()
        made = instance.sign_with_key(payload(), key, at=AT, log=log, stamped=stamped)
        options: dict[str, Any] = {"keys": {"mine": pem(key)}, "test_roots": [ROOT]}
        report = against({ROOT: instance.trusted_root()}, made, **options)
        assert report.failure is None
        assert report.verified is not None
        assert (report.verified.log, report.verified.signed_at) == (LogKind(log), AT)
        assert failed(against({ROOT: Instance().trusted_root()}, made, **options)) == (Step.LOG, 61)
        assert failed(against({}, made, **options)) == (Step.LOG, 61)

        def closed(root: Any) -> bytes:
            for each in root["tlogs"]:
                each["publicKey"]["validFor"]["end"] = "2024-01-01T00:00:00Z"
            return json.dumps(root).encode()

        ended = closed(json.loads(instance.trusted_root()))
        assert failed(against({ROOT: ended}, made, **options)) == (Step.WINDOWS, 61)

    @pytest.mark.parametrize("log", ["v1", "v2"])
    @pytest.mark.parametrize(
        ("path", "value"),
        [
            (["logIndex"], "3"),
            (["inclusionProof", "logIndex"], "3"),
            (["inclusionProof", "treeSize"], "99"),
            (["inclusionProof", "rootHash"], base64.b64encode(bytes(32)).decode()),
            (["inclusionProof", "checkpoint"], None),
            (["canonicalizedBody"], base64.b64encode(b"{}").decode()),
            (["logId", "keyId"], base64.b64encode(bytes(32)).decode()),
        ],
    )
    def test_altered_entries(self, instance: Instance, log: Logged, path: list[Any], value: Any) -> None:
        """Whatever is changed of an entry fails it."""
        key = new_key()
        made = instance.sign_with_key(payload(), key, log=log, stamped=log == "v2")
        replaced(made, [*ENTRY, *path], value)
        roots = {ROOT: instance.trusted_root()}
        assert failed(against(roots, made, keys={"mine": pem(key)}, test_roots=[ROOT])) == (Step.LOG, 61)

    @pytest.mark.parametrize("log", ["v1", "v2"])
    def test_entries_of_something_else(self, instance: Instance, log: Logged) -> None:
        """An entry of another signature by the same key, or of another key, proves nothing."""
        key, other = new_key(), new_key()
        made = instance.sign_with_key(payload(), key, log=log, stamped=True)
        roots = {ROOT: instance.trusted_root()}
        options: dict[str, Any] = {"keys": {"mine": pem(key)}, "test_roots": [ROOT]}
        for signer in (key, other):
            more = instance.sign_with_key(payload(), signer, log=log)
            made["verificationMaterial"]["tlogEntries"] = more["verificationMaterial"]["tlogEntries"]
            assert failed(against(roots, made, **options)) == (Step.LOG, 61)

    def test_no_keys(self) -> None:
        """What is no key is told when the verifier is made."""
        with pytest.raises(ValueError, match="PEM"):
            BundleVerifier({}, {"mine": b"-----BEGIN PUBLIC KEY-----"})
