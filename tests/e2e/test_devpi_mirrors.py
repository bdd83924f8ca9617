"""Mirrors as a team uses them with the devpi client, unmodified: settings, lists, installs, refresh, push to a stage.

The same sessions run against a real devpi-server; where it answers otherwise, both answers are here.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.support.archives import Project, make_sdist, make_wheel, sdist_name, wheel_name
from tests.support.clients import VerifyingClient
from tests.support.devpi_client import DevpiClient, client_of_root
from tests.support.devpi_server import devpi_server
from tests.support.installers import installed
from tests.support.processes import Deployment
from tests.support.tools import Tools
from tests.support.upstream_process import UpstreamProcess, upstream_process
from tests.support.waiting import until

WORLD = "root/world"
"""The mirror."""


@dataclass(frozen=True, slots=True)
class Site:
    """A server with a mirror, the client of its root, and the upstream."""

    devpi: DevpiClient
    upstream: UpstreamProcess
    ours: bool

    @property
    def url(self) -> str:
        """Of the server."""
        return self.devpi.url

    def release(self, name: str, version: str, *needs: str) -> dict[str, bytes]:
        """Publish a wheel and a source archive upstream; returns them by name."""
        project = Project(name, version, requires_dist=needs)
        files = {
            wheel_name(name, version): make_wheel(name, version, project=project),
            sdist_name(name, version): make_sdist(name, version, project=project),
        }
        for file_name, content in files.items():
            self.upstream.add(name, file_name, content)
        return files

    def stage(self, name: str, *options: str) -> str:
        """Make a stage on the mirror; returns its name."""
        self.devpi("index", "-c", f"root/{name}", f"bases={WORLD}", *options)
        return f"root/{name}"

    def listed(self, index: str, name: str) -> list[str]:
        """Return what `devpi list` prints of a project, without the server's address."""
        return [path.removeprefix(f"{self.url}/") for path in self.devpi("list", "--index", index, name).split()]


@pytest.fixture(scope="module", params=["ours", pytest.param("devpi-server", marks=pytest.mark.embedded)])
def site(
    request: pytest.FixtureRequest, tool_programs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Ours, and devpi's own server: on each a mirror, which keeps pages for half an hour."""
    home = tmp_path_factory.mktemp("home")
    tools = Tools(tool_programs, home)
    with upstream_process(home) as upstream:
        if request.param == "ours":
            deployment: Deployment = request.getfixturevalue("deployment")
            yield _made(Site(client_of_root(deployment, tools), upstream, ours=True))
            return
        programs = request.getfixturevalue("devpi_server_programs")
        with (
            tempfile.TemporaryDirectory(prefix="cm-", ignore_cleanup_errors=True) as folder,
            devpi_server(programs, Path(folder), offline=False) as url,
        ):
            devpi = DevpiClient(tools, url)
            devpi.login("root", "")
            yield _made(Site(devpi, upstream, ours=False))


def _made(site: Site) -> Site:
    site.release("far", "1.0", "near>=1.0")
    site.release("far", "2.0", "near>=1.0")
    for name in ("near", "waits", "shipped"):
        site.release(name, "1.0")
    upstream = f"mirror_url={site.upstream.url}/simple/"
    said = site.devpi("index", "-c", WORLD, "type=mirror", "volatile=False", upstream)
    for line in ("type=mirror", "volatile=False", upstream):
        assert f"  {line}\n" in said
    return site


def test_settings(site: Site) -> None:
    """A mirror's settings are shown and changed one by one; what is none is refused in devpi's words."""
    devpi = site.devpi
    devpi("index", "-c", "root/set", "type=mirror", f"mirror_url={site.upstream.url}/simple/")
    said = devpi("index", "root/set", "mirror_cache_expiry=60", "title=All of it", "mirror_no_project_list=True")
    for line in ("type=mirror", "volatile=True", "mirror_cache_expiry=60", "title=All of it"):
        assert f"  {line}\n" in said
    assert "mirror_no_project_list=True" in said
    assert "400 Bad Request: 'mirror_url' option must be a URL." in devpi.refused(
        "index", "root/set", "mirror_url=ftp://there.test/"
    )
    assert "400 Bad Request: 'mirror_cache_expiry' option must be an integer" in devpi.refused(
        "index", "root/set", "mirror_cache_expiry=soon"
    )
    assert "bases" not in devpi("index", "root/set", f"bases={WORLD}").partition("root/set?no_projects")[2]
    assert "mirror_url" not in devpi("index", "root/set", "mirror_url-=").partition("root/set?no_projects")[2]
    assert f"index deleted: {site.url}/root/set" in devpi("index", "-y", "--delete", "root/set")


def test_lists(site: Site) -> None:
    """`list` shows a mirror's files where they are, also through a stage; a stage's own list has its own alone."""
    stage, far = site.stage("lists"), ("far-2.0-py3-none-any.whl", "far-2.0.tar.gz")
    for index in (stage, WORLD):
        paths = site.listed(index, "far")
        assert [path.rpartition("/")[2] for path in paths if "-2.0" in path] == list(far)
        assert len(paths) == 4
        assert all(re.fullmatch(rf"{WORLD}/\+f/\w{{3}}/\w{{13}}/far-.+", path) for path in paths)
    assert site.devpi("list", "--index", stage).split() == []
    assert {"far", "near"} <= set(site.devpi("list", "--index", WORLD).split())
    shown = site.devpi("list", "--index", WORLD, "-v", "--all").split()
    assert {"far==1.0", "far==2.0", "near==1.0"} <= set(shown)
    assert "404 Not Found: no project 'nowhere'" in site.devpi.refused("list", "--index", stage, "nowhere")
    version = json.loads(site.devpi("getjson", f"{site.url}/{stage}/far/1.0"))["result"]
    assert (version["name"], version["version"]) == ("far", "1.0")
    assert ["log" in link for link in version["+links"]] == [False, False]


def test_install(site: Site, tools: Tools, tmp_path: Path) -> None:
    """`devpi install` installs from a stage what only the mirror has, and once more with the upstream gone."""
    site.devpi("use", site.stage("install"))
    try:
        for environment in (tmp_path / "before", tmp_path / "after"):
            tools.done("python", "-m", "venv", environment)
            site.devpi("install", "--venv", environment, "far==1.0")
            assert installed(environment) == {"far": "1.0", "near": "1.0"}
            site.upstream.break_at("", status=503)
    finally:
        site.upstream.break_at("")


def test_refresh(site: Site) -> None:
    """A page that counts as fresh is asked for anew by `refresh`; a project that nobody has is told."""
    stage = site.stage("refresh")
    site.devpi("use", stage)
    assert len(site.listed(stage, "waits")) == 2
    site.release("waits", "1.1")
    assert len(site.listed(stage, "waits")) == 2
    said = site.devpi("refresh", "waits")
    assert ("Refreshed waits" in said, "Couldn't" in said) == (True, False)
    # The other process hears of it a moment later.
    until("the new release", lambda: len(site.listed(stage, "waits")) == 4, 10)
    status = "404 Not Found" if site.ours else "500 Internal Server Error"
    assert status in site.devpi("refresh", "nowhere")


def test_push(site: Site, tmp_path: Path) -> None:
    """A release of the mirror becomes the stage's own: its log begins with the push, and ours can then prove it."""
    files = site.release("shipped", "1.0")  # As it is there already.
    stage = site.stage("push", "volatile=False", "mirror_whitelist=*")
    countermark = VerifyingClient(tmp_path / "home")
    proving = ("shipped", "--repository", f"{site.url}/{stage}", "--trust-on-first-use", "--dest", str(tmp_path / "to"))
    if site.ours:
        root = f"{site.url}/{stage}/+tuf/metadata/1.root.json"
        until("the stage's first publication", lambda: httpx2.get(root).is_success)
        done = countermark("download", *proving)
        assert (done.returncode, f"mirrors {WORLD} have is not signed" in done.stderr) == (11, True), done.stderr
    assert f"there are no files for shipped 1.0 on stage {stage}" in site.devpi.refused(
        "push", "--index", stage, "shipped==1.0", stage
    )
    said = " ".join(site.devpi("push", "--index", WORLD, "shipped==1.0", stage).split())
    assert f"200 register shipped 1.0 -> {stage}" in said
    for name in files:
        assert re.search(rf"200 store_releasefile {stage}/\+f/\w{{3}}/\w{{13}}/{re.escape(name)}", said)
    assert site.devpi("list", "--index", stage).split() == ["shipped"]
    own = [path for path in site.listed(stage, "shipped") if path.startswith(stage)]
    assert len(own) == 2
    links = json.loads(site.devpi("getjson", f"{site.url}/{stage}/shipped/1.0"))["result"]["+links"]
    told = [(entry["what"], entry["who"], entry["src"], entry["dst"]) for link in links for entry in link["log"]]
    assert told == [("push", "root", WORLD, stage)] * 2
    assert "already exists in non-volatile index" in site.devpi.refused("push", "--index", WORLD, "shipped==1.0", stage)
    assert f"there are no files for shipped 9 on stage {WORLD}" in site.devpi.refused(
        "push", "--index", WORLD, "shipped==9", stage
    )
    if site.ours:
        done = countermark("download", *proving, "--json")
        steps = [json.loads(line) for line in done.stdout.splitlines()]
        assert (done.returncode, steps[-1]["step"]) == (0, "done"), done.stderr
        assert {step["index"] for step in steps if step["step"] == "pointer"} == {stage}
        (proven,) = (tmp_path / "to").iterdir()
        assert proven.read_bytes() == files[proven.name]


def test_what_a_stage_has_is_its_own(site: Site) -> None:
    """A pushed name hides the mirror's versions of it; a whitelist shows the others again."""
    stage = site.stage("shadows")
    site.devpi("push", "--index", WORLD, "far==1.0", stage)
    assert {path.partition("/+f/")[0] for path in site.listed(stage, "far")} == {stage}
    site.devpi("index", stage, "mirror_whitelist=far")
    shown = site.listed(stage, "far")
    assert [path.partition("/+f/")[0] for path in shown if "-2.0" in path] == [WORLD] * 2
    # devpi-server's documents repeat what is shadowed; pages of neither do.
    assert [path.partition("/+f/")[0] for path in shown if "-1.0" in path] == (
        [stage] * 2 if site.ours else [stage] * 2 + [WORLD] * 2
    )


def test_nothing_is_put_into_a_mirror_or_taken_out(site: Site, tmp_path: Path) -> None:
    """Neither by an upload nor, as it is not volatile, by a removal."""
    file = tmp_path / wheel_name("mine", "1.0")
    file.write_bytes(make_wheel("mine", "1.0"))
    assert "cannot submit to mirror index" in site.devpi.refused("upload", "--index", WORLD, file)
    said = site.devpi.refused("remove", "-y", "--index", WORLD, "far==2.0")
    assert "403 Forbidden: cannot delete version on non-volatile index" in said
    assert len(site.listed(WORLD, "far")) == 4


def test_an_upstream_that_is_away(site: Site) -> None:
    """What is known is listed and pushed; of what is not, ours says that nobody can tell."""
    stage = site.stage("away")
    other = site.stage("away-too")
    site.devpi("push", "--index", WORLD, "near==1.0", stage)
    assert len(site.listed(WORLD, "far")) == 4
    site.upstream.break_at("", status=503)
    try:
        assert len(site.listed(stage, "far")) == 4
        site.devpi("push", "--index", WORLD, "near==1.0", other)
        assert len(site.listed(other, "near")) == 2
        said = site.devpi.refused("list", "--index", WORLD, "unheard-of")
        if site.ours:
            assert f"502 Bad Gateway: the upstream of {WORLD} gives no answer" in said
            assert "502 Bad Gateway" in site.devpi.refused("push", "--index", WORLD, "unheard-of==1.0", other)
        else:
            assert "404 Not Found: no project 'unheard-of'" in said
    finally:
        site.upstream.break_at("")
