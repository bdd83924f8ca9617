"""A verifier with a key: what it signs of files, and policies that take it."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from countermark.core.attestations.summary import OWN_RESOURCE, SUMMARY, resource_uri
from tests.support.builds import policy
from tests.support.sigstore.instance import Instance, statement
from tests.support.sigstore.keys import new_key

VERIFIER = "https://verify.example/team-a"
INDEX = "team-a/prod"


@dataclass(frozen=True)
class Verifier:
    """Another team, which verifies files by a policy of its own."""

    instance: Instance
    key: EllipticCurvePrivateKey = field(default_factory=new_key)

    @property
    def pem(self) -> str:
        """Its public key."""
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def summary(self, name: str, content: bytes, **changes: Any) -> dict[str, Any]:
        """Return the bundle that says that a file passed; `subject` and fields of the predicate may be changed."""
        project, version, *_ = name.split("-")
        uri = resource_uri(OWN_RESOURCE, index=INDEX, project=project, version=version, file_name=name)
        more = {"subject": changes.pop("subject")} if "subject" in changes else {}
        said = {
            "verifier": {"id": VERIFIER},
            "timeVerified": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "resourceUri": uri,
            "policy": {"uri": "https://verify.example/policy", "digest": {"sha256": "a" * 64}},
            "verificationResult": "PASSED",
            "verifiedLevels": ["SLSA_BUILD_LEVEL_2"],
        } | changes
        return self.instance.sign_with_key(statement(name, content, SUMMARY, predicate=said, **more), self.key)


def pem_of(der: bytes) -> str:
    """Return a public key in PEM."""
    return load_der_public_key(der).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def verified(
    pem: str, project: str = "widget", *, verifier_id: str = VERIFIER, index: str = INDEX, more: str = ""
) -> bytes:
    """Return a policy: one project must be built by the usual workflow, or verified by the holder of a key.

    Args:
        index: of the verifier.
        more: keys of the rule, each on a line with its indentation.
    """
    uri = f"countermark:{index}/{{project}}/{{version}}/{{file}}"
    verifier = {"verifier_id": verifier_id, "key": "team-a", "resource_uris": [uri], "level": 3, "policies": ["a" * 64]}
    text = policy(project).decode()
    rule = f'    builders: ["release"]\n    verifiers: ["team-a"]\n    log: {{rekor: ["v1", "v2", "none"]}}\n{more}'
    text = text.replace('    builders: ["release"]\n', rule)
    keys = f"keys:\n  team-a: |\n{textwrap.indent(pem, '    ')}"
    return f"{text}{keys}verifiers:\n  team-a: {json.dumps(verifier)}\n".encode()
