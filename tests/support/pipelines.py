"""A build pipeline of a project: signs provenance of its wheels with a Sigstore instance, and the policy that takes it.

For tests of what follows from an attestation; what it is built of can be replaced, as an attacker would.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.sigstore.instance import SLSA, Instance, statement
from tests.support.sigstore.tokens import GITHUB, github

BUILDER = "https://ci.example/acme/builders/release"
BUILD_TYPE = "https://ci.example/wheel/v1"
SLSA_V02 = "https://slsa.dev/provenance/v0.2"
STATEMENT_V0_1 = "https://in-toto.io/Statement/v0.1"
ROOT = "trusted_root.json"


@dataclass(slots=True)
class Pipeline:
    """Builds `acme/widget` on GitHub, from tags, by `release.yml`."""

    instance: Instance = field(default_factory=Instance)
    repository: str = "acme/widget"

    def trusted(self, policy: bytes | None = None) -> dict[str, bytes]:
        """Return what the trust role signs for it: target path -> bytes."""
        return {"trust/policy.yaml": self.policy() if policy is None else policy, ROOT: self.instance.trusted_root()}

    def policy(self, project: str = "widget", *, more: str = "", builders: str = "", rest: str = "deny: true") -> bytes:
        """Return the policy that takes what it builds, and nothing else.

        Args:
            more: lines of the project's rule, each with four spaces in front.
            builders: lines of further builders.
            rest: what the rule about all other projects says.
        """
        return f'''schema: "policy/v1"
roots: {{test: "{ROOT}"}}
test_roots: ["test"]
builders:
  release:
    root: "test"
    issuer: "{GITHUB}"
    san: {{workflow: "https://github.com/{self.repository}/.github/workflows/release.yml", refs: ["refs/tags/*"]}}
    builder_ids: ["{BUILDER}"]
    build_types: ["{BUILD_TYPE}"]
    level: 3
{builders}packages:
  - match: "{project}"
    builders: ["release"]
    source: "https://github.com/{self.repository}"
    source_refs: ["refs/tags/v{{version}}"]
    min_level: 3
{more}  - match: "*"
    {rest}
'''.encode()

    def claims(self, version: str, **changes: str) -> dict[str, str]:
        """Return what the token of a build of a release claims."""
        made = {"repository": self.repository, "workflow": "release.yml", "ref": f"refs/tags/v{version}"} | changes
        known = {name: made.pop(name) for name in ("repository", "workflow", "ref")}
        return github(known["repository"], known["workflow"], known["ref"], **made)

    def predicate(self, version: str, **changes: Any) -> dict[str, Any]:
        """Return provenance of a build of a release; `builder`, `build_type`, `ref`, `repository`, `commit` change."""
        said = {"builder": BUILDER, "build_type": BUILD_TYPE, "ref": f"refs/tags/v{version}", "commit": "5" * 40}
        said |= {"repository": self.repository} | changes
        source = f"https://github.com/{said['repository']}"
        workflow = {"ref": said["ref"], "repository": source, "path": ".github/workflows/release.yml"}
        return {
            "buildDefinition": {
                "buildType": said["build_type"],
                "externalParameters": {"workflow": workflow},
                "resolvedDependencies": [
                    {"uri": f"git+{source}@{said['ref']}", "digest": {"gitCommit": said["commit"]}}
                ],
            },
            "runDetails": {"builder": {"id": said["builder"]}, "metadata": {"invocationId": "1"}},
        }

    def payload(self, file_name: str, content: bytes, version: str = "1.10", **more: Any) -> bytes:
        """Return the statement about a wheel; `more` replaces its keys."""
        return statement(file_name, content, SLSA, **({"predicate": self.predicate(version)} | more))

    def bundle(
        self,
        file_name: str,
        content: bytes,
        version: str = "1.10",
        *,
        payload: bytes | None = None,
        claims: Mapping[str, Any] | None = None,
        **how: Any,
    ) -> bytes:
        """Return a bundle about a wheel, as it is stored; `how` is for `Instance.sign`."""
        said = self.payload(file_name, content, version) if payload is None else payload
        return encoded(self.instance.sign(said, self.claims(version) if claims is None else claims, **how))


def encoded(bundle: Mapping[str, Any]) -> bytes:
    """Return a bundle as it is stored."""
    return json.dumps(bundle, separators=(",", ":")).encode()
