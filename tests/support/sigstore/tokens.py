"""Identity tokens as CI services and identity providers give them out, under any issuer's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

GITHUB, GITLAB, GOOGLE = (
    "https://token.actions.githubusercontent.com",
    "https://gitlab.com",
    "https://accounts.google.com",
)


class BadToken(ValueError):
    """A token is not to be believed."""


@dataclass(frozen=True, slots=True)
class Provider:
    """An identity provider."""

    issuer: str = GITHUB
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256"))

    def token(self, claims: Mapping[str, Any], at: int) -> str:
        """Return a token that is good for five minutes.

        Args:
            claims: they replace the standing ones too: `iss` makes it one of any issuer, for whoever trusts this key.
            at: from when on, in seconds since 1970.
        """
        standing = {"iss": self.issuer, "aud": "sigstore", "iat": at, "nbf": at, "exp": at + 300}
        return jwt.encode({"alg": "ES256"}, standing | dict(claims), self.key)

    def claims(self, token: str, at: int, audience: str = "sigstore") -> dict[str, Any]:
        """Return the claims of a token of this provider that is good at that time, in seconds since 1970.

        Raises:
            BadToken: it is not good then, not for us, or somebody else's.
        """
        try:
            claims = jwt.decode(token, self.key, algorithms=["ES256"]).claims
        except (JoseError, ValueError) as error:
            raise BadToken("it is no token of this provider") from error
        if claims.get("aud") != audience:
            raise BadToken(f"it is not for {audience}")
        if not claims.get("nbf", at) <= at <= claims["exp"]:
            raise BadToken("it is out of date")
        return dict(claims)


def github(
    repository: str = "acme/thing", workflow: str = "release.yml", ref: str = "refs/tags/v1", **more: str
) -> dict[str, str]:
    """Return what a run of a workflow claims."""
    where = f"{repository}/.github/workflows/{workflow}@{ref}"
    claims = {
        "sub": f"repo:{repository}:ref:{ref}",
        "repository": repository,
        "repository_id": "4711",
        "repository_owner_id": "42",
        "repository_visibility": "public",
        "workflow_ref": where,
        "job_workflow_ref": where,
        "sha": "5" * 40,
        "ref": ref,
        "event_name": "push",
        "runner_environment": "github-hosted",
    }
    return claims | more


def gitlab(
    repository: str = "acme/thing", path: str = ".gitlab-ci.yml", ref: str = "refs/tags/v1", **more: str
) -> dict[str, str]:
    """Return what a job of a pipeline claims."""
    kind = "tag" if ref.startswith("refs/tags/") else "branch"
    name = ref.removeprefix("refs/tags/").removeprefix("refs/heads/")
    claims = {
        "sub": f"project_path:{repository}:ref_type:{kind}:ref:{name}",
        "project_id": "4712",
        "project_path": repository,
        "project_visibility": "public",
        "namespace_id": "43",
        "namespace_path": repository.rpartition("/")[0],
        "ci_config_ref_uri": f"gitlab.com/{repository}//{path}@{ref}",
        "ci_config_sha": "6" * 40,
        "sha": "6" * 40,
        "ref": name,
        "ref_type": kind,
        "ref_path": ref,
        "pipeline_source": "push",
        "pipeline_id": "7",
        "job_id": "8",
        "runner_environment": "gitlab-hosted",
    }
    return claims | more
