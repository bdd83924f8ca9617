"""Whatever is changed of a bundle, it does not verify, and is never more than a report."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from countermark.core.attestations.bundle_verifying import BundleVerifier
from countermark.core.attestations.facts import LogKind
from countermark.core.attestations.judgements import BundleReport
from countermark.core.attestations.results import Step
from countermark.core.digest import sha256_of
from tests.support.changing import changed as change
from tests.support.changing import paths
from tests.support.sigstore.instance import Instance, statement
from tests.support.sigstore.keys import new_key
from tests.unit.attestations.test_bundle_roots import pem

NAME, CONTENT = "thing-1.0-py3-none-any.whl", b"a wheel"
SHA = sha256_of(CONTENT)


@cache
def made() -> tuple[BundleVerifier, dict[str, Any]]:
    """Return a verifier, and bundles of each kind that it takes."""
    instance, key, payload = Instance(), new_key(), statement(NAME, CONTENT)
    verifier = BundleVerifier(
        {"private": instance.trusted_root(), "company": instance.company_root()},
        {"key": pem(key)},
        test_roots=["private", "company"],
        without_log=["company"],
    )
    bundles = {
        "v1": instance.sign(payload),
        "v2": instance.sign(payload, log="v2"),
        "company": instance.sign(payload, log="none", authority=instance.company),
        "key": instance.sign_with_key(payload, key),
        "logged key": instance.sign_with_key(payload, key, log="v2", stamped=True),
    }
    return verifier, bundles


@cache
def keyed() -> tuple[Instance, ec.EllipticCurvePrivateKey, BundleVerifier]:
    """Return who signs with a key, the key, and a verifier that knows it."""
    key = new_key()
    return Instance(), key, BundleVerifier({}, {"key": pem(key)})


def _said(bundle: Any) -> Any:
    """Return what of a bundle something depends on: not the hint of a key, nor whether an empty list is there.

    Of a time stamp that is there, and the time: parts of its envelope nobody signs, and nothing is made of them.
    """
    material = dict(bundle["verificationMaterial"])
    if "publicKey" in material:
        material["publicKey"] = None
    stamps = material.pop("timestampVerificationData", None) or {}
    material |= {"tlogEntries": material.get("tlogEntries", []), "stamps": len(stamps.get("rfc3161Timestamps", []))}
    signatures = [one["sig"] for one in bundle["dsseEnvelope"]["signatures"]]
    return bundle["mediaType"], material, bundle["dsseEnvelope"]["payload"], signatures


def check(report: BundleReport) -> None:
    """Check that a report says one thing, and comes back from JSON as it went."""
    assert (report.failure is None) is (report.verified is not None)
    assert [step for step, _ in report.steps] == list(Step)
    assert sum(passed is False for _, passed in report.steps) == (report.failure is not None)
    document = json.loads(json.dumps(report.to_document()))
    assert BundleReport.from_document(document).to_document() == document


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_nothing_that_was_changed_verifies(data: st.DataObject) -> None:
    """One bit, one value or one key less, anywhere: a report that says no, and no other error."""
    verifier, bundles = made()
    kind = data.draw(st.sampled_from(sorted(bundles)))
    good = bundles[kind]
    changed = change(data, good, paths(good))
    report = verifier.verify(json.dumps(changed).encode(), NAME, SHA)
    check(report)
    if changed == good:
        assert report.verified is not None
    if report.verified is None:
        return
    if kind == "logged key" and not changed["verificationMaterial"].get("tlogEntries"):
        # A key needs no log, unless the policy says so: less is proven then.
        assert report.verified.log == LogKind.NONE
        return
    assert _said(changed) == _said(good)
    usual = verifier.verify(json.dumps(good).encode(), NAME, SHA).verified
    assert usual is not None
    assert replace(report.verified, bundle_sha256=SHA) == replace(usual, bundle_sha256=SHA)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_bytes(body: bytes) -> None:
    """Anything at all is read, and refused."""
    report = made()[0].verify(body, NAME, SHA)
    check(report)
    assert report.failure is not None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["_type", "subject", "predicateType", "predicate", "name", "digest", "sha256"]), inner
            )
        ),
    )
)
@settings(max_examples=200, deadline=None)
def test_statements(document: Any) -> None:
    """Any JSON that was signed by whoever may sign is a statement about this file, or is refused."""
    instance, key, verifier = keyed()
    bundle = instance.sign_with_key(json.dumps(document).encode(), key)
    report = verifier.verify(json.dumps(bundle).encode(), NAME, SHA)
    check(report)
    assert report.failure is not None
