"""What identity tokens of CI jobs claim, all that rules look at included."""

from __future__ import annotations

from typing import Any

from tests.support.sigstore.tokens import github, gitlab


def github_job(repository: str = "acme/thing", **more: Any) -> dict[str, Any]:
    """Return the claims of a job of a workflow of GitHub."""
    given = {"repository_owner": repository.partition("/")[0], "run_id": "99", "run_attempt": "1", "actor": "somebody"}
    return github(repository) | given | {"ref_protected": "true"} | more


def gitlab_job(project: str = "acme/thing", host: str = "gitlab.com", **more: Any) -> dict[str, Any]:
    """Return the claims of a job of a pipeline of GitLab."""
    claims = gitlab(project)
    config = claims["ci_config_ref_uri"].replace("gitlab.com", host, 1)
    return claims | {"ci_config_ref_uri": config, "ref_protected": "true", "user_login": "somebody"} | more
