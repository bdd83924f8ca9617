"""The matrix of installers: pip, uv, poetry and pdm, unmodified, on a public and on a private index."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.support.archives import Project, make_sdist, make_wheel, sdist_name, wheel_name
from tests.support.clients import uv_publish
from tests.support.installers import (
    INSTALLERS,
    LOCKING,
    PIP,
    UV,
    Installer,
    Source,
    Wish,
    installed,
    make_environment,
    pip,
    uv,
)
from tests.support.processes import Deployment
from tests.support.tools import Tools
from tests.support.uploading import basic
from tests.support.waiting import until

JSON = "application/vnd.pypi.simple.v1+json"

VERBS = "read,upload,remove,configure"
"""What the tests do on their indexes."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """An index with projects on it, and where to put more."""

    deployment: Deployment
    index: str
    token: str
    folder: Path
    private: bool

    @property
    def source(self) -> Source:
        """Where to install from."""
        return Source(f"{self.deployment.api}/{self.index}/+simple/", self.token if self.private else "")

    def put(self, name: str, *versions: str, requires_python: str = ">=3.9", needs: Sequence[str] = ()) -> None:
        """Publish a wheel and an sdist of each version."""
        files = []
        for version in versions:
            wheel, sdist = self.folder / wheel_name(name, version), self.folder / sdist_name(name, version)
            lines = ["Provides-Extra: fast"]
            project = Project(name, version, requires_python=requires_python, requires_dist=needs, lines=lines)
            wheel.write_bytes(make_wheel(name, version, project=project))
            sdist.write_bytes(make_sdist(name, version, project=project))
            files += [wheel, sdist]
        done = uv_publish(f"{self.deployment.api}/{self.index}/", self.token, *files)
        assert done.returncode == 0, done.stderr

    def page(self, project: str) -> list[dict[str, object]]:
        """Return the files of a project's page."""
        url = f"{self.source.simple}{project}/"
        answer = httpx2.get(url, headers={"accept": JSON} | basic(self.token), timeout=20)
        assert answer.status_code == 200, answer.text
        files: list[dict[str, object]] = answer.json()["files"]
        return files

    def yank(self, project: str, version: str) -> None:
        """Yank a release and return once its page says so."""
        self._change("POST", f"{project}/releases/{version}/yank", {"reason": "It was a mistake."})

        def marks() -> set[object]:
            return {file["yanked"] for file in self.page(project) if f"-{version}" in str(file["filename"])}

        # Another replica than the one that answered may show the page from before for a moment.
        until("the mark", lambda: marks() == {"It was a mistake."})

    def mark(self, project: str, status: str) -> None:
        """Change a project's status and return once it is published."""
        self._change("PATCH", project, {"status": status, "reason": None})

    def remove(self, project: str, version: str) -> None:
        """Remove a release and return once that is published."""
        self._change("DELETE", f"{project}/releases/{version}", None)

    def _change(self, method: str, path: str, document: object) -> None:
        url = f"{self.deployment.api}/api/v1/indexes/{self.index}/projects/{path}"
        until = time.monotonic() + 20
        while True:
            # The same change again is no further change, and says whether it is published.
            answer = httpx2.request(method, url, json=document, headers=basic(self.token), timeout=20)
            assert answer.status_code in {200, 202}, answer.text
            if answer.status_code == 200:
                return
            assert time.monotonic() < until, answer.text
            time.sleep(0.05)


def stock(shelf: Shelf) -> Shelf:
    """Put on it what the tests install."""
    shelf.put("mx-lib", "1.0", "1.1")
    shelf.put("mx-lib", "2.0", requires_python=">=3.99")
    shelf.put("mx-extra", "1.0")
    shelf.put("mx-app", "1.0", needs=["mx-lib>=1", 'mx-extra; extra == "fast"'])
    shelf.put("mx-local", "1.0", "1.0+cpu.1")
    shelf.put("mx-pre", "1.0", "2.0rc1")
    return shelf


@pytest.fixture(scope="module")
def public(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """The public index, stocked."""
    folder = tmp_path_factory.mktemp("public")
    return stock(Shelf(deployment, "root/stable", deployment.token("--verbs", VERBS), folder, private=False))


@pytest.fixture(scope="module")
def private(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """A private index, stocked."""
    assert deployment.command("index", "create", "--private", "root/matrix").returncode == 0
    folder, token = tmp_path_factory.mktemp("private"), deployment.token("--verbs", VERBS, index="root/matrix")
    return stock(Shelf(deployment, "root/matrix", token, folder, private=True))


@pytest.fixture(params=["public", "private"])
def shelf(request: pytest.FixtureRequest) -> Shelf:
    """Either index."""
    found: Shelf = request.getfixturevalue(request.param)
    return found


each_installer = pytest.mark.parametrize("installer", INSTALLERS, ids=str)
each_locking = pytest.mark.parametrize("installer", LOCKING, ids=str)


@each_installer
def test_an_extra_and_dependencies_between_hosted_projects_are_installed(
    shelf: Shelf, tools: Tools, installer: Installer, tmp_path: Path
) -> None:
    """Extras and dependencies come from the same index, and of each project the newest that this Python may run."""
    wish = Wish("mx-app[fast]", shelf.source, tmp_path / "consumer")
    assert installer.install(tools, wish) == {"mx-app": "1.0", "mx-lib": "1.1", "mx-extra": "1.0"}


@each_installer
def test_a_local_version_is_installed_when_it_is_pinned(
    public: Shelf, tools: Tools, installer: Installer, tmp_path: Path
) -> None:
    """`+` in a version, a file name and a URL, as each tool spells it."""
    wish = Wish("mx-local==1.0+cpu.1", public.source, tmp_path / "consumer")
    assert installer.install(tools, wish) == {"mx-local": "1.0+cpu.1"}


@each_installer
def test_a_pre_release_is_left_alone_until_it_is_asked_for(
    public: Shelf, tools: Tools, installer: Installer, tmp_path: Path
) -> None:
    """Without a word about it the newest final release is installed, with a pin the pre-release."""
    assert installer.install(tools, Wish("mx-pre", public.source, tmp_path / "a")) == {"mx-pre": "1.0"}
    assert installer.install(tools, Wish("mx-pre==2.0rc1", public.source, tmp_path / "b")) == {"mx-pre": "2.0rc1"}


@pytest.fixture(scope="module")
def yanked(public: Shelf) -> Shelf:
    """The public index with a project whose newest release is yanked."""
    public.put("mx-yanked", "1.0", "1.1")
    public.yank("mx-yanked", "1.1")
    return public


@each_installer
def test_a_yanked_release_is_chosen_only_when_it_is_pinned(
    yanked: Shelf, tools: Tools, installer: Installer, tmp_path: Path
) -> None:
    """After a yank the release before is installed; who pins the yanked one still gets it."""
    assert installer.install(tools, Wish("mx-yanked", yanked.source, tmp_path / "a")) == {"mx-yanked": "1.0"}
    assert installer.install(tools, Wish("mx-yanked==1.1", yanked.source, tmp_path / "b")) == {"mx-yanked": "1.1"}


@each_locking
def test_a_lock_made_before_is_installable_after_new_uploads(
    shelf: Shelf, tools: Tools, installer: Installer, tmp_path: Path
) -> None:
    """A lock with hashes keeps naming files that are there, whatever was published since; its bytes do not change."""
    project = f"mx-locked-{installer}"
    shelf.put(project, "1.0")
    wish = Wish(f"{project}>=1", shelf.source, tmp_path / "consumer")
    assert installer.install(tools, wish) == {project: "1.0"}
    lock = wish.folder / installer.lockfile
    before = lock.read_bytes()
    for file in shelf.page(project):
        assert str(file["hashes"]["sha256"]) in before.decode()  # type: ignore[index]
    shelf.put(project, "1.1")
    shutil.rmtree(wish.environment)
    # With another home, so that nothing comes from a cache.
    fresh = Tools(tools.programs, tmp_path / "other")
    fresh.home.mkdir()
    assert installer.install_locked(fresh, wish) == {project: "1.0"}
    assert lock.read_bytes() == before


@each_locking
def test_a_yanked_release_stays_installable_from_a_lock(
    public: Shelf, tools: Tools, installer: Installer, tmp_path: Path
) -> None:
    """Who locked a release before it was yanked can still install it."""
    project = f"mx-late-{installer}"
    public.put(project, "1.0", "1.1")
    wish = Wish(project, public.source, tmp_path / "consumer")
    assert installer.install(tools, wish) == {project: "1.1"}
    public.yank(project, "1.1")
    shutil.rmtree(wish.environment)
    fresh = Tools(tools.programs, tmp_path / "other")
    fresh.home.mkdir()
    assert installer.install_locked(fresh, wish) == {project: "1.1"}


def test_pip_and_uv_take_requirements_with_hashes(shelf: Shelf, tools: Tools, tmp_path: Path) -> None:
    """A requirements file that uv compiled with hashes is installed by pip and by uv, which demand every hash."""
    wanted, locked = tmp_path / "requirements.in", tmp_path / "requirements.txt"
    wanted.write_text("mx-app[fast]\n")
    source = shelf.source.with_token
    tools.done("uv", "pip", "compile", "--default-index", source, "--generate-hashes", wanted, "-o", locked)
    assert locked.read_text().count("--hash=sha256:") == 6
    expected = {"mx-app": "1.0", "mx-lib": "1.1", "mx-extra": "1.0"}
    options = ("--require-hashes", "-r", locked)
    for name, command in (("pip", ("pip", "--python")), ("uv", ("uv", "pip", "install", "--python"))):
        wish = Wish("", shelf.source, tmp_path / name)
        make_environment(tools, wish)
        arguments = (*command[1:], wish.python, *(("install",) if name == "pip" else ()))
        tools.done(command[0], *arguments, "--index-url", source, *options)
        assert installed(wish.environment) == expected


def test_a_wrong_hash_is_refused_by_pip_and_uv(public: Shelf, tools: Tools, tmp_path: Path) -> None:
    """A requirement whose hash is not that of a listed file is not installed."""
    locked = tmp_path / "requirements.txt"
    locked.write_text(f"mx-lib==1.0 --hash=sha256:{'0' * 64}\n")
    wish = Wish("", public.source, tmp_path / "consumer")
    make_environment(tools, wish)
    options = ("--require-hashes", "--index-url", public.source.simple, "-r", locked)
    tools.refused("pip", "--python", wish.python, "install", *options)
    tools.refused("uv", "pip", "install", "--python", wish.python, *options)
    assert installed(wish.environment) == {}


def test_pip_downloads_and_lists_versions(shelf: Shelf, tools: Tools, tmp_path: Path) -> None:
    """`pip download` brings the published bytes of a project and its dependencies; `pip index versions` lists them."""
    source = ("--index-url", shelf.source.with_token)
    tools.done("pip", "download", *source, "--dest", tmp_path / "down", "mx-app")
    names = {wheel_name("mx-app", "1.0"), wheel_name("mx-lib", "1.1")}
    assert {path.name for path in (tmp_path / "down").iterdir()} == names
    for name in names:
        assert (tmp_path / "down" / name).read_bytes() == (shelf.folder / name).read_bytes()
    said = tools.done("pip", "index", "versions", *source, "mx-lib")
    assert re.search(r"^Available versions: 1\.1, 1\.0$", said, re.MULTILINE), said


def cooldown_cases() -> list[tuple[Installer, Callable[[Tools, Wish, str], str]]]:
    """Return the tools that can leave out what was uploaded after a time, and how they are told."""
    return [
        (PIP, lambda tools, wish, time_: pip(tools, wish, "--uploaded-prior-to", time_)),
        (UV, lambda tools, wish, time_: uv(tools, wish, "--exclude-newer", time_)),
    ]


@pytest.mark.parametrize(("installer", "install"), cooldown_cases(), ids=["pip", "uv"])
def test_what_was_uploaded_after_a_time_is_left_out_on_demand(
    shelf: Shelf, tools: Tools, installer: Installer, install: Callable[[Tools, Wish, str], str], tmp_path: Path
) -> None:
    """pip --uploaded-prior-to and uv --exclude-newer go by the upload times of the page."""
    project = f"mx-young-{installer}"
    shelf.put(project, "1.0")
    time.sleep(1.1)
    shelf.put(project, "2.0")
    since = min(str(file["upload-time"]) for file in shelf.page(project) if "-2.0" in str(file["filename"]))
    wish = Wish(project, shelf.source, tmp_path / "consumer")
    install(tools, wish, since)
    assert installed(wish.environment) == {project: "1.0"}
    install(tools, Wish(f"{project}>=2", shelf.source, tmp_path / "now"), "2999-01-01T00:00:00Z")
    assert installed(tmp_path / "now" / ".venv") == {project: "2.0"}


@each_installer
def test_a_private_index_is_shut_without_its_token(
    private: Shelf, tools: Tools, installer: Installer, tmp_path: Path
) -> None:
    """With a wrong token nothing is installed, and the tool ends with an error instead of a question."""
    wish = Wish("mx-lib", Source(private.source.simple, "cmk_1" + "0" * 49), tmp_path / "consumer")
    with pytest.raises(AssertionError, match=r"No matching distribution|[Aa]uthoriz|CandidateNotFound"):
        installer.install(tools, wish)
    assert installed(wish.environment) == {}


@pytest.mark.parametrize("installer", [PIP, UV], ids=str)
def test_a_quarantined_project_is_not_installed_until_it_is_released(
    public: Shelf, tools: Tools, installer: Installer, tmp_path: Path
) -> None:
    """No installer looks at the status, so nothing is offered; released again, it installs as before."""
    project = f"mx-suspect-{installer}"
    public.put(project, "1.0")
    public.mark(project, "quarantined")
    wish = Wish(project, public.source, tmp_path / "consumer")
    with pytest.raises(AssertionError, match=r"No matching distribution|no versions of"):
        installer.install(tools, wish)
    assert installed(wish.environment) == {}
    public.mark(project, "active")
    fresh = Tools(tools.programs, tmp_path / "other")
    fresh.home.mkdir()
    assert installer.install(fresh, wish) == {project: "1.0"}


def test_an_archived_project_is_installed_and_takes_no_uploads(public: Shelf, tools: Tools, tmp_path: Path) -> None:
    """Its files stay; who uploads to it is told why not."""
    public.put("mx-done", "1.0")
    public.mark("mx-done", "archived")
    assert UV.install(tools, Wish("mx-done", public.source, tmp_path / "consumer")) == {"mx-done": "1.0"}
    with pytest.raises(AssertionError, match="archived"):
        public.put("mx-done", "1.1")
    assert {str(file["filename"]) for file in public.page("mx-done")} == {
        wheel_name("mx-done", "1.0"),
        sdist_name("mx-done", "1.0"),
    }


@pytest.mark.parametrize("installer", [PIP, UV], ids=str)
def test_a_removed_release_is_gone_and_its_names_stay_taken(
    public: Shelf, tools: Tools, installer: Installer, tmp_path: Path
) -> None:
    """After a release is removed the one before is installed, and nobody can put other bytes under its names."""
    project = f"mx-removed-{installer}"
    public.put(project, "1.0", "1.1")
    public.remove(project, "1.1")
    wish = Wish(project, public.source, tmp_path / "consumer")
    assert installer.install(tools, wish) == {project: "1.0"}
    with pytest.raises(AssertionError, match="removed"):
        public.put(project, "1.1")
