"""Unmodified uv publishes from simulated jobs of GitHub and GitLab, without a token of anybody's.

uv asks over https whatever it is told, so a proxy with TLS stands in front of the deployment, as an ingress does.
Source: contract python-index section 3.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import httpx2
import pytest

from countermark.core.digest import sha256_of
from tests.support.archives import make_wheel
from tests.support.builds import Forge, body, policy
from tests.support.ci_claims import github_job, gitlab_job
from tests.support.ci_issuer import CiIssuer, ci_issuer, server_tls
from tests.support.company import ASKING_HERE
from tests.support.processes import Deployment, start_deployment
from tests.support.recorder import Recorder, recording
from tests.support.tools import Tools
from tests.support.trusting import POLICY, TRUSTED_ROOT, Holders

pytestmark = pytest.mark.embedded


@dataclass(frozen=True, slots=True)
class Site:
    """A deployment behind TLS, the CI service whose jobs publish there, and the forge that attests."""

    deployment: Deployment
    front: Recorder
    issuer: CiIssuer
    forge: Forge
    authority: Path

    @property
    def host(self) -> str:
        """The CI service's host."""
        return self.issuer.url.removeprefix("https://")

    def add(self, project: str, *options: str) -> None:
        """Register a publisher on `root/stable`, with the operator's command."""
        done = self.deployment.command(
            "publisher", "add", "root/stable", project, "--issuer", self.issuer.url, *options
        )
        assert done.returncode == 0, done.stderr

    def publish(self, tools: Tools, *files: Path, **settings: str) -> CompletedProcess[str]:
        """Run `uv publish` as a job does."""
        job = tools.with_settings(SSL_CERT_FILE=str(self.authority), UV_HTTP_TIMEOUT="30", **settings)
        url = f"{self.front.url}/root/stable/"
        return job.run("uv", "publish", "--trusted-publishing", "always", "--publish-url", url, *files)

    def listed(self, project: str) -> list[str]:
        """Return the file names that the index lists."""
        page = httpx2.get(
            f"{self.deployment.api}/root/stable/+simple/{project}/",
            headers={"accept": "application/vnd.pypi.simple.v1+json"},
            timeout=20,
        )
        if page.status_code == 404:
            return []
        return [file["filename"] for file in page.json()["files"]]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """All of it, after the ceremony that made the deployment trust the forge."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cm-", ignore_cleanup_errors=True)))
        tls, files = server_tls(home / "tls")
        issuer = stack.enter_context(ci_issuer(tls))
        running = start_deployment(home / "data", *ASKING_HERE, environment={"SSL_CERT_FILE": str(files.authority)})
        stack.callback(running.process.end)
        forge, keys = Forge(), home / "holders"
        keys.mkdir()
        signed = {POLICY: keys / "policy.yaml", TRUSTED_ROOT: keys / "root.json"}
        signed[POLICY].write_bytes(policy())
        signed[TRUSTED_ROOT].write_bytes(forge.instance.trusted_root())
        Holders(running, keys).sign(signed)
        front = stack.enter_context(recording(running.api, tls))
        yield Site(running, front, issuer, forge, files.authority)


def wheel(folder: Path, project: str, version: str = "1.0") -> Path:
    """Write a wheel."""
    folder.mkdir(exist_ok=True)
    made = folder / f"{project}-{version}-py3-none-any.whl"
    made.write_bytes(make_wheel(project, version))
    return made


def attested(site: Site, file: Path, claims: dict[str, Any]) -> Path:
    """Lay an attestation of a run beside a file, where uv finds it."""
    run = claims | {"iss": site.issuer.url}
    made = site.forge.publish_attestation(file.name, file.read_bytes(), run)
    beside = file.with_name(f"{file.name}.publish.attestation")
    beside.write_bytes(body(made))
    return beside


def in_github(site: Site, claims: dict[str, Any]) -> dict[str, str]:
    """Return the variables of a job of GitHub, which asks its service for identity tokens."""
    site.issuer.job = claims
    return {
        "GITHUB_ACTIONS": "true",
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{site.issuer.url}/job-token?api-version=2.0",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of the job",
    }


def in_gitlab(site: Site, claims: dict[str, Any]) -> dict[str, str]:
    """Return the variables of a job of GitLab, which has its identity token from the start."""
    return {"GITLAB_CI": "true", "COUNTERMARK_ID_TOKEN": site.issuer.token(claims)}


def test_uv_publishes_from_github(site: Site, tools: Tools, tmp_path: Path) -> None:
    """The first upload makes the project; each run has a token of its own, which is burnt when it is done."""
    site.add("hub", "--github", "acme/hub", "--workflow", "release.yml", "--environment", "release")
    for version in ("1.0", "2.0"):
        job = in_github(site, github_job("acme/hub", environment="release"))
        site.front.forget()
        done = site.publish(tools, wheel(tmp_path, "hub", version), **job)
        assert done.returncode == 0, done.stdout
        asked = [(seen.method, seen.path, seen.status) for seen in site.front.exchanges]
        assert asked == [
            ("GET", "/_/oidc/audience", 200),
            ("POST", "/_/oidc/mint-token", 200),
            ("POST", "/root/stable/", 200),
            ("POST", "/_/oidc/burn-token", 202),
        ]
    assert sorted(site.listed("hub")) == ["hub-1.0-py3-none-any.whl", "hub-2.0-py3-none-any.whl"]


def test_a_job_that_is_not_registered_is_told_which_claim(site: Site, tools: Tools, tmp_path: Path) -> None:
    """Another workflow, another environment, and a token that was used: uv fails and says why; nothing is listed."""
    site.add("guarded", "--github", "acme/guarded", "--workflow", "release.yml", "--environment", "release")
    file = wheel(tmp_path, "guarded")
    other = "acme/guarded/.github/workflows/other.yml@refs/tags/v1"
    for claims, said in (
        ({"environment": "release", "job_workflow_ref": other, "workflow_ref": other}, "job_workflow_ref"),
        ({}, "environment"),
        ({"environment": "release", "event_name": "pull_request_target"}, "event_name"),
    ):
        done = site.publish(tools, file, **in_github(site, github_job("acme/guarded", **claims)))
        assert done.returncode != 0, done.stdout
        assert said in done.stdout, done.stdout
    assert site.listed("guarded") == []


def test_a_job_uploads_to_its_own_project_alone(site: Site, tools: Tools, tmp_path: Path) -> None:
    """The token of one project does not publish another."""
    site.add("mine", "--github", "acme/mine", "--workflow", "release.yml")
    done = site.publish(tools, wheel(tmp_path, "yours"), **in_github(site, github_job("acme/mine")))
    assert done.returncode != 0, done.stdout
    assert "the token is not for this index, project or action" in " ".join(done.stdout.split())
    assert site.listed("yours") == []


def test_attestations_are_of_the_job_that_uploads(site: Site, tools: Tools, tmp_path: Path) -> None:
    """What the job's own pipeline attested passes; what another pipeline, or another commit of it, did is refused."""
    site.add("lab", "--gitlab", "acme/lab", "--workflow", ".gitlab-ci.yml")
    own = gitlab_job("acme/lab", site.host)
    file = wheel(tmp_path / "own", "lab")
    done = site.publish(tools, file, attested(site, file, own), **in_gitlab(site, own))
    assert done.returncode == 0, done.stdout
    path = f"/api/v1/indexes/root/stable/files/{sha256_of(file.read_bytes())}/{file.name}/attestations"
    assert len(site.deployment.get(path).json()["items"]) == 1
    others = {
        "workflow": own | {"ci_config_ref_uri": f"{site.host}/acme/lab//other.yml@refs/tags/v1"},
        "commit": own | {"sha": "7" * 40},
        "repository": gitlab_job("acme/else", site.host),
    }
    for number, (named, claims) in enumerate(others.items()):
        file = wheel(tmp_path / named, "lab", f"2.{number}")
        done = site.publish(tools, file, attested(site, file, claims), **in_gitlab(site, own))
        assert done.returncode != 0, done.stdout
        said = " ".join(done.stdout.split())
        assert f"its certificate's {named} is" in said, said
        assert "fails the check identity" in said
    assert site.listed("lab") == ["lab-1.0-py3-none-any.whl"]


def test_the_operator_lists_and_removes_publishers(site: Site, tools: Tools, tmp_path: Path) -> None:
    """A removed one publishes no more; wrong calls are told what to write."""
    site.add("gone", "--claim", "sub=job:gone", "--claim", "protected=true")
    listed = json.loads(site.deployment.command("publisher", "list", "root/stable", "--json").stdout)
    (row,) = [one for one in listed if one["project"] == "gone"]
    assert row["identity"] == {"claims": {"sub": "job:gone", "protected": True}}
    assert row["pending_until"] is not None
    for _ in range(2):
        assert site.deployment.command("publisher", "remove", row["id"]).returncode == 0
    assert "gone" not in site.deployment.command("publisher", "list").stdout
    for arguments, said in (
        (("add", "root/stable", "x"), "--github, --gitlab, or --issuer with --claim"),
        (("add", "root/stable", "x", "--github", "a/b", "--gitlab", "a/b"), "by one of"),
        (("add", "root/stable", "x", "--github", "a/b"), "name the workflow"),
        (("add", "root/stable", "x", "--issuer", "https://ci.test", "--claim", "sub"), "name=value"),
        (("remove", "x"), "is no id"),
    ):
        done = site.deployment.command("publisher", *arguments)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
