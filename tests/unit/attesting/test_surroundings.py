"""What is said of a build, by the environment and by git."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from countermark.attesting.checkout import Checkout, public_url, read_checkout
from countermark.attesting.surroundings import (
    GITHUB_BUILD,
    GITLAB_BUILD,
    LOCAL_BUILD,
    LOCAL_BUILDER,
    describe_build,
)
from countermark.core.attestations.making import Course, Subject, provenance_statement
from countermark.core.digest import sha256_of
from countermark.core.errors import BuildFailed, UsageFault
from countermark.core.policy import normal_form

COMMIT = "5" * 40
GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "acme/thing",
    "GITHUB_SHA": COMMIT,
    "GITHUB_REF": "refs/tags/v1",
    "GITHUB_WORKFLOW_REF": "acme/thing/.github/workflows/release.yml@refs/tags/v1",
    "GITHUB_RUN_ID": "77",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_EVENT_NAME": "push",
    "GITHUB_REPOSITORY_ID": "4711",
    "RUNNER_ENVIRONMENT": "github-hosted",
    "SOME_TOKEN": "hush",
}
GITLAB = {
    "GITLAB_CI": "true",
    "CI_SERVER_URL": "https://gitlab.com",
    "CI_PROJECT_PATH": "acme/thing",
    "CI_PROJECT_URL": "https://gitlab.com/acme/thing",
    "CI_COMMIT_SHA": COMMIT,
    "CI_COMMIT_TAG": "v1",
    "CI_JOB_NAME": "release",
    "CI_JOB_URL": "https://gitlab.com/acme/thing/-/jobs/9",
    "CI_RUNNER_ID": "12",
    "CI_JOB_TOKEN": "hush",
}
CLEAN = Checkout(COMMIT, "refs/heads/main", "https://github.com/acme/thing", "", is_dirty=False)


def test_a_workflow_run_is_described_as_github_describes_it() -> None:
    """Builder, workflow, commit and run are the environment's; nothing else of it is repeated."""
    noted: list[str] = []
    build = describe_build(GITHUB, CLEAN, noted.append)
    assert (build.build_type, noted) == (GITHUB_BUILD, [])
    assert build.builder == "https://github.com/acme/thing/.github/workflows/release.yml"
    workflow = {"ref": "refs/tags/v1", "repository": "https://github.com/acme/thing"}
    assert build.external == {"workflow": workflow | {"path": ".github/workflows/release.yml"}}
    assert build.source is not None
    assert build.source.to_document() == {
        "uri": "git+https://github.com/acme/thing@refs/tags/v1",
        "digest": {"gitCommit": COMMIT},
        "annotations": {"dirty": False},
    }
    assert build.invocation == "https://github.com/acme/thing/actions/runs/77/attempts/2"
    assert "hush" not in repr(build)


def test_a_job_of_gitlab_is_described_without_its_variables() -> None:
    """The builder is the pipeline's file as certificates name it; variables, which may be secrets, are left out."""
    build = describe_build(GITLAB, None, print)
    assert build.build_type == GITLAB_BUILD
    assert build.builder == "https://gitlab.com/acme/thing//.gitlab-ci.yml"
    assert build.external == {"source": "https://gitlab.com/acme/thing", "entryPoint": "release"}
    assert build.source is not None
    assert build.source.to_document() == {
        "uri": "git+https://gitlab.com/acme/thing@refs/tags/v1",
        "digest": {"gitCommit": COMMIT},
    }
    assert build.invocation == "https://gitlab.com/acme/thing/-/jobs/9"
    assert "hush" not in repr(build)


@pytest.mark.parametrize("environ", [GITHUB, GITLAB])
def test_another_commit_than_the_pipelines_is_refused(environ: dict[str, str]) -> None:
    """Provenance never names a commit that was not built."""
    with pytest.raises(BuildFailed, match="is checked out"):
        describe_build(environ, replace(CLEAN, commit="6" * 40), print)


def test_a_machine_says_local() -> None:
    """Outside of pipelines builder and build type say local, whatever git knows, and a dirty tree is said."""
    build = describe_build({"PATH": "/bin"}, replace(CLEAN, is_dirty=True), print)
    assert (build.build_type, build.builder, build.invocation) == (LOCAL_BUILD, LOCAL_BUILDER, None)
    assert build.external == {"source": "https://github.com/acme/thing", "ref": "refs/heads/main"}
    assert build.source is not None
    assert build.source.notes == {"dirty": True}


def test_without_git_nothing_is_said_of_the_source() -> None:
    """No source is better than a guessed one."""
    build = describe_build({}, None, print)
    assert (build.external, build.source) == ({}, None)


@pytest.mark.parametrize("missing", ["GITHUB_SHA", "GITHUB_WORKFLOW_REF"])
def test_half_a_pipeline_is_local(missing: str) -> None:
    """An environment that looks like a pipeline and does not tell all makes local provenance, with a note."""
    noted: list[str] = []
    build = describe_build({**GITHUB, missing: ""}, CLEAN, noted.append)
    assert build.builder == LOCAL_BUILDER
    assert missing in noted[0]


@pytest.mark.parametrize("path", ["ci.yml@acme/builders", "https://host/ci.yml"])
def test_a_pipeline_from_elsewhere_is_local_unless_it_is_named(path: str) -> None:
    """GitLab tells no more than the file of another project: who does not name that builder gets a local label."""
    noted: list[str] = []
    environ = GITLAB | {"CI_CONFIG_PATH": path}
    assert describe_build(environ, None, noted.append).builder == LOCAL_BUILDER
    assert "another project" in noted[0]
    named = "https://gitlab.com/acme/builders//ci.yml"
    assert describe_build(environ, None, print, named).builder == named
    inside = GITLAB | {"CI_CONFIG_PATH": "ci/release.yml"}
    assert describe_build(inside, None, print).builder == "https://gitlab.com/acme/thing//ci/release.yml"


def test_a_reusable_workflow_names_itself_and_a_machine_cannot() -> None:
    """--builder-id is for what a pipeline's environment does not know; a local build cannot call itself otherwise."""
    workflow = "https://github.com/acme/builders/.github/workflows/wheel.yml"
    assert describe_build(GITHUB, CLEAN, print, workflow).builder == workflow
    with pytest.raises(UsageFault, match="no pipeline"):
        describe_build({}, CLEAN, print, workflow)


def test_the_statement_follows_from_its_facts() -> None:
    """Subject, source, tools and times stand where SLSA has them, and the same facts are the same bytes."""
    began, ended = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, 9, tzinfo=UTC)
    course = Course(began, ended, {"hatchling": "1.33.0"})
    subject = Subject("thing-1-py3-none-any.whl", sha256_of(b"wheel"))
    made = provenance_statement(subject, describe_build(GITHUB, CLEAN, print), course)
    assert made == provenance_statement(subject, describe_build(GITHUB, CLEAN, print), course)
    document = json.loads(made)
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    assert document["predicateType"] == "https://slsa.dev/provenance/v1"
    assert document["subject"] == [{"name": subject.name, "digest": {"sha256": subject.sha256}}]
    definition, details = document["predicate"]["buildDefinition"], document["predicate"]["runDetails"]
    assert [one["uri"] for one in definition["resolvedDependencies"]] == [
        "git+https://github.com/acme/thing@refs/tags/v1",
        "pkg:pypi/hatchling@1.33.0",
    ]
    assert details["metadata"]["startedOn"] == "2026-01-02T03:04:05Z"
    assert details["builder"]["version"].keys() == {"build", "countermark"}


LOCAL_SSH = replace(CLEAN, url="ssh://git@host/acme/thing.git", folder="python", ref=None)


@pytest.mark.parametrize(
    ("environ", "checkout", "source", "ref", "entry"),
    [
        (GITHUB, CLEAN, "https://github.com/acme/thing", "refs/tags/v1", ".github/workflows/release.yml"),
        (GITLAB, None, "https://gitlab.com/acme/thing", "refs/tags/v1", "release"),
        ({}, CLEAN, "https://github.com/acme/thing", "refs/heads/main", None),
        ({}, LOCAL_SSH, "ssh://git@host/acme/thing.git", None, "python"),
    ],
)
def test_a_policy_reads_what_is_written(
    environ: dict[str, str], checkout: Checkout | None, source: str, ref: str | None, entry: str | None
) -> None:
    """Source, ref, commit and entry are found by the reader that policies are evaluated with."""
    build = describe_build(environ, checkout, print)
    made = provenance_statement(
        Subject("a-1.tar.gz", sha256_of(b"")), build, Course(datetime.now(UTC), datetime.now(UTC))
    )
    found = normal_form("https://slsa.dev/provenance/v1", json.loads(made)["predicate"])
    assert (found.source, found.ref, found.commit, found.entry) == (source, ref, COMMIT, entry)
    assert (found.builder_id, found.build_type) == (build.builder, build.build_type)


@pytest.mark.parametrize("checkout", [None, replace(CLEAN, url=None)])
def test_a_policy_finds_no_source_where_none_is_known(checkout: Checkout | None) -> None:
    """A source without an address is none that a policy could name."""
    made = provenance_statement(
        Subject("a-1.tar.gz", sha256_of(b"")),
        describe_build({}, checkout, print),
        Course(datetime.now(UTC), datetime.now(UTC)),
    )
    assert normal_form("https://slsa.dev/provenance/v1", json.loads(made)["predicate"]).source is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://github.com/acme/thing.git", "https://github.com/acme/thing.git"),
        ("https://alice:hush@host:8443/acme/thing", "https://host:8443/acme/thing"),
        ("https://hush@host/acme/thing?token=hush", "https://host/acme/thing"),
        ("git@github.com:acme/thing.git", "ssh://git@github.com/acme/thing.git"),
        ("ssh://git:hush@host/acme/thing", "ssh://git@host/acme/thing"),
        ("/srv/git/thing", None),
        ("file:///srv/git/thing", None),
        ("https://[bad/thing", None),
    ],
)
def test_addresses_are_shown_without_passwords_and_paths_not_at_all(text: str, shown: str | None) -> None:
    """A remote's address goes into public provenance: no password, no path of this machine."""
    assert public_url(text) == shown


def test_git_tells_commit_branch_and_dirt(tmp_path: Path) -> None:
    """A real repository: its commit and branch, the tag when no branch is checked out, and each way to be dirty."""
    project = tmp_path / "repository" / "project"
    project.mkdir(parents=True)
    (project / "pyproject.toml").write_text("")
    out = project / "dist"

    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", "-C", str(project), *who, *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "--initial-branch=main", str(tmp_path / "repository"))
    assert read_checkout(project, out) is None, "there is no commit yet"
    git("commit", "--allow-empty", "-m", "first")
    assert read_checkout(project, out) is None, "the commit is not of this project"
    git("add", "pyproject.toml")
    git("commit", "-m", "second")
    git("remote", "add", "origin", "https://alice:hush@host/acme/thing.git")
    found = read_checkout(project, out)
    expected = Checkout(git("rev-parse", "HEAD"), "refs/heads/main", "https://host/acme/thing.git", "project", False)
    assert found == expected
    out.mkdir()
    (out / "thing-1.tar.gz").write_bytes(b"built before")
    assert read_checkout(project, out) == expected, "what was built before makes no tree dirty"
    (tmp_path / "repository" / "new.py").write_text("")
    assert read_checkout(project, out) == replace(expected, is_dirty=True)
    (tmp_path / "repository" / "new.py").unlink()
    (project / "pyproject.toml").write_text("[project]\n")
    assert read_checkout(project, out) == replace(expected, is_dirty=True)
    git("checkout", "pyproject.toml")
    git("tag", "v1")
    git("checkout", "--detach")
    assert read_checkout(project, out) == replace(expected, ref="refs/tags/v1")
