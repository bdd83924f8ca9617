"""A team's whole life with the devpi client, unmodified: each chapter is a session, with what the client prints.

The same sessions run against a real devpi-server, so that the words asserted here are devpi's.
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

from tests.support.archives import wheel_name
from tests.support.devpi_client import DevpiClient, make_dist, make_docs, make_project
from tests.support.devpi_server import devpi_server
from tests.support.installers import installed
from tests.support.tools import Tools

PASSWORD = "correct horse battery"
"""Of every account made here."""


@dataclass(frozen=True, slots=True)
class Site:
    """A running server, and the password of its root."""

    url: str
    root: str


@pytest.fixture(scope="module", params=["ours", pytest.param("devpi-server", marks=pytest.mark.embedded)])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Ours, with its safe defaults and a password of root that was set by command; and devpi's own server."""
    if request.param == "ours":
        deployment = request.getfixturevalue("deployment")
        file = tmp_path_factory.mktemp("root") / "password"
        file.write_text(PASSWORD)
        done = deployment.command("user", "passwd", "root", "--password-file", str(file))
        assert done.returncode == 0, done.stderr
        yield Site(deployment.api, PASSWORD)
        return
    programs = request.getfixturevalue("devpi_server_programs")
    with (
        tempfile.TemporaryDirectory(prefix="cm-", ignore_cleanup_errors=True) as folder,
        devpi_server(programs, Path(folder)) as url,
    ):
        yield Site(url, "")


@pytest.fixture(scope="module")
def root(site: Site, tool_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> DevpiClient:
    """The client of root, logged in once: how many logins an address may try is limited."""
    client = DevpiClient(Tools(tool_programs, tmp_path_factory.mktemp("home")), site.url)
    client.login("root", site.root)
    return client


@pytest.fixture
def devpi(root: DevpiClient, tools: Tools, me: str) -> DevpiClient:
    """The client of a new account, which is called as the test, logged in; it uses an index `dev` of its own."""
    root("user", "-c", me, f"password={PASSWORD}")
    client = DevpiClient(tools, root.url)
    client.login(me, PASSWORD)
    client("index", "-c", "dev")
    client("use", f"{me}/dev")
    return client


@pytest.fixture
def me(request: pytest.FixtureRequest) -> str:
    """The account of the test."""
    return "of-" + re.sub(r"\[.*|^test_", "", request.node.name).replace("_", "-")


def test_accounts(site: Site, tools: Tools) -> None:
    """Use, login, make, change and remove an account, a new password, log off."""
    devpi = DevpiClient(tools, site.url)
    assert f"using server: {site.url}/ (not logged in)" in devpi("use", site.url)
    assert "401 Unauthorized: user 'root' could not be authenticated" in devpi.refused(
        "login", "root", "--password=wrong"
    )
    assert "logged in 'root', credentials valid for 10.00 hours" in devpi("login", "root", f"--password={site.root}")
    assert "logged in as root" in devpi("use")

    assert "user created: carol" in devpi("user", "-c", "carol", f"password={PASSWORD}", "email=carol@example.org")
    assert "409 Conflict: user already exists" in devpi.refused("user", "-c", "carol", "password=x")
    assert {"root", "carol"} <= set(devpi("user", "-l").split())
    said = devpi("user", "-m", "carol", "title=Head of carols")
    assert "/carol changing title: Head of carols" in said
    assert "user modified: carol" in said
    said = devpi("user", "carol")
    assert "  email=carol@example.org\n" in said
    assert "  title=Head of carols\n" in said

    assert "logged in 'carol'" in devpi("login", "carol", f"--password={PASSWORD}")
    assert "user modified: carol" in devpi("passwd", answers="another of carol\n" * 2)
    assert "401 Unauthorized" in devpi.refused("login", "carol", f"--password={PASSWORD}")
    assert "logged in 'carol'" in devpi("login", "carol", "--password=another of carol")
    assert "403 Forbidden" in devpi.refused("user", "-m", "root", "title=Mine")
    assert "user deleted: carol" in devpi("user", "-y", "--delete", "carol")

    assert "login information deleted" in devpi("logoff")
    assert "not logged in" in devpi("logoff")
    assert f"using server: {site.url}/ (not logged in)" in devpi("use")


def test_indexes(devpi: DevpiClient, me: str) -> None:
    """Make an index with bases, change its options one by one, list, show and remove it."""
    said = devpi("index", "-c", "prod", "volatile=False", f"bases={me}/dev")
    assert f"{devpi.url}/{me}/prod?no_projects=:" in said
    for line in ("type=stage", f"bases={me}/dev", "volatile=False", f"acl_upload={me}"):
        assert f"  {line}\n" in said
    assert f"409 Conflict: index '{me}/prod' exists" in devpi.refused("index", "-c", "prod")
    assert "400 Bad Request: base index 'no/where' does not exist" in devpi.refused(
        "index", "-c", "x", "bases=no/where"
    )

    said = devpi("index", "prod", "acl_upload+=root", "title=What we ship", "mirror_whitelist=Foo_Bar,*")
    assert f"/{me}/prod acl_upload+=root" in said
    assert f"  acl_upload={me},root\n" in said
    assert "  mirror_whitelist=foo-bar,*\n" in said
    assert "  title=What we ship\n" in said
    assert f"  acl_upload={me}\n" in devpi("index", "prod", "acl_upload-=root")
    assert "title=" not in devpi("index", "prod", "title-=")
    assert "400 Bad Request: The 'acl_upload' setting doesn't have value 'x'" in devpi.refused(
        "index", "prod", "acl_upload-=x"
    )
    assert "400 Bad Request: indexconfig got unexpected keyword arguments: shoe=42" in devpi.refused(
        "index", "prod", "shoe=42"
    )

    assert devpi("index", "-l").split() == [f"{me}/dev", f"{me}/prod"]
    assert f"current devpi index: {devpi.url}/{me}/prod (logged in as {me})" in devpi("use", "prod")
    assert re.search(rf"^{me}/prod +bases={me}/dev +volatile=False$", devpi("use", "-l"), re.MULTILINE)
    assert f"403 Forbidden: index {me}/prod non-volatile, cannot delete" in devpi.refused(
        "index", "-y", "--delete", "prod"
    )
    devpi("index", "prod", "volatile=True")
    assert f"index deleted: {devpi.url}/{me}/prod" in devpi("index", "-y", "--delete", "prod")


def test_upload(devpi: DevpiClient, me: str, tmp_path: Path) -> None:
    """Build and upload wheel and source archive of a project, list them, and read their documents."""
    project = make_project(tmp_path / "project", "hello-upload", "1.0")
    said = devpi("upload", folder=project)
    for name in ("hello_upload-1.0-py3-none-any.whl", "hello_upload-1.0.tar.gz"):
        assert f"file_upload of {name} to {devpi.url}/{me}/dev/" in said

    assert devpi("list").split() == ["hello-upload"]
    assert devpi("list", "-v").split() == ["hello-upload==1.0"]
    paths = devpi("list", "hello-upload").split()
    assert [path.rpartition("/")[2] for path in paths] == [
        "hello_upload-1.0-py3-none-any.whl",
        "hello_upload-1.0.tar.gz",
    ]
    assert all(path.startswith(f"{devpi.url}/{me}/dev/+f/") for path in paths)

    document = json.loads(devpi("getjson", "hello-upload/1.0"))
    assert document["type"] == "versiondata"
    about = document["result"]
    assert (about["name"], about["version"], about["summary"]) == ("hello-upload", "1.0", "Says hello.")
    assert about["requires_python"] == ">=3.9"
    link = about["+links"][0]
    assert link["rel"] == "releasefile"
    assert (link["log"][0]["what"], link["log"][0]["who"], link["log"][0]["dst"]) == ("upload", me, f"{me}/dev")
    assert link["hash_spec"] == f"sha256={link['hashes']['sha256']}"
    assert json.loads(devpi("getjson", f"{devpi.url}/{me}/dev"))["result"]["projects"] == ["hello-upload"]


def test_upload_again(devpi: DevpiClient, me: str, tmp_path: Path) -> None:
    """Other bytes of the same name replace the file on a volatile index, and are refused in words on a final one."""
    project = make_project(tmp_path / "project", "hello-again", "1.0")
    devpi("upload", folder=project)
    before = devpi("list", "hello-again").split()
    make_project(project, "hello-again", "1.0", text="good evening")
    devpi("upload", folder=project)
    after = devpi("list", "hello-again").split()
    assert len(after) == 2
    assert set(before).isdisjoint(after)
    assert httpx2.get(before[0]).status_code == 410

    devpi("index", "dev", "volatile=False")
    make_project(project, "hello-again", "1.0", text="good night")
    said = devpi.refused("upload", folder=project)
    name = "hello_again-1.0-py3-none-any.whl"
    assert f"409 FAIL file_upload of {name} to {devpi.url}/{me}/dev/" in said
    assert f"{name} already exists in non-volatile index" in said
    assert f"POST to {devpi.url}/{me}/dev/ FAILED" in said
    assert devpi("list", "hello-again").split() == after


def test_upload_of_a_folder(devpi: DevpiClient, me: str, tmp_path: Path) -> None:
    """`upload --from-dir` takes every archive below a folder, `--only-latest` the newest of each project."""
    folder = make_dist(tmp_path / "dist", "1.0", "1.1", "2.0", name="hello-folder")
    said = devpi("upload", "--from-dir", "--only-latest", folder)
    assert said.count("file_upload of ") == 1
    assert f"file_upload of hello_folder-2.0.tar.gz to {devpi.url}/{me}/dev/" in said
    said = devpi("upload", "--from-dir", folder)
    assert said.count("file_upload of ") == 6
    assert devpi("list", "-v", "--all").split() == ["hello-folder==1.0", "hello-folder==1.1", "hello-folder==2.0"]


def test_push(devpi: DevpiClient, me: str, tmp_path: Path) -> None:
    """A release is pushed with all its files and documentation; a second time it is refused, and nothing changes."""
    devpi("index", "-c", "prod", "volatile=False")
    devpi("upload", "--from-dir", make_dist(tmp_path / "dist", "1.0", name="hello-push"))
    devpi("upload", make_docs(tmp_path, "hello-push-1.0.doc.zip", "How it is pushed."))
    said = " ".join(devpi("push", "hello-push==1.0", f"{me}/prod").split())
    assert f"200 register hello-push 1.0 -> {me}/prod" in said
    for name in ("hello_push-1.0-py3-none-any.whl", "hello_push-1.0.tar.gz"):
        assert re.search(rf"200 store_releasefile {me}/prod/\+f/\w{{3}}/\w{{13}}/{re.escape(name)}", said)
    assert f"200 store_doczip hello-push 1.0 -> {me}/prod" in said
    assert devpi("list", "--index", f"{me}/prod").split() == ["hello-push"]
    links = json.loads(devpi("getjson", f"{devpi.url}/{me}/prod/hello-push/1.0"))["result"]["+links"]
    assert [[entry["what"] for entry in link["log"]] for link in links if link["rel"] == "releasefile"] == [
        ["upload", "push"],
        ["upload", "push"],
    ]

    said = devpi.refused("push", "hello-push==1.0", f"{me}/prod")
    assert "409 Conflict: hello_push-1.0" in said
    assert "already exists in non-volatile index" in said
    assert f"400 Bad Request: there are no files for hello-push 9 on stage {me}/dev" in devpi.refused(
        "push", "hello-push==9", f"{me}/prod"
    )
    assert "404 Not Found: The stage no/where could not be found." in devpi.refused(
        "push", "hello-push==1.0", "no/where"
    )


def test_push_onward(devpi: DevpiClient, tmp_path: Path) -> None:
    """A release is pushed to what a `.pypirc` names only where the server was told that it may."""
    devpi("upload", "--from-dir", make_dist(tmp_path / "dist", "1.0", name="hello-onward"))
    (devpi.tools.home / ".pypirc").write_text(
        "[distutils]\nindex-servers = away\n"
        "[away]\nrepository: http://127.0.0.1:9/legacy/\nusername: someone\npassword: secret\n"
    )
    said = devpi.refused("push", "hello-onward==1.0", "pypi:away")
    assert "using pypirc" in said
    assert "Failure during upload" in said


def test_remove(devpi: DevpiClient, me: str, tmp_path: Path) -> None:
    """A release and a project are removed from a volatile index; from a final one by force alone."""
    devpi("upload", "--from-dir", make_dist(tmp_path / "dist", "1.0", "1.1", "2.0", name="hello-remove"))
    paths = devpi("list", "--all", "hello-remove").split()
    said = devpi("remove", "-y", "hello-remove==1.0")
    assert "About to remove the following releases and distributions" in said
    assert "deleting release 1.0 of hello-remove" in said
    assert devpi("list", "-v", "--all").split() == ["hello-remove==1.1", "hello-remove==2.0"]
    gone = [path for path in paths if "-1.0" in path]
    assert [httpx2.get(path).status_code for path in gone] == [410, 410]
    assert "No releases or distributions found matching 'hello-remove==1.0'." in devpi.refused(
        "remove", "-y", "hello-remove==1.0"
    )
    file = next(path for path in paths if path.endswith("-1.1.tar.gz"))
    devpi("remove", "-y", file)
    assert httpx2.get(file).status_code == 410
    assert file not in devpi("list", "--all", "hello-remove")

    devpi("index", "dev", "volatile=False")
    assert "403 Forbidden" in devpi.refused("remove", "-y", "hello-remove==2.0")
    devpi("remove", "-y", "-f", "hello-remove==2.0")
    devpi("index", "dev", "volatile=True")
    devpi("remove", "-y", "hello-remove")
    assert devpi("list").split() == []


def test_refresh(devpi: DevpiClient, tmp_path: Path) -> None:
    """`refresh` succeeds on an index of one's own, where there is nothing to ask upstream for."""
    devpi("upload", "--from-dir", make_dist(tmp_path / "dist", "1.0", name="hello-refresh"))
    said = devpi("refresh", "hello-refresh")
    assert "Refreshed hello-refresh" in said
    assert "Couldn't" not in said


def test_test(devpi: DevpiClient, tmp_path: Path) -> None:
    """`devpi test` downloads the source archive, runs tox on it, posts the result, and `list` shows it."""
    make_project(tmp_path / "project", "hello-test", "1.0")
    devpi("upload", folder=tmp_path / "project")
    said = devpi("test", "hello-test")
    assert "received " in said
    assert "posting tox result data to " in said
    assert "success" in said
    assert re.search(r"py +3\.\d+\.\d+ tests passed$", devpi("list", "--toxresults", "hello-test"), re.MULTILINE)

    make_project(tmp_path / "project", "hello-test", "1.1")
    (tmp_path / "project" / "hello_test.py").write_text("def hello():\n    return 'wrong'\n")
    devpi("upload", folder=tmp_path / "project")
    said = devpi.refused("test", "hello-test==1.1")
    assert "posting tox result data to " in said
    assert "tox command failed" in said
    assert "tests failed" in devpi("list", "--toxresults", "hello-test")


def test_documentation(devpi: DevpiClient, me: str, tmp_path: Path) -> None:
    """A zip of documentation is uploaded and served, by its version and as the latest."""
    devpi("upload", "--from-dir", make_dist(tmp_path / "dist", "1.0", name="hello-docs"))
    said = devpi("upload", make_docs(tmp_path, "hello-docs-1.0.doc.zip", "How hello is said."))
    assert f"doc_upload of hello-docs-1.0.doc.zip to {devpi.url}/{me}/dev/" in said
    for version in ("1.0", "latest", "stable"):
        answer = httpx2.get(f"{devpi.url}/{me}/dev/hello-docs/{version}/+doc/index.html", follow_redirects=True)
        assert answer.status_code == 200
        assert "How hello is said." in answer.text
    links = json.loads(devpi("getjson", "hello-docs/1.0"))["result"]["+links"]
    assert [link["href"].rpartition("/")[2] for link in links if link["rel"] == "doczip"] == ["hello-docs-1.0.doc.zip"]


def test_bases(devpi: DevpiClient, me: str, tools: Tools, tmp_path: Path) -> None:
    """What bases hold is listed and installed through the index on top; pip and `devpi install` see one index."""
    devpi("index", "-c", "lib")
    devpi("index", "-c", "top", f"bases={me}/dev,{me}/lib")
    devpi("upload", "--index", f"{me}/lib", "--from-dir", make_dist(tmp_path / "a", "1.0", "2.0", name="hello-base"))
    devpi("upload", "--from-dir", make_dist(tmp_path / "b", "3.0", name="hello-other"))
    devpi("use", "top")
    paths = devpi("list", "hello-base").split()
    assert len(paths) == 4
    assert all(path.startswith(f"{devpi.url}/{me}/lib/+f/") for path in paths)
    assert devpi("list").split() == []

    environment = environment_of(tools, tmp_path / "pip")
    simple = f"{devpi.url}/{me}/top/+simple/"
    python = environment / "bin" / "python"
    tools.done("pip", "--python", python, "install", "--index-url", simple, "hello-base", "hello-other")
    assert installed(environment) == {"hello-base": "2.0", "hello-other": "3.0"}

    environment = tmp_path / "devpi"
    tools.done("python", "-m", "venv", environment)
    devpi("install", "--venv", environment, "hello-base==1.0")
    assert installed(environment) == {"hello-base": "1.0"}


def environment_of(tools: Tools, folder: Path) -> Path:
    """Return a fresh virtual environment."""
    tools.done("uv", "venv", "--python", tools.programs / "python", folder)
    return folder


def test_configurations(devpi: DevpiClient, me: str, tools: Tools, tmp_path: Path) -> None:
    """`use --set-cfg` writes what pip and uv then install through, and poetry takes the same address as a source."""
    devpi("upload", "--from-dir", make_dist(tmp_path / "dist", "1.0", name="hello-cfg"))
    pip_conf, uv_toml = devpi.tools.home / "pip.conf", devpi.tools.home / "uv.toml"
    told = tools.with_settings(PIP_CONFIG_FILE=str(pip_conf), UV_CONFIG_FILE=str(uv_toml), UV_NO_CONFIG="0")
    said = told.done("devpi", "use", "--set-cfg", f"{me}/dev")
    for path in (pip_conf, uv_toml):
        assert re.search(rf"{re.escape(str(path))}: http://.*/{me}/dev/\+simple/", said)
    assert f"/{me}/dev/+simple/" in pip_conf.read_text()

    environment = environment_of(tools, tmp_path / "pip")
    told.done("pip", "--python", environment / "bin" / "python", "install", "hello-cfg")
    assert installed(environment) == {"hello-cfg": "1.0"}
    environment = environment_of(tools, tmp_path / "uv")
    told.done("uv", "pip", "install", "--python", environment / "bin" / "python", "hello-cfg")
    assert installed(environment) == {"hello-cfg": "1.0"}

    consumer = tmp_path / "consumer"
    consumer.mkdir()
    (consumer / "pyproject.toml").write_text(
        '[project]\nname = "consumer"\nversion = "0"\nrequires-python = ">=3.11"\n[tool.poetry]\npackage-mode = false\n'
    )
    found = re.search(r"index-url = \"(.+)\"", uv_toml.read_text())
    assert found is not None
    tools.done("poetry", "source", "add", "--priority=primary", "team", found[1], folder=consumer)
    tools.done("poetry", "add", "--no-interaction", "hello-cfg", folder=consumer)
    assert installed(consumer / ".venv") == {"hello-cfg": "1.0"}


def test_rights(devpi: DevpiClient, me: str, tmp_path: Path) -> None:
    """Who is not in `acl_upload` is refused by the client's own words, and so is whoever logged off."""
    file = make_dist(tmp_path / "dist", "1.0", name="hello-rights") / wheel_name("hello-rights", "1.0")
    devpi("index", "dev", "acl_upload=root")
    said = devpi.refused("upload", file)
    assert f"403 FAIL file_upload of {file.name} to {devpi.url}/{me}/dev/" in said
    assert "no permission to submit" in said
    devpi("index", "dev", f"acl_upload={me}")
    devpi("upload", file)
    devpi("logoff")
    said = devpi.refused("upload", file)
    assert f"401 FAIL file_upload of {file.name} to {devpi.url}/{me}/dev/" in said


def test_versions(devpi: DevpiClient) -> None:
    """`devpi --version` names the versions of the server that it uses."""
    assert re.search(r"devpi-server +6\.", devpi("--version"))
