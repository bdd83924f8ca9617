"""Verification summaries: what the policy said of a file when it was signed, as a statement that TUF vouches for. Pure.

A summary is a target beside the pointer, `{file name}.vsa.json`: no signature of its own is needed, since the bins that
list it are signed. It says what was found then, under the policy with that digest, and stays true when the policy
becomes another one.
Source: trust contract section 4 (VSA); architecture section 11.8; ADR 0040.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

from countermark.core.attestations.judgements import JudgedFile, Judgement
from countermark.core.digest import Sha256
from countermark.core.names import FileName, TargetPath
from shared.objects.keys import bundle_key

STATEMENT, SUMMARY = "https://in-toto.io/Statement/v1", "https://slsa.dev/verification_summary/v1"

SUFFIX = ".vsa.json"
"""What the names of summaries end with."""

_VERIFIER = "countermark:signing"
"""Who says so: whichever deployment's metadata list the target."""

_MOST = 3
"""The highest level of SLSA's build track."""


def is_summary(path: str) -> bool:
    """Return whether a target is a verification summary."""
    return path.startswith("pointers/") and path.endswith(SUFFIX)


def pointer_of_summary(path: str) -> TargetPath:
    """Return the target path of the pointer that a summary stands beside."""
    return TargetPath(f"{path.removesuffix(SUFFIX)}.pointer")


def summary(file: JudgedFile, judgement: Judgement, policy: Sha256, at: datetime) -> bytes | None:
    """Return the summary of a file; None where the policy demanded nothing, so that nothing was shown.

    Args:
        judgement: one that the file has passed.
        policy: digest of the policy's bytes.
        at: when it was judged, aware.
    """
    verdict = judgement.verdict
    if not (judgement.passed and verdict.demanded):
        return None
    name = FileName(file.file_name)
    verified = [report for report in judgement.bundles if report.verified is not None]
    predicate: dict[str, Any] = {
        "verifier": {"id": _VERIFIER},
        "timeVerified": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "resourceUri": f"countermark:{file.index}/{file.project}/{file.version}/{name}".replace("+", "%2B"),
        "policy": {"uri": "countermark:trust/policy.yaml", "digest": {"sha256": policy}},
        "inputAttestations": [
            {
                "uri": f"countermark:{bundle_key(report.bundle_sha256, name)}".replace("+", "%2B"),
                "digest": {"sha256": report.bundle_sha256},
            }
            for report in verified
        ],
        "verificationResult": "PASSED",
        "verifiedLevels": [_level(verdict.level)],
        "slsaVersion": "1.1",
    }
    subject = [{"name": name, "digest": {"sha256": file.sha256}}]
    document = {"_type": STATEMENT, "subject": subject, "predicateType": SUMMARY, "predicate": predicate}
    return orjson.dumps(document)


def _level(level: int | None) -> str:
    return f"SLSA_BUILD_LEVEL_{min(level, _MOST) if level else 'UNEVALUATED'}"
