"""The whole thread with the real clients: upload, signature, page, file, proof; against the server and against the
bare tree."""

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from countermark.core.digest import sha256_of
from tests.support.archives import make_sdist, make_wheel
from tests.support.clients import Environment, VerifyingClient, make_environment, static_server, twine, uv_publish
from tests.support.processes import Deployment, server_command, start_deployment
from tests.support.uploading import basic, form_body

JSON = "application/vnd.pypi.simple.v1+json"


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment to install into; tests install projects of their own."""
    return make_environment(tmp_path_factory.mktemp("environment"))


@pytest.fixture
def countermark(tmp_path: Path) -> VerifyingClient:
    """The verifying client, which trusts nobody yet."""
    return VerifyingClient(tmp_path / "home")


def built(folder: Path, name: str, version: str, requires_python: str | None = None) -> list[Path]:
    """Write a wheel and an sdist as a build tool would, and return their paths."""
    escaped = name.replace("-", "_")
    folder.mkdir(parents=True, exist_ok=True)
    wheel, sdist = folder / f"{escaped}-{version}-py3-none-any.whl", folder / f"{escaped}-{version}.tar.gz"
    wheel.write_bytes(make_wheel(name, version, requires_python=requires_python))
    sdist.write_bytes(make_sdist(name, version, requires_python=requires_python))
    return [wheel, sdist]


def page(deployment: Deployment, project: str, index: str = "root/stable") -> dict[str, object]:
    """Return a project's page as JSON."""
    answer = httpx2.get(f"{deployment.api}/{index}/+simple/{project}/", headers={"accept": JSON}, timeout=20)
    assert answer.status_code == 200, answer.text
    document: dict[str, object] = answer.json()
    return document


def test_twine_uploads_and_everybody_installs(
    deployment: Deployment, environment: Environment, countermark: VerifyingClient, tmp_path: Path
) -> None:
    """After twine returns, pip, uv and the verifying client work at once on what was signed."""
    files = built(tmp_path, "thread-twine", "1.0", requires_python=">=3.8")
    done = twine(f"{deployment.api}/root/stable/", deployment.token(), *files)
    assert done.returncode == 0, done.stdout + done.stderr
    simple = f"{deployment.api}/root/stable/+simple/"
    done = environment.pip_install(simple, "thread-twine")
    assert done.returncode == 0, done.stderr
    assert environment.version_of("thread-twine") == "1.0"
    done = environment.uv_install(simple, "--reinstall", "thread-twine==1.0")
    assert done.returncode == 0, done.stderr
    done = countermark(
        "download", "--repository", f"{deployment.api}/root/stable", "--trust-on-first-use", "thread-twine",
        "--dest", str(tmp_path / "proven"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    placed = Path(done.stdout.strip())
    assert placed.read_bytes() == files[0].read_bytes()


def test_files_of_equal_versions_are_one_release_for_everybody(
    deployment: Deployment, environment: Environment, countermark: VerifyingClient, tmp_path: Path
) -> None:
    """1.0 and 1.0.0 in file names: either spelling is installed, and proven, whichever file it leads to."""
    repository = f"{deployment.api}/root/stable"
    wheels = [built(tmp_path / version, "thread-equal", version)[0] for version in ("1.0", "1.0.0")]
    done = twine(f"{repository}/", deployment.token(), *wheels)
    assert done.returncode == 0, done.stdout + done.stderr
    assert page(deployment, "thread-equal")["versions"] == ["1.0"]
    for spelling in ("1.0", "1.0.0", "1"):
        done = environment.pip_install(f"{repository}/+simple/", f"thread-equal=={spelling}")
        assert done.returncode == 0, done.stderr
        done = countermark(
            "download", "--repository", repository, "--trust-on-first-use", f"thread-equal=={spelling}",
            "--dest", str(tmp_path / f"proven-{spelling}"),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert Path(done.stdout.strip()).read_bytes() in {wheel.read_bytes() for wheel in wheels}


def test_uv_publishes_and_a_rerun_is_harmless(deployment: Deployment, tmp_path: Path) -> None:
    """uv's upload, the same upload again, and one that looks first whether it is needed: all end well."""
    files = built(tmp_path, "thread-uv", "1.0")
    url, token = f"{deployment.api}/root/stable/", deployment.token()
    for check in (None, None, f"{deployment.api}/root/stable/+simple/"):
        done = uv_publish(url, token, *files, check_url=check)
        assert done.returncode == 0, done.stderr
    listed = page(deployment, "thread-uv")["files"]
    assert isinstance(listed, list)
    assert len(listed) == 2


def test_uploads_to_the_legacy_url_go_to_the_default_index(
    deployment: Deployment, environment: Environment, tmp_path: Path
) -> None:
    """`/legacy/` takes uploads, `/simple/` shows them: a client that knows only the host works."""
    done = twine(f"{deployment.api}/legacy/", deployment.token(), *built(tmp_path, "thread-legacy", "1.0"))
    assert done.returncode == 0, done.stdout + done.stderr
    done = environment.pip_install(f"{deployment.api}/simple/", "thread-legacy")
    assert done.returncode == 0, done.stderr


def test_a_local_version_goes_through_every_client(
    deployment: Deployment, environment: Environment, countermark: VerifyingClient, tmp_path: Path
) -> None:
    """A `+` in the file name survives pages, URLs, target paths and the store."""
    done = twine(f"{deployment.api}/root/stable/", deployment.token(), *built(tmp_path, "thread-local", "1.0+abc.1"))
    assert done.returncode == 0, done.stdout + done.stderr
    simple = f"{deployment.api}/root/stable/+simple/"
    for install in (environment.pip_install, environment.uv_install):
        assert install(simple, "thread-local==1.0+abc.1").returncode == 0
    done = countermark(
        "download", "--repository", f"{deployment.api}/root/stable", "--trust-on-first-use", "thread-local==1.0+abc.1",
        "--dest", str(tmp_path / "proven"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_client_builds_uploads_and_verifies(
    deployment: Deployment, countermark: VerifyingClient, tmp_path: Path
) -> None:
    """From a source folder to a proven file with the client alone; its pointer is the one that was signed."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "thread-built"\nversion = "0.1"\n[tool.hatch.build.targets.wheel]\ninclude = ["*.py"]\n'
    )
    (source / "thread_built.py").write_text("ANSWER = 42\n")
    done = countermark("build", str(source), "--outdir", str(tmp_path / "dist"), "--no-isolation")
    assert done.returncode == 0, done.stderr
    made = {path.name for path in (tmp_path / "dist").iterdir()}
    names = sorted(name for name in made if not name.endswith((".pointer", ".statement.json")))
    assert made == {f"{name}{more}" for name in names for more in ("", ".pointer", ".statement.json")}
    files = [tmp_path / "dist" / name for name in names]
    assert len(files) == 2
    index = f"{deployment.api}/root/stable"
    done = countermark("upload", "--index", index, *map(str, files), token=deployment.token())
    assert done.returncode == 0, done.stderr
    for file in files:
        done = countermark("verify", "--repository", index, "--trust-on-first-use", str(file))
        assert done.returncode == 0, done.stderr
        pointer = (tmp_path / "dist" / f"{file.name}.pointer").read_bytes()
        tree = deployment.tree / "indexes/root/stable/pointers/thread-built"
        assert (tree / f"{file.name}.pointer").read_bytes() == pointer
    files[0].write_bytes(files[0].read_bytes() + b"!")
    done = countermark("verify", "--repository", index, str(files[0]))
    assert done.returncode == 40, done.stderr


def test_a_pinned_root_is_needed_and_is_enough(
    deployment: Deployment, countermark: VerifyingClient, tmp_path: Path
) -> None:
    """Without trust the client refuses and says how to get it; with the root fetched, compared and pinned it works."""
    index = f"{deployment.api}/root/stable"
    files = built(tmp_path, "thread-pinned", "1.0")
    assert twine(f"{index}/", deployment.token(), *files).returncode == 0
    done = countermark("download", "--repository", index, "thread-pinned", "--dest", str(tmp_path / "a"))
    assert done.returncode == 2
    assert "countermark root pin" in " ".join(done.stderr.split())
    root = tmp_path / "root.json"
    done = countermark("root", "fetch", index, "-o", str(root))
    assert done.returncode == 0, done.stderr
    assert root.read_bytes() == (deployment.tree / "indexes/root/stable/metadata/1.root.json").read_bytes()
    assert countermark("root", "pin", index, str(root)).returncode == 0
    done = countermark("download", "--repository", index, "thread-pinned", "--json", "--dest", str(tmp_path / "b"))
    assert done.returncode == 0, done.stderr
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert steps[-1] == {"step": "done", "ok": True, "exit": 0}
    assert (tmp_path / "b" / files[0].name).read_bytes() == files[0].read_bytes()


@dataclass(frozen=True, slots=True)
class Private:
    """A private index with one project, and a token that may use it."""

    url: str
    owner: str
    file: dict[str, object]

    def at(self, path: str, credentials: str | None = None) -> httpx2.Response:
        """GET a path below the index."""
        headers = {"accept": JSON} | ({} if credentials is None else basic(credentials))
        return httpx2.get(f"{self.url}{path}", headers=headers, timeout=20)


@pytest.fixture(scope="session")
def private(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Private:
    """The private index of the session's deployment."""
    done = deployment.command("index", "create", "--private", "root/secret")
    assert done.returncode == 0, done.stderr
    url, token = f"{deployment.api}/root/secret", deployment.token(index="root/secret")
    files = built(tmp_path_factory.mktemp("private"), "thread-private", "1.0")
    done = twine(f"{url}/", token, *files)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = httpx2.get(f"{url}/+simple/thread-private/", headers={"accept": JSON} | basic(token), timeout=20).json()
    return Private(url, token, listed["files"][0])


def private_paths(private: Private) -> list[str]:
    """Return every kind of path that shows something of a private index."""
    file = str(private.file["url"]).removeprefix("../..")
    return [
        "/+simple/",
        "/+simple/thread-private/",
        "/+simple/unknown/",
        file,
        f"{file}.metadata",
        "/+tuf/metadata/timestamp.json",
        "/+tuf/metadata/1.root.json",
    ]


def test_a_private_index_is_shut_to_nobody_and_to_strangers(deployment: Deployment, private: Private) -> None:
    """Every face: 401 with a challenge for nobody and for wrong tokens, 403 for somebody else, never a hint of what
    is there."""
    deployment.command("user", "add", "mallory")
    stranger = deployment.command("token", "create", "--user", "mallory", "--index", "root/stable")
    assert stranger.returncode == 0, stranger.stderr
    for path in private_paths(private):
        for credentials in (None, "cmk_1" + "0" * 49):
            answer = private.at(path, credentials)
            assert (answer.status_code, path) == (401, path)
            assert answer.headers["www-authenticate"].startswith("Basic ")
        assert (private.at(path, stranger.stdout.strip()).status_code, path) == (403, path)
        expected = 404 if "unknown" in path else 200
        assert (private.at(path, private.owner).status_code, path) == (expected, path)


def test_a_strangers_upload_to_a_private_index_is_refused(private: Private, deployment: Deployment) -> None:
    """A token of another index does not open this one."""
    body, form = form_body("thread_private-2.0-py3-none-any.whl", make_wheel("thread-private", "2.0"))
    headers = basic(deployment.token()) | form
    answer = httpx2.post(f"{private.url}/", content=body, headers=headers, timeout=20)
    assert answer.status_code == 403
    assert "the token is not for this index" in answer.text


def test_the_clients_reach_a_private_index_with_a_token(
    private: Private, environment: Environment, countermark: VerifyingClient, tmp_path: Path
) -> None:
    """pip, uv and the verifying client, with the token as password."""
    simple = private.url.replace("http://", f"http://__token__:{private.owner}@") + "/+simple/"
    for install in (environment.pip_install, environment.uv_install):
        done = install(simple, "thread-private")
        assert done.returncode == 0, done.stderr
    done = countermark(
        "download", "--repository", private.url, "--trust-on-first-use", "thread-private", "--dest", str(tmp_path),
        token=private.owner,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_private_file_is_not_reached_through_another_index(private: Private, deployment: Deployment) -> None:
    """Knowing a digest gives nothing: the bytes belong to the index they were uploaded to."""
    file = str(private.file["url"]).removeprefix("../..")
    assert deployment.get(f"/root/stable{file}").status_code == 404
    digest = str(private.file["hashes"]["sha256"])  # type: ignore[index]
    path = f"/files/{digest[:2]}/{digest[2:]}/{private.file['filename']}"
    assert deployment.get(f"/root/stable/+tuf{path}").status_code == 404


def test_the_tree_serves_alone_when_everything_is_stopped(
    data: Path, environment: Environment, countermark: VerifyingClient, tmp_path: Path
) -> None:
    """pip below any prefix of a plain file server, and the verifying client on the server and on the folder itself."""
    running = start_deployment(data)
    try:
        files = built(tmp_path, "thread-static", "1.0") + built(tmp_path, "thread-static", "1.1")
        done = twine(f"{running.api}/root/stable/", running.token(), *files)
        assert done.returncode == 0, done.stdout + done.stderr
        wanted = data / "objects/public/indexes/root/stable/simple/thread-static/index.html"
        until_contains(wanted, "thread_static-1.1.tar.gz")
    finally:
        running.process.press_ctrl_c()
        running.process.wait()
    prefix = tmp_path / "served" / "some" / "prefix"
    shutil.copytree(data / "objects/public", prefix)
    with static_server(tmp_path / "served") as url:
        tree = f"{url}/some/prefix/indexes/root/stable"
        done = environment.pip_install(f"{tree}/simple/", "thread-static")
        assert done.returncode == 0, done.stderr
        assert environment.version_of("thread-static") == "1.1"
        for repository in (tree, str(prefix / "indexes/root/stable")):
            done = countermark(
                "download", "--repository", repository, "--trust-on-first-use", "thread-static==1.0",
                "--dest", str(tmp_path / sha256_of(repository.encode())[:8]),
            )  # fmt: skip
            assert done.returncode == 0, done.stderr


def until_contains(path: Path, text: str) -> None:
    """Wait until the static page, which follows the head, has caught up."""
    until = time.monotonic() + 20
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < until, f"{path} was not laid"
        time.sleep(0.05)


def test_the_countermark_server_refuses_what_it_does_not_know() -> None:
    """A usage error is exit 2 and no traceback."""
    done = server_command("no-such-command")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
