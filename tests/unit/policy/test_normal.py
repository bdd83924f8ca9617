"""Build provenance of each dialect is read into one form. Trust contract section 4 ("Normal form")."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from countermark.core.policy import UnreadablePredicate, normal_form
from countermark.core.policy.model import SLSA_V02, SLSA_V1

COMMIT = "1" * 40
REPOSITORY = "https://github.com/acme/widget"
TAG = "refs/tags/v1.0"
GITHUB: dict[str, Any] = {
    "buildDefinition": {
        "buildType": "https://actions.github.io/buildtypes/workflow/v1",
        "externalParameters": {
            "workflow": {"ref": TAG, "repository": REPOSITORY, "path": ".github/workflows/release.yml"}
        },
        "internalParameters": {"github": {"event_name": "push", "runner_environment": "github-hosted"}},
        "resolvedDependencies": [{"uri": f"git+{REPOSITORY}@{TAG}", "digest": {"gitCommit": COMMIT}}],
    },
    "runDetails": {
        "builder": {"id": f"{REPOSITORY}/.github/workflows/release.yml@{TAG}"},
        "metadata": {"invocationId": f"{REPOSITORY}/actions/runs/1/attempts/1"},
    },
}
RUNNER = "https://gitlab.com/gitlab-org/gitlab-runner/-/blob/v17.0.0/PROVENANCE.md"
PROJECT = "https://gitlab.com/acme/widget"
GITLAB: dict[str, Any] = {
    "buildDefinition": {
        "buildType": RUNNER,
        "externalParameters": {"CI": "", "CI_JOB_NAME": "", "ref": "", "source": PROJECT, "entryPoint": "build-job"},
        "internalParameters": {"executor": "docker", "name": "runner-1", "job": "10340684631"},
        "resolvedDependencies": [{"uri": PROJECT, "digest": {"sha256": COMMIT}}],
    },
    "runDetails": {
        "builder": {"id": f"{PROJECT}/-/runners/12270857"},
        "metadata": {"invocationId": "10340684631", "startedOn": "2025-06-13T07:25:13Z"},
    },
}
OLD: dict[str, Any] = {
    "builder": {"id": "https://github.com/slsa-framework/slsa-github-generator/generator.yml@refs/tags/v1.9.0"},
    "buildType": "https://github.com/slsa-framework/slsa-github-generator/generic@v1",
    "invocation": {
        "configSource": {
            "uri": f"git+{REPOSITORY}@{TAG}",
            "digest": {"sha1": COMMIT},
            "entryPoint": ".github/workflows/release.yml",
        },
        "parameters": {},
        "environment": {"github_sha1": COMMIT},
    },
    "metadata": {"buildInvocationId": "7-1", "completeness": {"parameters": True}},
    "materials": [{"uri": f"git+{REPOSITORY}@{TAG}", "digest": {"sha1": COMMIT}}],
}


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy with one value replaced; None removes it."""
    copied = copy.deepcopy(document)
    *parents, last = path.split(".")
    inner: Any = copied
    for key in parents:
        inner = inner[int(key) if key.isdigit() else key]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return copied


def test_github() -> None:
    """Provenance of GitHub's workflows names repository, tag, commit and workflow."""
    found = normal_form(SLSA_V1, GITHUB)
    assert (found.source, found.ref, found.commit) == (REPOSITORY, TAG, COMMIT)
    assert found.entry == ".github/workflows/release.yml"
    assert (found.invocation, found.started_on) == (f"{REPOSITORY}/actions/runs/1/attempts/1", None)


def test_gitlab() -> None:
    """The runner of GitLab writes the commit as a sha256 and variables beside the source: neither misleads."""
    found = normal_form(SLSA_V1, GITLAB)
    assert (found.source, found.ref, found.commit, found.entry) == (PROJECT, None, COMMIT, "build-job")
    newer = changed(
        GITLAB, "buildDefinition.buildType", "https://docs.gitlab.com/ci/pipeline_security/slsa/provenance_v1"
    )
    newer["buildDefinition"]["externalParameters"] = {"source": PROJECT, "entryPoint": "b", "variables": {"CI": "1"}}
    newer["buildDefinition"]["resolvedDependencies"] = [{"uri": PROJECT, "digest": {"gitCommit": COMMIT}}]
    assert normal_form(SLSA_V1, newer).commit == COMMIT


def test_builds_of_our_own() -> None:
    """What `countermark build` writes is read: in a job of GitLab with the ref beside the source, and on a machine."""
    job = changed(
        GITLAB, "buildDefinition.buildType", "https://docs.gitlab.com/ci/pipeline_security/slsa/provenance_v1"
    )
    job["buildDefinition"]["externalParameters"] = {"source": PROJECT, "entryPoint": "release"}
    job["buildDefinition"]["resolvedDependencies"] = [{"uri": f"git+{PROJECT}@{TAG}", "digest": {"gitCommit": COMMIT}}]
    found = normal_form(SLSA_V1, job)
    assert (found.source, found.ref, found.commit) == (PROJECT, TAG, COMMIT)
    local = changed(job, "buildDefinition.buildType", "urn:countermark:build:local:v1")
    local["buildDefinition"]["externalParameters"] = {"source": PROJECT, "ref": TAG, "path": "python"}
    found = normal_form(SLSA_V1, local)
    assert (found.source, found.ref, found.commit, found.entry) == (PROJECT, TAG, COMMIT, "python")
    local["buildDefinition"]["externalParameters"] = {"ref": TAG}
    local["buildDefinition"]["resolvedDependencies"] = [{"uri": f"git:local@{TAG}", "digest": {"gitCommit": COMMIT}}]
    assert normal_form(SLSA_V1, local).source is None
    local["buildDefinition"]["externalParameters"] = {"source": PROJECT, "inputs": {}}
    with pytest.raises(UnreadablePredicate, match="'inputs'"):
        normal_form(SLSA_V1, local)


def test_old_provenance() -> None:
    """Provenance v0.2 names ref and commit in its config source, which is the first of its materials."""
    found = normal_form(SLSA_V02, OLD)
    assert (found.source, found.ref, found.commit) == (REPOSITORY, TAG, COMMIT)
    assert (found.entry, found.invocation) == (".github/workflows/release.yml", "7-1")


def test_old_provenance_of_gitlab() -> None:
    """The runner's v0.2 lists no materials and writes the commit as a sha256."""
    old = changed(OLD, "buildType", RUNNER) | {"materials": []}
    old["invocation"]["configSource"] = {"uri": PROJECT, "digest": {"sha256": COMMIT}, "entryPoint": "job"}
    found = normal_form(SLSA_V02, old)
    assert (found.source, found.ref, found.commit, found.entry) == (PROJECT, None, COMMIT, "job")


@pytest.mark.parametrize(
    ("parameters", "source", "ref"),
    [
        ({"repository": REPOSITORY, "ref": TAG}, REPOSITORY, TAG),
        ({"source": f"git+{REPOSITORY}@{TAG}"}, REPOSITORY, TAG),
        ({"source": REPOSITORY}, REPOSITORY, TAG),
        ({"workflow": {"repository": REPOSITORY}, "source": REPOSITORY}, REPOSITORY, TAG),
        ({}, None, None),
    ],
)
def test_other_build_types(parameters: dict[str, Any], source: str | None, ref: str | None) -> None:
    """A build type of one's own says where it comes from by one of the usual names."""
    own = changed(GITHUB, "buildDefinition.buildType", "https://example.com/build/v1")
    own["buildDefinition"]["externalParameters"] = parameters
    found = normal_form(SLSA_V1, own)
    assert (found.source, found.ref, found.commit) == (source, ref, COMMIT if source else None)


def test_addresses_with_a_user() -> None:
    """The `@` of ssh://git@host is no ref's."""
    own = changed(GITHUB, "buildDefinition.buildType", "https://example.com/build/v1")
    own["buildDefinition"]["externalParameters"] = {"source": "git+ssh://git@h.example/a/b@refs/heads/x"}
    own["buildDefinition"]["resolvedDependencies"] = [{"uri": "git+ssh://git@h.example/a/b"}]
    found = normal_form(SLSA_V1, own)
    assert (found.source, found.ref, found.commit) == ("ssh://git@h.example/a/b", "refs/heads/x", None)


BAD_V1 = [
    ("buildDefinition.externalParameters.evil", "yes", "'evil', which its build type does not know"),
    ("buildDefinition.externalParameters.source", REPOSITORY, "'source', which its build type does not know"),
    ("buildDefinition.externalParameters.workflow.evil", "yes", "workflow has 'evil'"),
    ("buildDefinition.externalParameters.workflow", "text", "no object"),
    ("buildDefinition.externalParameters.workflow.repository", 7, "no text"),
    ("buildDefinition.externalParameters.workflow.repository", "https://github.com/eve/widget", "no resolved"),
    ("buildDefinition.externalParameters.workflow.ref", "refs/heads/main", "no resolved dependency"),
    ("buildDefinition.resolvedDependencies", [], "no resolved dependency"),
    ("buildDefinition.resolvedDependencies", {}, None),
    ("buildDefinition.resolvedDependencies", "text", "no list"),
    ("buildDefinition.resolvedDependencies.0.digest.gitCommit", "HEAD", "no commit"),
    ("buildDefinition.resolvedDependencies.0.digest.gitCommit", "A" * 40, "no commit"),
    ("buildDefinition.resolvedDependencies.0.digest.sha1", "2" * 40, "says both"),
    ("buildDefinition.resolvedDependencies.0.uri", "x" * 3000, "longer"),
    ("buildDefinition", None, "buildDefinition is missing"),
    ("runDetails", None, "runDetails is missing"),
    ("runDetails.builder.id", None, "builder.id is missing"),
    ("runDetails.builder.id", "", "builder.id is missing"),
    ("buildDefinition.buildType", ["x"], "buildType is missing"),
    ("buildDefinition.externalParameters", None, "externalParameters is missing"),
]


@pytest.mark.parametrize(("path", "value", "words"), BAD_V1)
def test_bad_v1(path: str, value: Any, words: str | None) -> None:
    """What is not of its type, contradicts itself or has unknown parameters is refused with the reason."""
    with pytest.raises(UnreadablePredicate, match=words):
        normal_form(SLSA_V1, changed(GITHUB, path, value))


def test_two_commits() -> None:
    """Two dependencies that are the source at different commits are refused: which was built is not said."""
    twice = copy.deepcopy(GITHUB)
    twice["buildDefinition"]["resolvedDependencies"].append(
        {"uri": f"git+{REPOSITORY}@{TAG}", "digest": {"gitCommit": "2" * 40}}
    )
    with pytest.raises(UnreadablePredicate, match="several commits"):
        normal_form(SLSA_V1, twice)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("materials", [], "first of the materials|materials"),
        ("materials.0.uri", f"git+{REPOSITORY}@refs/heads/main", "first of the materials"),
        ("materials.0.digest.sha1", "2" * 40, "says both"),
        ("invocation.configSource.digest.sha1", "main", "no commit"),
        ("invocation.configSource.uri", 5, "no text"),
        ("invocation", "text", "no object"),
        ("builder", None, "builder is missing"),
    ],
)
def test_bad_v02(path: str, value: Any, words: str) -> None:
    """Provenance v0.2 whose source is not the first of its materials, or that is not of its type, is refused."""
    with pytest.raises(UnreadablePredicate, match=words):
        normal_form(SLSA_V02, changed(OLD, path, value))


@pytest.mark.parametrize("predicate", [None, {}, {"buildDefinition": []}])
@pytest.mark.parametrize("kind", [SLSA_V1, SLSA_V02, "https://example.com/other"])
def test_no_provenance(kind: str, predicate: Any) -> None:
    """What is no provenance at all, or of another type, is refused."""
    with pytest.raises(UnreadablePredicate):
        normal_form(kind, predicate)
