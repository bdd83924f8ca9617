"""The matrix of publishers: twine, uv, poetry, pdm, hatch and flit, unmodified, publish what they built themselves."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from countermark.core.digest import sha256_of
from tests.support.processes import Deployment
from tests.support.publishers import HATCH, PDM, POETRY, PUBLISHERS, TWINE, UV, Publisher, Target, files_of
from tests.support.recorder import recording
from tests.support.tools import Tools

JSON = "application/vnd.pypi.simple.v1+json"

WRONG = "cmk_1" + "0" * 49
"""A token that nobody has."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What an index lists of a project: file name -> sha256."""

    deployment: Deployment
    project: str
    index: str = "root/stable"

    def __call__(self) -> dict[str, str]:
        """Return it, empty when there is no page."""
        url = f"{self.deployment.api}/{self.index}/+simple/{self.project}/"
        answer = httpx2.get(url, headers={"accept": JSON}, timeout=20)
        if answer.status_code == 404:
            return {}
        assert answer.status_code == 200, answer.text
        return {file["filename"]: file["hashes"]["sha256"] for file in answer.json()["files"]}


def digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of what was built, by file name."""
    return {path.name: sha256_of(path.read_bytes()) for path in files_of(folder)}


@pytest.fixture(scope="session")
def token(deployment: Deployment) -> str:
    """A token for `root/stable`."""
    return deployment.token()


@pytest.fixture(scope="session")
def doors(deployment: Deployment, token: str) -> dict[str, Target]:
    """Every spelling of an address to publish to, each of an index of its own: index -> target."""
    for index in ("root/slash", "root/bare"):
        assert deployment.command("index", "create", index).returncode == 0
    return {
        "root/stable": Target(f"{deployment.api}/legacy/", token),
        "root/slash": Target(f"{deployment.api}/root/slash/", deployment.token(index="root/slash")),
        "root/bare": Target(f"{deployment.api}/root/bare", deployment.token(index="root/bare")),
    }


@pytest.mark.parametrize("publisher", PUBLISHERS, ids=str)
def test_a_publisher_uploads_what_it_built_and_repeats_it_without_harm(
    deployment: Deployment, tools: Tools, doors: dict[str, Target], publisher: Publisher, tmp_path: Path
) -> None:
    """Built by the tool and published by it at every spelling of the address: listed byte for byte, also when done
    again."""
    project = f"matrix-{publisher}"
    folder = tmp_path / "project"
    publisher.make(tools, folder, project, "1.0")
    for index, target in [*doors.items(), ("root/stable", doors["root/stable"])]:
        done = publisher.publish(tools, folder, target)
        assert done.returncode == 0, done.stdout
        assert Listed(deployment, project, index)() == digests(folder)
    assert len(digests(folder)) == 2


# uv's backend is not a part of uv that pip could call.
@pytest.mark.parametrize("publisher", [tool for tool in PUBLISHERS if tool is not UV], ids=str)
def test_a_published_source_archive_is_built_by_pip(
    deployment: Deployment, tools: Tools, token: str, publisher: Publisher, tmp_path: Path
) -> None:
    """pip downloads the source archive and makes the same wheel from it that was published, with its name."""
    project, target = f"matrix-source-{publisher}", Target(f"{deployment.api}/root/stable/", token)
    folder = tmp_path / "project"
    publisher.make(tools, folder, project, "1.0")
    assert publisher.publish(tools, folder, target).returncode == 0
    options = ("--no-binary", ":all:", "--no-deps", "--no-build-isolation", "--index-url", f"{target.url}+simple/")
    tools.done("pip", "wheel", *options, "--wheel-dir", tmp_path / "wheels", project)
    assert [path.name for path in (tmp_path / "wheels").iterdir()] == [files_of(folder)[0].name]


@pytest.mark.parametrize("publisher", PUBLISHERS, ids=str)
def test_other_bytes_under_a_published_name_are_refused_in_words(
    deployment: Deployment, tools: Tools, token: str, publisher: Publisher, tmp_path: Path
) -> None:
    """A release built again from other sources changes nothing, and the tool says why."""
    project, target = f"matrix-conflict-{publisher}", Target(f"{deployment.api}/root/stable/", token)
    folder = tmp_path / "project"
    publisher.make(tools, folder, project, "1.0")
    assert publisher.publish(tools, folder, target).returncode == 0
    before = digests(folder)
    publisher.make(tools, folder, project, "1.0", text="Another text.")
    assert digests(folder) != before
    done = publisher.publish(tools, folder, target, *publisher.aloud)
    said = " ".join(done.stdout.split())
    # hatch looks first, sees the name, and sends nothing.
    assert (done.returncode == 0) == (publisher is HATCH), done.stdout
    assert ("already exists" if publisher is HATCH else "File already exists: ") in said
    assert publisher is HATCH or "is in root/stable with other bytes." in said
    assert Listed(deployment, project)() == before


@pytest.mark.parametrize("publisher", PUBLISHERS, ids=str)
def test_a_name_that_was_removed_is_refused_in_words(
    deployment: Deployment, tools: Tools, token: str, publisher: Publisher, tmp_path: Path
) -> None:
    """A file that is not listed any more is sent by hatch too, which looks first: the tool shows the 409's sentence."""
    project, target = f"matrix-removed-{publisher}", Target(f"{deployment.api}/root/stable/", token)
    folder = tmp_path / "project"
    publisher.make(tools, folder, project, "1.0")
    assert publisher.publish(tools, folder, target).returncode == 0
    remover = deployment.token("--verbs", "read,remove")
    release = f"{deployment.api}/api/v1/indexes/root/stable/projects/{project}/releases/1.0"
    assert httpx2.delete(release, auth=("__token__", remover), timeout=20).status_code in {200, 202, 204}
    until = time.monotonic() + 10
    while Listed(deployment, project)() and time.monotonic() < until:
        time.sleep(0.05)
    done = publisher.publish(tools, folder, target, *publisher.aloud)
    assert done.returncode != 0, done.stdout
    assert "was removed from root/stable: its name cannot be used again." in " ".join(done.stdout.split())
    assert Listed(deployment, project)() == {}


@pytest.mark.parametrize("publisher", [PDM, POETRY], ids=str)
def test_skip_existing_takes_a_conflict_as_fine(
    deployment: Deployment, tools: Tools, token: str, publisher: Publisher, tmp_path: Path
) -> None:
    """With --skip-existing pdm and poetry understand the answer to other bytes, and end well without a change."""
    project, target = f"matrix-skip-{publisher}", Target(f"{deployment.api}/root/stable/", token)
    folder = tmp_path / "project"
    publisher.make(tools, folder, project, "1.0")
    assert publisher.publish(tools, folder, target).returncode == 0
    before = digests(folder)
    publisher.make(tools, folder, project, "1.0", text="Another text.")
    done = publisher.publish(tools, folder, target, "--skip-existing")
    assert done.returncode == 0, done.stdout
    assert Listed(deployment, project)() == before


@pytest.mark.parametrize("publisher", PUBLISHERS, ids=str)
def test_a_wrong_token_is_refused_in_words(
    deployment: Deployment, tools: Tools, publisher: Publisher, tmp_path: Path
) -> None:
    """With a token that is none, the tool fails with what the server says about it, and nothing is published."""
    project = f"matrix-wrong-{publisher}"
    folder = tmp_path / "project"
    publisher.make(tools, folder, project, "1.0")
    done = publisher.publish(tools, folder, Target(f"{deployment.api}/root/stable/", WRONG), *publisher.aloud)
    assert done.returncode != 0, done.stdout
    assert "the token is mistyped or cut short" in " ".join(done.stdout.split())
    assert Listed(deployment, project)() == {}


@pytest.mark.parametrize("publisher", PUBLISHERS, ids=str)
def test_a_token_of_another_project_is_refused_in_words(
    deployment: Deployment, tools: Tools, publisher: Publisher, tmp_path: Path
) -> None:
    """A token that was narrowed to one project does not publish another, and the tool shows that sentence."""
    project = f"matrix-narrow-{publisher}"
    folder = tmp_path / "project"
    publisher.make(tools, folder, project, "1.0")
    narrow = deployment.token("--project", "something-else", "--verbs", "upload")
    done = publisher.publish(tools, folder, Target(f"{deployment.api}/root/stable/", narrow), *publisher.aloud)
    assert done.returncode != 0, done.stdout
    assert "the token is not for this index, project or action" in " ".join(done.stdout.split())
    assert Listed(deployment, project)() == {}


def test_uv_sends_only_what_is_not_listed_yet(deployment: Deployment, tools: Tools, token: str, tmp_path: Path) -> None:
    """With --check-url a half-published release is completed: the file that is listed is not sent again."""
    folder = tmp_path / "project"
    UV.make(tools, folder, "matrix-check-url", "1.0")
    wheel, sdist = files_of(folder)
    with recording(deployment.api) as wire:
        index = f"{wire.url}/root/stable/"
        command = ("publish", "--trusted-publishing", "never", "--publish-url", index, "--token", token)
        checked = (*command, "--check-url", f"{index}+simple/")
        tools.done("uv", *command, wheel)
        assert len(wire.of("/root/stable/", "POST")) == 1
        tools.done("uv", *checked, wheel, sdist)
        assert len(wire.of("/root/stable/", "POST")) == 2
        tools.done("uv", *checked, wheel, sdist)
        assert len(wire.of("/root/stable/", "POST")) == 2
    assert Listed(deployment, "matrix-check-url")() == digests(folder)


def test_uv_sees_other_bytes_before_it_sends_them(
    deployment: Deployment, tools: Tools, token: str, tmp_path: Path
) -> None:
    """With --check-url a name that is listed with another digest ends in an error that names both."""
    folder = tmp_path / "project"
    UV.make(tools, folder, "matrix-check-conflict", "1.0")
    target = Target(f"{deployment.api}/root/stable/", token)
    assert UV.publish(tools, folder, target).returncode == 0
    before = digests(folder)
    UV.make(tools, folder, "matrix-check-conflict", "1.0", text="Another text.")
    options = ("--trusted-publishing", "never", "--publish-url", target.url, "--token", token)
    said = tools.refused("uv", "publish", *options, "--check-url", f"{target.url}+simple/", folder=folder)
    wheel = files_of(folder)[0]
    assert before[wheel.name] in said
    assert digests(folder)[wheel.name] in said


def test_many_releases_in_one_run_are_all_listed_when_the_tool_returns(
    deployment: Deployment, tools: Tools, token: str, tmp_path: Path
) -> None:
    """twine's loop over twelve files of six releases: each is visible the moment twine says so."""
    folder = tmp_path / "project"
    for version in range(6):
        UV.make(tools, folder, "matrix-many", f"1.{version}")
    began = time.monotonic()
    done = TWINE.publish(tools, folder, Target(f"{deployment.api}/root/stable/", token))
    assert done.returncode == 0, done.stdout
    assert time.monotonic() - began < 60
    assert Listed(deployment, "matrix-many")() == digests(folder)
    assert len(digests(folder)) == 12
