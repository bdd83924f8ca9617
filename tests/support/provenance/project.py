"""A project with a repository, and a job of its release workflow that builds, signs and uploads it.

The job has the variables that GitHub sets, and its tokens from the Sigstore instance for tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import run
from tests.support.sigstore.process import SigstoreProcess
from tests.support.sigstore.tokens import GITHUB, github

REPOSITORY, WORKFLOW = "acme/thing", "release.yml"
NAME, MODULE = "thing", "thing"
FORGE = "https://github.com"
BUILD_TYPE = "https://actions.github.io/buildtypes/workflow/v1"

_BUILDER = f"{FORGE}/{REPOSITORY}/.github/workflows/{WORKFLOW}"

POLICY = f"""schema: "policy/v1"
roots:
  private: "trusted_root.json"
test_roots: ["private"]
builders:
  release:
    root: "private"
    issuer: "{GITHUB}"
    san: {{workflow: "{_BUILDER}", refs: ["refs/tags/v*"]}}
    builder_ids: ["{_BUILDER}"]
    build_types: ["{BUILD_TYPE}"]
    level: 3
packages:
  - match: "{NAME}"
    builders: ["release"]
    source: "{FORGE}/{REPOSITORY}"
    source_refs: ["refs/tags/v{{version}}"]
    min_level: 3
    log: {{rekor: ["v1", "v2"], max_age_days: 3650}}
  - match: "*"
    deny: true
"""
"""What is demanded of the project's files; files of others are refused."""

_PYPROJECT = f"""[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{NAME}"
version = "VERSION"

[tool.hatch.build.targets.wheel]
include = ["*.py"]
"""


@dataclass(frozen=True, slots=True)
class Project:
    """The project's sources, in a repository of git."""

    folder: Path

    def commit(self, version: str) -> str:
        """Write and commit the sources of a version; returns the commit's id."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "pyproject.toml").write_text(_PYPROJECT.replace("VERSION", version))
        (self.folder / f"{MODULE}.py").write_text(f'VERSION = "{version}"\n')
        (self.folder / ".gitignore").write_text("dist/\n")
        if not (self.folder / ".git").exists():
            self._git("init", "--quiet")
        self._git("add", ".")
        self._git("commit", "--quiet", "--message", f"Release {version}")
        self._git("tag", f"v{version}")
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *arguments: str) -> str:
        who = ("-c", "user.name=A Maintainer", "-c", "user.email=maintainer@acme.test", "-c", "commit.gpgsign=false")
        done = run("git", "-C", str(self.folder), *who, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout


@dataclass(frozen=True, slots=True)
class Job:
    """A run of a workflow for a commit.

    Attributes:
        repository: whose run it is; another one's is an attacker's.
        workflow: its file.
    """

    sigstore: SigstoreProcess
    commit: str
    ref: str
    repository: str = REPOSITORY
    workflow: str = WORKFLOW

    def claims(self) -> dict[str, str]:
        """Return what its tokens say."""
        return github(self.repository, self.workflow, self.ref, sha=self.commit)

    def environment(self) -> Mapping[str, str]:
        """Return its variables; those for tokens are good for five minutes."""
        claims = self.claims()
        return self.sigstore.job(claims) | {
            "GITHUB_SERVER_URL": FORGE,
            "GITHUB_REPOSITORY": self.repository,
            "GITHUB_REPOSITORY_ID": claims["repository_id"],
            "GITHUB_REPOSITORY_OWNER_ID": claims["repository_owner_id"],
            "GITHUB_SHA": self.commit,
            "GITHUB_REF": self.ref,
            "GITHUB_WORKFLOW_REF": claims["workflow_ref"],
            "GITHUB_EVENT_NAME": claims["event_name"],
            "GITHUB_RUN_ID": "1",
            "GITHUB_RUN_ATTEMPT": "1",
            "RUNNER_ENVIRONMENT": claims["runner_environment"],
        }
