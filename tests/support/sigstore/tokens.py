"""Identity tokens as CI services and identity providers give them out, under any issuer's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey

GITHUB, GITLAB, GOOGLE = (
    "https://token.actions.githubusercontent.com",
    "https://gitlab.com",
    "https://accounts.google.com",
)


@dataclass(frozen=True, slots=True)
class Provider:
    """An identity provider."""

    issuer: str = GITHUB
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256"))

    def token(self, claims: Mapping[str, Any], at: int) -> str:
        """Return a token that is good for five minutes."""
        standing = {"iss": self.issuer, "aud": "sigstore", "iat": at, "nbf": at, "exp": at + 300}
        return jwt.encode({"alg": "ES256"}, standing | dict(claims), self.key)

    def claims(self, token: str, at: int) -> dict[str, Any]:
        """Return the claims of a token of this provider that is good at that time, in seconds since 1970."""
        claims = jwt.decode(token, self.key, algorithms=["ES256"]).claims
        assert claims["iss"] == self.issuer
        assert claims["aud"] == "sigstore"
        assert claims["nbf"] <= at <= claims["exp"], "the token is out of date"
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


def gitlab(repository: str = "acme/thing", path: str = ".gitlab-ci.yml", ref: str = "refs/tags/v1") -> dict[str, str]:
    """Return what a pipeline claims."""
    return {
        "sub": f"project_path:{repository}:ref_type:tag:ref:v1",
        "repository": repository,
        "repository_id": "4712",
        "repository_owner_id": "43",
        "repository_visibility": "public",
        "workflow_ref": f"{repository}//{path}@{ref}",
        "job_workflow_ref": f"{repository}//{path}@{ref}",
        "sha": "6" * 40,
        "ref": ref,
        "event_name": "push",
        "runner_environment": "gitlab-hosted",
    }
