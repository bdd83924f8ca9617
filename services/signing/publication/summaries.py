"""Verification summaries: what the policy said of a file when it was signed, as a statement. Pure.

A summary is a target beside the pointer, `{file name}.vsa.json`: the statement in a Sigstore bundle that the key of the
bins signs, so that others whose policy names that key as a verifier's can take it without this registry's metadata. It
says what was found then, under the policy with that digest, and stays true when the policy becomes another one.
Source: trust contract section 4 (VSA); architecture section 11.8; ADR 0040 and 0043.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

from countermark.core.attestations.judgements import JudgedFile, Judgement
from countermark.core.attestations.statement import STATEMENT_V1
from countermark.core.attestations.summary import OWN_RESOURCE, PASSED, SUMMARY, resource_uri
from countermark.core.digest import Sha256
from countermark.core.names import FileName, TargetPath
from shared.objects.keys import bundle_key

SUFFIX = ".vsa.json"
"""What the names of summaries end with."""

VERIFIER = "countermark:signing"
"""Who says so; of which deployment tells the key."""

_MOST = 3
"""The highest level of SLSA's build track."""


def is_summary(path: str) -> bool:
    """Return whether a target is a verification summary."""
    return path.startswith("pointers/") and path.endswith(SUFFIX)


def pointer_of_summary(path: str) -> TargetPath:
    """Return the target path of the pointer that a summary stands beside."""
    return TargetPath(f"{path.removesuffix(SUFFIX)}.pointer")


def summary(file: JudgedFile, judgement: Judgement, policy: Sha256, at: datetime) -> bytes | None:
    """Return the statement of a file's summary; None where the policy demanded nothing, so that nothing was shown.

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
        "verifier": {"id": VERIFIER},
        "timeVerified": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "resourceUri": resource_uri(
            OWN_RESOURCE, index=file.index, project=file.project, version=file.version, file_name=name
        ),
        "policy": {"uri": "countermark:trust/policy.yaml", "digest": {"sha256": policy}},
        "inputAttestations": [
            {
                "uri": f"countermark:{bundle_key(report.bundle_sha256, name)}".replace("+", "%2B"),
                "digest": {"sha256": report.bundle_sha256},
            }
            for report in verified
        ],
        "verificationResult": PASSED,
        "verifiedLevels": [_level(verdict.level)],
        "slsaVersion": "1.1",
    }
    subject = [{"name": name, "digest": {"sha256": file.sha256}}]
    document = {"_type": STATEMENT_V1, "subject": subject, "predicateType": SUMMARY, "predicate": predicate}
    return orjson.dumps(document)


def _level(level: int | None) -> str:
    return f"SLSA_BUILD_LEVEL_{min(level, _MOST) if level else 'UNEVALUATED'}"
