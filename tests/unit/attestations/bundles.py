"""What the tests of bundles share: a file, an instance's bundles about it, and the question whether they verify."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from countermark.core.attestations.bundle_verifying import BundleVerifier
from countermark.core.attestations.judgements import BundleReport
from countermark.core.attestations.results import EXIT_CODES, Step
from countermark.core.digest import Sha256, sha256_of
from tests.support.sigstore.instance import SLSA, Instance, statement

NAME, CONTENT = "thing-1.0-py3-none-any.whl", b"a wheel"
SHA = sha256_of(CONTENT)
ROOT = "private"

Change = Callable[[Any], None]


def payload(predicate_type: str = SLSA, **more: Any) -> bytes:
    """Return a statement about the file."""
    return statement(NAME, CONTENT, predicate_type, **more)


def signed(instance: Instance, **options: Any) -> dict[str, Any]:
    """Return a bundle about the file, in its JSON."""
    return instance.sign(options.pop("payload", None) or payload(), **options)


def verifier(
    instance: Instance, change: Change | None = None, content: bytes | None = None, **options: Any
) -> BundleVerifier:
    """Return a verifier for an instance's root, changed or not, which is allowed to be a test's."""
    document = json.loads(content or instance.trusted_root())
    if change is not None:
        change(document)
    options = {"test_roots": [ROOT], "without_log": [ROOT]} | options
    return BundleVerifier({ROOT: json.dumps(document).encode()}, options.pop("keys", {}), **options)


def check(
    instance: Instance, bundle: Mapping[str, Any] | bytes, name: str = NAME, sha256: Sha256 = SHA, **options: Any
) -> BundleReport:
    """Verify a bundle against an instance's root."""
    body = bundle if isinstance(bundle, bytes) else json.dumps(bundle).encode()
    return verifier(instance, **options).verify(body, name, sha256)


def failed(report: BundleReport) -> tuple[Step, int]:
    """Return the step that failed and the client's exit code; steps behind it were not looked at."""
    assert report.failure is not None
    assert report.verified is None
    assert not report.evidence
    assert [step for step, passed in report.steps if passed is False] == [report.failure.step]
    return report.failure.step, EXIT_CODES[report.failure.step]


def replaced(document: Any, path: list[Any], value: Any) -> Any:
    """Replace a part of a document in place; None removes it."""
    holder = document
    for key in path[:-1]:
        holder = holder[key]
    if value is None:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return document


ENTRY = ["verificationMaterial", "tlogEntries", 0]
STAMPS = ["verificationMaterial", "timestampVerificationData", "rfc3161Timestamps"]
