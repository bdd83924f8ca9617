"""What the test instance signs is what unmodified Sigstore libraries take; trust contract section 5.3 (a)."""

from __future__ import annotations

import hashlib
import json
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from rfc3161_client import TimestampRequestBuilder, VerifierBuilder, decode_timestamp_response
from rfc3161_client.base import HashAlgorithm
from sigstore.models import Bundle, InvalidBundle
from sigstore.verify import Verifier, policy

from countermark.core.attestations.trust_root import Root
from tests.support.sigstore.authority import Authority
from tests.support.sigstore.instance import IN_TOTO, Instance, Logged, encoded, statement
from tests.support.sigstore.keys import LogKey, new_key
from tests.support.sigstore.log import from_b64
from tests.support.sigstore.merkle import Tree
from tests.support.sigstore.naming import Nameless, holder, said
from tests.support.sigstore.stamps import BadRequest, StampAuthority
from tests.support.sigstore.tokens import GITHUB, GITLAB, BadToken, Provider, github, gitlab

NAME, CONTENT = "thing-1.0-py3-none-any.whl", b"a wheel"


@pytest.fixture(scope="module")
def instance() -> Instance:
    """An instance whose parts no test replaces."""
    return Instance()


@pytest.mark.parametrize(
    ("log", "stamped", "kind"), [("v1", False, "dsse"), ("v1", True, "dsse"), ("v2", True, "hashedrekord")]
)
def test_stock_sigstore_verifies(instance: Instance, log: Logged, stamped: bool, kind: str) -> None:
    """The unmodified library takes a bundle over either log, with and without a stamp beside the first one's time."""
    payload = statement(NAME, CONTENT)
    bundle = Bundle.from_json(json.dumps(instance.sign(payload, log=log, stamped=stamped)))
    assert bundle.log_entry._inner.kind_version.kind == kind
    verifier = Verifier(trusted_root=Root(instance.trusted_root()).sigstore)
    assert verifier.verify_dsse(bundle, policy.OIDCIssuerV2(GITHUB)) == (IN_TOTO, payload)


def test_the_second_log_needs_a_stamp(instance: Instance) -> None:
    """Without one there is no time, and the library says so."""
    bundle = json.dumps(instance.sign(statement(NAME, CONTENT), log="v2", stamped=False))
    with pytest.raises(InvalidBundle, match="signed timestamp"):
        Bundle.from_json(bundle)


def test_stamps(instance: Instance) -> None:
    """The unmodified RFC 3161 client takes a stamp, answers to its own request included."""
    built = VerifierBuilder().tsa_certificate(instance.stamps.certificate).add_root_certificate(instance.stamps.root)
    at = int(time.time()) - 10
    made = decode_timestamp_response(instance.stamps.stamp(b"signature", at))
    assert built.build().verify_message(made, b"signature")
    assert int(made.tst_info.gen_time.timestamp()) == at
    request = TimestampRequestBuilder().data(b"signature").hash_algorithm(HashAlgorithm.SHA512).nonce(nonce=True)
    asked = request.build()
    assert asked.nonce is not None
    answered = decode_timestamp_response(instance.stamps.answer(asked.as_bytes(), at))
    assert built.nonce(asked.nonce).build().verify_message(answered, b"signature")


def test_bad_requests_for_stamps() -> None:
    """What is no request, or asks for a hash that is too weak, gets no stamp."""
    with pytest.raises(BadRequest, match="no RFC 3161 request"):
        StampAuthority().answer(b"0", 0)
    # A request in DER for a hash by sha1.
    sha1 = bytes.fromhex("3024020101301f300706052b0e03021a0414") + bytes(20)
    with pytest.raises(BadRequest):
        StampAuthority().answer(sha1, 0)


def test_the_company(instance: Instance) -> None:
    """A company's certificate has no timestamp of a CT log, its root no logs, its bundle a stamp alone."""
    bundle = instance.sign(statement(NAME, CONTENT), log="none", authority=instance.company)
    material, root = bundle["verificationMaterial"], json.loads(instance.company_root())
    leaf = x509.load_der_x509_certificate(from_b64(material["certificate"]["rawBytes"]))
    leaf.verify_directly_issued_by(instance.company.intermediate)
    with pytest.raises(x509.ExtensionNotFound):
        leaf.extensions.get_extension_for_class(x509.PrecertificateSignedCertificateTimestamps)
    assert material["tlogEntries"] == root["tlogs"] == root["ctlogs"] == []
    assert len(material["timestampVerificationData"]["rfc3161Timestamps"]) == 1


@pytest.mark.parametrize("log", ["v1", "v2", "none"])
def test_named_keys(instance: Instance, log: Logged) -> None:
    """A key without a certificate signs what its public half verifies, over either log or none."""
    key, payload = new_key(), statement(NAME, CONTENT)
    bundle = instance.sign_with_key(payload, key, log=log)
    material, [signature] = bundle["verificationMaterial"], bundle["dsseEnvelope"]["signatures"]
    assert len(material["publicKey"]["hint"]) == 64
    assert len(material["tlogEntries"]) == (log != "none")
    signed = encoded(payload, IN_TOTO)
    key.public_key().verify(from_b64(signature["sig"]), signed, ec.ECDSA(hashes.SHA256()))


def test_all_says_that_it_is_a_test(instance: Instance) -> None:
    """Every authority in both roots has the organization `test`, whatever else it is called."""
    for root in (instance.trusted_root(), instance.company_root()):
        document = json.loads(root)
        for one in document["certificateAuthorities"] + document["timestampAuthorities"]:
            for held in one["certChain"]["certificates"]:
                subject = x509.load_der_x509_certificate(from_b64(held["rawBytes"])).subject
                assert subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)[0].value == "test"


@pytest.mark.parametrize("size", range(1, 18))
def test_tree(size: int) -> None:
    """Root and paths are those that RFC 6962 defines, for every leaf of trees of every shape."""
    bodies = [b"%d" % number for number in range(size)]
    tree = Tree()
    for body in bodies:
        tree.append(body)

    def root(leaves: list[bytes]) -> bytes:
        if len(leaves) == 1:
            return hashlib.sha256(b"\0" + leaves[0]).digest()
        split = max(1 << bit for bit in range(10) if 1 << bit < len(leaves))
        return hashlib.sha256(b"\1" + root(leaves[:split]) + root(leaves[split:])).digest()

    def path(index: int, leaves: list[bytes]) -> list[bytes]:
        if len(leaves) == 1:
            return []
        split = max(1 << bit for bit in range(10) if 1 << bit < len(leaves))
        if index < split:
            return [*path(index, leaves[:split]), root(leaves[split:])]
        return [*path(index - split, leaves[split:]), root(leaves[:split])]

    assert tree.root() == root(bodies)
    assert [tree.path(index) for index in range(size)] == [path(index, bodies) for index in range(size)]


class TestNaming:
    """Whom a certificate names."""

    def test_github(self) -> None:
        """A workflow by its path and ref; old and new extensions say the same."""
        claims = github() | {"iss": GITHUB}
        assert holder(claims).value == "https://github.com/acme/thing/.github/workflows/release.yml@refs/tags/v1"
        found = said(claims)
        assert (found[3], found[5], found[6]) == (found[13], "acme/thing", found[14])
        assert set(found) == {*range(1, 7), *range(8, 23)}

    def test_gitlab(self) -> None:
        """A pipeline by its file and ref, of the issuer's host."""
        claims = gitlab() | {"iss": GITLAB}
        assert holder(claims).value == "https://gitlab.com/acme/thing//.gitlab-ci.yml@refs/tags/v1"
        assert said(claims)[12] == "https://gitlab.com/acme/thing"
        assert said(claims)[14] == "refs/tags/v1"

    def test_others(self) -> None:
        """A person by the e-mail address, anything else by a URI, and otherwise not at all."""
        assert holder({"iss": "https://id.test", "email": "b@acme.test"}).value == "b@acme.test"
        assert holder({"iss": "https://id.test", "sub": "spiffe://acme/builder"}).value == "spiffe://acme/builder"
        with pytest.raises(Nameless):
            holder({"iss": "https://id.test", "sub": "builder"})


def test_tokens() -> None:
    """A provider believes its own tokens under any issuer's name, while they are good and for whom they are."""
    provider, at = Provider(), 1_800_000_000
    token = provider.token({"sub": "x", "iss": "https://ci.test"}, at)
    assert provider.claims(token, at + 299)["iss"] == "https://ci.test"
    for held, when, audience in [
        (Provider().token({"sub": "x"}, at), at, "sigstore"),
        (token, at + 301, "sigstore"),
        (token, at - 1, "sigstore"),
        (token, at, "other"),
        ("no token", at, "sigstore"),
    ]:
        with pytest.raises(BadToken):
            provider.claims(held, when, audience)


def test_authorities_have_keys_of_their_own() -> None:
    """Two instances share no key: one's certificate is not the other's."""
    log = LogKey("https://ct.test")
    assert Authority(log).root != Authority(log).root
