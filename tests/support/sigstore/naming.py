"""What a certificate says of the holder of a token: the subject alternative name and Fulcio's extensions.

Source: Fulcio's list of object identifiers (57264.1) and its mapping of the claims of GitHub's and GitLab's tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509


class Nameless(ValueError):
    """A token's claims name nobody for whom there could be a certificate."""


def holder(claims: Mapping[str, Any]) -> x509.GeneralName:
    """Return the name: of the workflow, of the pipeline, of the person, or what the subject is if that is a URI.

    Raises:
        Nameless: none of these.
    """
    if "email" in claims:
        return x509.RFC822Name(claims["email"])
    for where in (_workflow(claims), _pipeline(claims), claims.get("sub", "")):
        if "://" in where:
            return x509.UniformResourceIdentifier(where)
    raise Nameless("the token names no workflow, no pipeline and no e-mail address, and its subject is no URI")


def said(claims: Mapping[str, Any]) -> dict[int, str]:
    """Return what is said of the build: number of the extension -> value."""
    found = {1: claims["iss"], 8: claims["iss"]}
    if "job_workflow_ref" in claims:
        return found | _of_github(claims)
    if "ci_config_ref_uri" in claims:
        return found | _of_gitlab(claims)
    return found


def _of_github(claims: Mapping[str, Any]) -> dict[int, str]:
    host, repository = _host(claims), claims["repository"]
    return {
        # The first ones, from before there were common names: the trigger, the commit, the workflow, where, which ref.
        2: claims["event_name"],
        3: claims["sha"],
        4: claims.get("workflow", "Release"),
        5: repository,
        6: claims["ref"],
        9: _workflow(claims),
        10: claims.get("job_workflow_sha", claims["sha"]),
        11: claims["runner_environment"],
        12: f"{host}/{repository}",
        13: claims["sha"],
        14: claims["ref"],
        15: claims["repository_id"],
        16: f"{host}/{repository.split('/')[0]}",
        17: claims["repository_owner_id"],
        18: f"{host}/{claims['workflow_ref']}",
        19: claims.get("workflow_sha", claims["sha"]),
        20: claims["event_name"],
        21: f"{host}/{repository}/actions/runs/{claims.get('run_id', '1')}/attempts/{claims.get('run_attempt', '1')}",
        22: claims["repository_visibility"],
    }


def _of_gitlab(claims: Mapping[str, Any]) -> dict[int, str]:
    host, project = _host(claims), claims["project_path"]
    return {
        9: _pipeline(claims),
        10: claims["ci_config_sha"],
        11: claims["runner_environment"],
        12: f"{host}/{project}",
        13: claims["sha"],
        14: claims["ref_path"],
        15: claims["project_id"],
        16: f"{host}/{claims['namespace_path']}",
        17: claims["namespace_id"],
        18: _pipeline(claims),
        19: claims["ci_config_sha"],
        20: claims["pipeline_source"],
        21: f"{host}/{project}/-/jobs/{claims['job_id']}",
        22: claims["project_visibility"],
    }


def _workflow(claims: Mapping[str, Any]) -> str:
    return f"{_host(claims)}/{claims['job_workflow_ref']}" if "job_workflow_ref" in claims else ""


def _pipeline(claims: Mapping[str, Any]) -> str:
    return f"https://{claims['ci_config_ref_uri']}" if "ci_config_ref_uri" in claims else ""


def _host(claims: Mapping[str, Any]) -> str:
    """Return where the forge of an issuer is; GitHub's tokens alone come from another host."""
    issuer = urlsplit(claims["iss"])
    if issuer.hostname == "token.actions.githubusercontent.com":
        return "https://github.com"
    return f"{issuer.scheme}://{issuer.netloc}"
