"""Where a build runs: in a pipeline of GitHub or GitLab, or on somebody's machine, and what is to be said of it.

Only what the environment says in so many words is repeated, and no variable whose content nobody knows. A machine that
is no pipeline, or one that does not tell all, makes provenance that says "local": whoever reads it can then trust no
more than whoever signs it. A builder is named as policies name it, without the ref that its certificate has behind it:
`builder_ids` are compared exactly, and refs have their own place in policies (trust contract section 4).

Source: GitHub Actions, "Default environment variables"; GitLab CI/CD, "Predefined variables"; SLSA, "Build provenance"
v1; the build types' own descriptions.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

from countermark.attesting.checkout import Checkout
from countermark.core.attestations.making import Build, Material
from countermark.core.errors import BuildFailed, UsageFault
from countermark.credentials import Notify

GITHUB_BUILD = "https://actions.github.io/buildtypes/workflow/v1"
GITLAB_BUILD = "https://docs.gitlab.com/ci/pipeline_security/slsa/provenance_v1"
LOCAL_BUILD = "urn:countermark:build:local:v1"
LOCAL_BUILDER = "urn:countermark:builder:local"

_GITHUB_NEEDS = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_SHA", "GITHUB_REF", "GITHUB_WORKFLOW_REF")
_GITLAB_NEEDS = ("CI_SERVER_URL", "CI_PROJECT_PATH", "CI_PROJECT_URL", "CI_COMMIT_SHA", "CI_JOB_NAME", "CI_JOB_URL")


def describe_build(
    environ: Mapping[str, str], checkout: Checkout | None, notify: Notify, builder: str | None = None
) -> Build:
    """Return what is known of a build that begins here and now.

    Args:
        environ: variables of the environment.
        checkout: what git says of the sources.
        notify: is told of what is missing.
        builder: URI of the builder, where the environment does not know it: of a reusable workflow, in its own job.

    Raises:
        BuildFailed: the sources are of another commit than the pipeline runs for.
        UsageFault: a builder is named on a machine that is no pipeline.
    """
    for name, sign, needs, make in (
        ("GitHub", "GITHUB_ACTIONS", _GITHUB_NEEDS, _on_github),
        ("GitLab", "GITLAB_CI", _GITLAB_NEEDS, _on_gitlab),
    ):
        if environ.get(sign) != "true":
            continue
        missing = [variable for variable in needs if not environ.get(variable)]
        if not missing and make is _on_gitlab and builder is None and _is_elsewhere(environ):
            notify("the pipeline's file is in another project, and nobody tells its ref: provenance says local")
            break
        if not missing:
            return make(environ, checkout, builder)
        notify(f"this looks like a pipeline of {name}, but {', '.join(missing)} is not set: provenance says local")
    if builder is not None:
        raise UsageFault(
            "a builder is named, and this is no pipeline of GitHub or GitLab",
            "Leave --builder-id away: what is built here is labelled as built on this machine.",
        )
    return _here(checkout)


def _on_github(environ: Mapping[str, str], checkout: Checkout | None, builder: str | None) -> Build:
    """Describe a workflow run, as GitHub's own attestations do."""
    server, repository = environ["GITHUB_SERVER_URL"].rstrip("/"), environ["GITHUB_REPOSITORY"]
    workflow, _, workflow_ref = environ["GITHUB_WORKFLOW_REF"].removeprefix(f"{repository}/").rpartition("@")
    run, attempt = environ.get("GITHUB_RUN_ID"), environ.get("GITHUB_RUN_ATTEMPT", "1")
    told = {
        "event_name": environ.get("GITHUB_EVENT_NAME"),
        "repository_id": environ.get("GITHUB_REPOSITORY_ID"),
        "repository_owner_id": environ.get("GITHUB_REPOSITORY_OWNER_ID"),
        "runner_environment": environ.get("RUNNER_ENVIRONMENT"),
    }
    return Build(
        build_type=GITHUB_BUILD,
        builder=builder or f"{server}/{repository}/{workflow}",
        external={"workflow": {"ref": workflow_ref, "repository": f"{server}/{repository}", "path": workflow}},
        internal={"github": _said(told)},
        source=_source(f"{server}/{repository}", environ["GITHUB_REF"], environ["GITHUB_SHA"], checkout),
        invocation=f"{server}/{repository}/actions/runs/{run}/attempts/{attempt}" if run else None,
        versions=_versions(),
    )


def _on_gitlab(environ: Mapping[str, str], checkout: Checkout | None, builder: str | None) -> Build:
    """Describe a job; its variables are left out, since any of them may be a secret."""
    server, project, url = environ["CI_SERVER_URL"].rstrip("/"), environ["CI_PROJECT_PATH"], environ["CI_PROJECT_URL"]
    ref, file = _gitlab_ref(environ), environ.get("CI_CONFIG_PATH") or ".gitlab-ci.yml"
    told = {
        "project_id": environ.get("CI_PROJECT_ID"),
        "pipeline_id": environ.get("CI_PIPELINE_ID"),
        "pipeline_source": environ.get("CI_PIPELINE_SOURCE"),
        "job_id": environ.get("CI_JOB_ID"),
        "runner_id": environ.get("CI_RUNNER_ID"),
    }
    return Build(
        build_type=GITLAB_BUILD,
        builder=builder or f"{server}/{project}//{file}",
        external={"source": url, "entryPoint": environ["CI_JOB_NAME"]},
        internal={"gitlab": _said(told)},
        source=_source(url, ref, environ["CI_COMMIT_SHA"], checkout),
        invocation=environ["CI_JOB_URL"],
        versions=_versions(),
    )


def _here(checkout: Checkout | None) -> Build:
    """Describe a build on a machine that nobody vouches for. Neither its name nor its paths are told."""
    external, source = {}, None
    if checkout is not None:
        found = {"source": checkout.url, "ref": checkout.ref, "path": checkout.folder or None}
        external = _said(found)
        url = checkout.url or "git:local"
        source = _material(url if checkout.url is None else f"git+{url}", checkout.ref, checkout.commit, checkout)
    return Build(LOCAL_BUILD, LOCAL_BUILDER, external, {}, source, None, _versions())


def _is_elsewhere(environ: Mapping[str, str]) -> bool:
    """Return whether a pipeline's file is not one of the project, `FILE@GROUP/PROJECT` or an address."""
    return any(mark in environ.get("CI_CONFIG_PATH", "") for mark in ("@", "://"))


def _gitlab_ref(environ: Mapping[str, str]) -> str | None:
    if tag := environ.get("CI_COMMIT_TAG"):
        return f"refs/tags/{tag}"
    if branch := environ.get("CI_COMMIT_BRANCH"):
        return f"refs/heads/{branch}"
    return environ.get("CI_MERGE_REQUEST_REF_PATH") or None


def _source(url: str, ref: str | None, commit: str, checkout: Checkout | None) -> Material:
    """Return the sources of a pipeline.

    Raises:
        BuildFailed: git has another commit in the working tree.
    """
    if checkout is not None and checkout.commit != commit:
        raise BuildFailed(
            f"the pipeline runs for commit {commit}, and {checkout.commit} is checked out",
            "Check out the commit of the pipeline: provenance would name sources that were not built. "
            "Or build with --no-provenance.",
        )
    return _material(f"git+{url}", ref, commit, checkout)


def _material(url: str, ref: str | None, commit: str, checkout: Checkout | None) -> Material:
    notes = {} if checkout is None else {"dirty": checkout.is_dirty}
    return Material(url + (f"@{ref}" if ref else ""), {"gitCommit": commit}, notes)


def _said(told: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in told.items() if value}


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("build", "countermark")}
