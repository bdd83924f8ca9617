"""What builds attest in tests: build provenance as a forge's runner states it, and policies that take one builder.

`Forge` is a forge as it is: the workflow of the run is its builder. `Pipeline` is a project whose reusable builder
attests each release of its tag; what a bundle of it is built of can be replaced, as an attacker would.
"""

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
BUILDER = "https://ci.example/acme/builders/release"
RELEASE_BUILD_TYPE = "https://ci.example/wheel/v1"
STATEMENT_V0_1 = "https://in-toto.io/Statement/v0.1"

OPEN_RULE = """
  - match: "*"
    attested: false
"""


def predicate(claims: Mapping[str, Any], *, builder: str | None = None, build_type: str = BUILD_TYPE) -> dict[str, Any]:
    """Return SLSA provenance v1 of the run that an identity token is of; the workflow builds unless told otherwise."""
    repository = f"https://github.com/{claims['repository']}"
    path = claims["workflow_ref"].partition("@")[0].removeprefix(f"{claims['repository']}/")
    return {
        "buildDefinition": {
            "buildType": build_type,
            "externalParameters": {"workflow": {"repository": repository, "path": path, "ref": claims["ref"]}},
            "resolvedDependencies": [
                {"uri": f"git+{repository}@{claims['ref']}", "digest": {"gitCommit": claims["sha"]}}
            ],
        },
        "runDetails": {
            "builder": {"id": builder or f"https://github.com/{claims['job_workflow_ref'].partition('@')[0]}"}
        },
    }


def policy(
    project: str = "widget",
    repository: str = "acme/thing",
    *,
    builder: str | None = None,
    build_type: str = BUILD_TYPE,
    refs: str = "refs/tags/v*",
    source_refs: str = "refs/tags/v*",
    level: int = 2,
    builders: str = "",
    more: str = "",
    rest: str = OPEN_RULE,
) -> bytes:
    """Return a policy: one project must come from one workflow of a repository.

    Args:
        builder: who builds, where that is not the workflow.
        refs: from which the workflow may run.
        source_refs: from which the project is built.
        builders: further builders, each on lines with their indentation.
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
      refs: ["{refs}"]
    builder_ids: ["{builder or workflow}"]
    build_types: ["{build_type}"]
    level: {level}
{builders}packages:
  - match: "{project}"
    builders: ["release"]
    source: "https://github.com/{repository}"
    source_refs: ["{source_refs}"]
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


@dataclass(slots=True)
class Pipeline:
    """Builds `acme/widget` on GitHub, from tags, by `release.yml`, and signs with an instance of its own."""

    instance: Instance = field(default_factory=Instance)
    repository: str = "acme/widget"

    def trusted(self, signed: bytes | None = None) -> dict[str, bytes]:
        """Return what the trust role signs for it, this policy or its own: target path -> bytes."""
        own = self.policy() if signed is None else signed
        return {"trust/policy.yaml": own, ROOT_PATH: self.instance.trusted_root()}

    def policy(self, project: str = "widget", *, more: str = "", builders: str = "", rest: str = "deny: true") -> bytes:
        """Return the policy that takes what it builds, and nothing else.

        Args:
            more: lines of the project's rule, each with four spaces in front.
            builders: lines of further builders.
            rest: what the rule about all other projects says.
        """
        return policy(
            project,
            self.repository,
            builder=BUILDER,
            build_type=RELEASE_BUILD_TYPE,
            refs="refs/tags/*",
            source_refs="refs/tags/v{version}",
            level=3,
            builders=builders,
            more=f"    min_level: 3\n{more}",
            rest=f'  - match: "*"\n    {rest}\n',
        )

    def claims(self, version: str, **changes: str) -> dict[str, str]:
        """Return what the token of a build of a release claims."""
        return github(**{"repository": self.repository, "ref": f"refs/tags/v{version}"} | changes)

    def predicate(
        self, version: str, *, builder: str = BUILDER, build_type: str = RELEASE_BUILD_TYPE, **changes: str
    ) -> dict[str, Any]:
        """Return provenance of a build of a release; `changes` are those of the claims that it is of."""
        return predicate(self.claims(version, **changes), builder=builder, build_type=build_type)

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
        return body(self.instance.sign(said, self.claims(version) if claims is None else claims, **how))


def body(document: Any) -> bytes:
    """Return the bytes of a bundle or an object."""
    return json.dumps(document).encode()
