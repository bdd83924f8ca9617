"""What builds attest in tests: build provenance as a forge's runner states it, and a policy that takes one builder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from countermark.core.attestations.trust_material import TrustMaterial
from tests.support.sigstore.instance import SLSA, Instance, pep740, statement
from tests.support.sigstore.tokens import GITHUB, github

BUILD_TYPE = "https://actions.github.io/buildtypes/workflow/v1"
ROOT_PATH = "trusted_root.json"

OPEN_RULE = """
  - match: "*"
    attested: false
"""


def predicate(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Return SLSA provenance v1 of the run that an identity token is of."""
    repository = f"https://github.com/{claims['repository']}"
    path = claims["workflow_ref"].partition("@")[0].removeprefix(f"{claims['repository']}/")
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"workflow": {"repository": repository, "path": path, "ref": claims["ref"]}},
            "resolvedDependencies": [
                {"uri": f"git+{repository}@{claims['ref']}", "digest": {"gitCommit": claims["sha"]}}
            ],
        },
        "runDetails": {"builder": {"id": f"https://github.com/{claims['job_workflow_ref'].partition('@')[0]}"}},
    }


def policy(project: str = "widget", repository: str = "acme/thing", *, more: str = "", rest: str = OPEN_RULE) -> bytes:
    """Return a policy: one project must come from one workflow of a repository.

    Args:
        more: keys of that rule, each on a line with its indentation.
        rest: the other rules.
    """
    workflow = f"https://github.com/{repository}/.github/workflows/release.yml"
    return f"""schema: "policy/v1"
roots:
  private: "{ROOT_PATH}"
test_roots: ["private"]
builders:
  release:
    root: "private"
    issuer: "{GITHUB}"
    san:
      workflow: "{workflow}"
      refs: ["refs/tags/v*"]
    builder_ids: ["{workflow}"]
    build_types: ["{BUILD_TYPE}"]
    level: 2
packages:
  - match: "{project}"
    builders: ["release"]
    source: "https://github.com/{repository}"
    source_refs: ["refs/tags/v*"]
{more}{rest}""".encode()


@dataclass(slots=True)
class Forge:
    """A forge whose runs sign by an instance of their own.

    Attributes:
        claims: of the identity token of the run that signs.
    """

    instance: Instance = field(default_factory=Instance)
    claims: Mapping[str, Any] = field(default_factory=github)

    def material(self, signed: bytes | None = None) -> TrustMaterial:
        """Return what trust signs: the instance's root, and a policy."""
        return TrustMaterial(policy() if signed is None else signed, {ROOT_PATH: self.instance.trusted_root()}, 1)

    def built(
        self, file_name: str, content: bytes, claims: Mapping[str, Any] | None = None, **how: Any
    ) -> dict[str, Any]:
        """Return the bundle of the build provenance of a file.

        Args:
            claims: of another run.
            how: as `Instance.sign` has it.
        """
        run = self.claims if claims is None else claims
        payload = statement(file_name, content, SLSA, predicate=predicate(run))
        return self.instance.sign(payload, run, **how)

    def build_attestation(self, file_name: str, content: bytes, claims: Mapping[str, Any] | None = None) -> Any:
        """Return the same as a PEP 740 object."""
        return pep740(self.built(file_name, content, claims))

    def publish_attestation(self, file_name: str, content: bytes, claims: Mapping[str, Any] | None = None) -> Any:
        """Return the PEP 740 object that says who published a file."""
        return self.instance.attest(file_name, content, self.claims if claims is None else claims)


def body(document: Any) -> bytes:
    """Return the bytes of a bundle or an object."""
    return json.dumps(document).encode()
