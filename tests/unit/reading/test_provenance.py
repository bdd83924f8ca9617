"""Which attestations are in a hosted file's provenance object. Contract python-index section 4.1."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from shared.reading.provenance import attestation_of, provenance_object, publisher_in_object, publisher_of

OID = "1.3.6.1.4.1.57264.1."
SLSA = "https://slsa.dev/provenance/v1"


def facts(**other: Any) -> dict[str, Any]:
    """Facts of a bundle of a build on GitHub."""
    repository = "https://github.com/acme/thing"
    claims = {f"{OID}12": repository, f"{OID}18": f"{repository}/.github/workflows/release.yml@refs/tags/v1"}
    issuer = "https://token.actions.githubusercontent.com"
    return {"issuer": issuer, "certificate": claims, "log": "v1", "root_kind": "sigstore", "san_type": "uri"} | other


class TestPublisher:
    """Who published, by what the certificate says."""

    def test_github(self) -> None:
        """Repository and workflow come from the certificate, with what it says of the build."""
        found = publisher_of(facts())
        assert found == {
            "kind": "GitHub",
            "repository": "acme/thing",
            "workflow": "release.yml",
            "environment": None,
            "claims": facts()["certificate"],
        }

    def test_gitlab(self) -> None:
        """The file of the pipeline is named as a path in the repository."""
        repository = "https://gitlab.com/acme/group/thing"
        claims = {f"{OID}12": repository, f"{OID}18": f"{repository}//ci/release.yml@refs/heads/main"}
        found = publisher_of(facts(issuer="https://gitlab.com", certificate=claims))
        assert found is not None
        assert (found["kind"], found["repository"]) == ("GitLab", "acme/group/thing")
        assert found["workflow_filepath"] == "ci/release.yml"

    def test_google(self) -> None:
        """A service account is its e-mail address."""
        found = publisher_of(
            facts(issuer="https://accounts.google.com", certificate={}, san="b@acme.test", san_type="email")
        )
        assert found == {"kind": "Google", "email": "b@acme.test", "claims": None}

    @pytest.mark.parametrize(
        "other",
        [
            {"issuer": "https://ci.acme.test"},
            {"issuer": "https://gitlab.com"},
            {"issuer": None},
            {"certificate": {f"{OID}12": "https://github.com.evil.test/a/b"}},
            {"certificate": {f"{OID}12": "https://github.com/acme/thing"}},
            {"issuer": "https://accounts.google.com", "san": "https://b", "san_type": "uri"},
        ],
    )
    def test_unknown(self, other: dict[str, Any]) -> None:
        """An issuer that PEP 740 does not know, or claims that do not fit it, make no publisher."""
        assert publisher_of(facts(**other)) is None


class TestShown:
    """What is in the object."""

    def test_as_it_came(self) -> None:
        """The publisher of a PEP 740 object is shown as it was stored."""
        stored = {"kind": "GitHub", "repository": "acme/thing", "workflow": "release.yml", "claims": {"sha": "0"}}
        assert publisher_in_object(stored, SLSA, facts()) == stored

    @pytest.mark.parametrize(
        "other",
        [{"log": "v2"}, {"log": "none"}, {"root_kind": "key"}, {"root_kind": "ca"}],
    )
    def test_not_expressible(self, other: dict[str, Any]) -> None:
        """What a PEP 740 object cannot carry is not in it."""
        assert publisher_in_object(None, SLSA, facts(**other)) is None

    def test_predicates(self) -> None:
        """Two predicates are known to stock clients; any other would make them refuse the object."""
        assert publisher_in_object(None, "https://index.test/attestations/publish/v1", facts()) is not None
        assert publisher_in_object(None, "https://slsa.dev/provenance/v0.2", facts()) is None


class TestObject:
    """The bytes."""

    def test_grouped(self) -> None:
        """Attestations of one publisher are one bundle, in the order they came; a publisher always has claims."""
        one, other = {"kind": "GitHub", "repository": "a/b"}, {"kind": "Google", "email": "x", "claims": None}
        found = json.loads(provenance_object([(one, {"n": 1}), (other, {"n": 2}), (dict(one), {"n": 3})]))
        assert found["version"] == 1
        assert [(b["publisher"]["kind"], b["attestations"]) for b in found["attestation_bundles"]] == [
            ("GitHub", [{"n": 1}, {"n": 3}]),
            ("Google", [{"n": 2}]),
        ]
        assert found["attestation_bundles"][0]["publisher"]["claims"] is None

    @pytest.mark.parametrize("chain", [True, False])
    def test_converted(self, chain: bool) -> None:
        """The leaf certificate, the log entry, statement and signature of a bundle, whichever way it holds them."""
        leaf = {"rawBytes": base64.b64encode(b"leaf").decode()}
        material = (
            {"x509CertificateChain": {"certificates": [leaf, {"rawBytes": ""}]}} if chain else {"certificate": leaf}
        )
        envelope = {"payload": "c3Q=", "payloadType": "t", "signatures": [{"sig": "c2ln"}]}
        bundle = {"verificationMaterial": material | {"tlogEntries": [{"logIndex": "7"}]}, "dsseEnvelope": envelope}
        assert attestation_of(json.dumps(bundle).encode()) == {
            "version": 1,
            "verification_material": {"certificate": leaf["rawBytes"], "transparency_entries": [{"logIndex": "7"}]},
            "envelope": {"statement": "c3Q=", "signature": "c2ln"},
        }

    @pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"verificationMaterial": 1, "dsseEnvelope": {}}'])
    def test_none(self, body: bytes) -> None:
        """Bytes that are no bundle make no attestation, and say so."""
        with pytest.raises(ValueError, match="makes no attestation"):
            attestation_of(body)
