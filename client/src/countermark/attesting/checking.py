"""A finished attestation, looked at as others will look at it, before it is written. Imports sigstore.

What no verifier would take is not handed out: a wrong clock, a log that answered something else, a trust config whose
root and services do not belong together show here, and not at the index.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from countermark.attesting.faults import AttestFailed
from countermark.core.attestations.bundle import read_bundle
from countermark.core.attestations.bundle_verifying import BundleVerifier
from countermark.core.attestations.facts import VerifiedBundle
from countermark.core.attestations.making import Subject
from countermark.core.digest import sha256_of

_NAME = "signed against"


class Checker:
    """Checks bundles against what they were signed with.

    Args:
        root: the trust root of the instance that signs, or of the authority that stamps; None for a named key where
            none was given: of its stamps is known then that they are over this signature, not who made them.
        key: the public half of a named key, PEM; None with an instance.
    """

    def __init__(self, root: bytes | None, key: bytes | None = None) -> None:
        roots: Mapping[str, bytes] = {} if root is None else {_NAME: root}
        keys: Mapping[str, bytes] = {} if key is None else {_NAME: key}
        # Whether a test's root is to be trusted is not asked here: whoever signs has named it.
        self._trusts_stamps = root is not None
        self._verifier = BundleVerifier(roots, keys, test_roots=roots, without_log=roots)

    def check(self, body: bytes, subject: Subject, payload: bytes) -> VerifiedBundle:
        """Return what a bundle proves about a file.

        Args:
            payload: the statement that was to be signed.

        Raises:
            AttestFailed: it does not verify, or holds something else.
        """
        seen = body if self._trusts_stamps else _without_stamps(body)
        report = self._verifier.verify(seen, subject.name, subject.sha256)
        if report.verified is None:
            raise AttestFailed(
                f"what was signed for {subject.name} does not verify: {report.failure}",
                "Nothing was written. Check this machine's clock, and that trust config and services are of one "
                "instance.",
            )
        if read_bundle(body).payload != payload:
            raise AttestFailed(f"something else was signed than what is said of {subject.name}", "Nothing was written.")
        # Of the bundle as it is, not as it was looked at.
        return replace(report.verified, bundle_sha256=sha256_of(body))


def _without_stamps(body: bytes) -> bytes:
    document = json.loads(body)
    document["verificationMaterial"].pop("timestampVerificationData", None)
    return json.dumps(document).encode()
