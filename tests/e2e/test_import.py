"""A devpi site moves: an export made by a real devpi-server, one command, then pip by the lock file of the old server.

Source: contract devpi sections 4, 10 and 18.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx2
import pytest

from bench.devpi import environment
from bench.errors import NotMeasured
from bench.exporting import write_many
from bench.registry import Registry
from bench.running import HOST, Command, free_port, running
from bench.wheels import Wheel, make_wheel
from tests.support.processes import Deployment, clean_environment, program
from tests.support.tools import Tools
from tests.support.uploading import basic

_CACHE = Path.home() / ".cache" / "countermark-bench"
_PASSWORD = "of-the-old-server"  # of a server that the test starts itself


@pytest.fixture(scope="session")
def devpi_programs() -> Path:
    """The folder of programs of a real devpi-server; installed once, which needs a package registry."""
    try:
        return environment(_CACHE)
    except NotMeasured as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no package registry answers, from which devpi-server could be installed: {error}")


def test_a_site_moves_from_a_real_devpi(
    deployment: Deployment, devpi_programs: Path, tools: Tools, tmp_path: Path
) -> None:
    """Password, addresses and digests are as before, pages are signed, and a second import changes nothing."""
    wheel, link = _exported(devpi_programs, tmp_path)
    done = deployment.command("import", "devpi", str(tmp_path / "export"), "--report", str(tmp_path / "report"))
    assert done.returncode == 0, done.stderr
    assert "everything is signed" in done.stdout
    lines = [json.loads(line) for line in (tmp_path / "report").read_text().splitlines()]
    imported = {line["what"]: line["sha256"] for line in lines if line["kind"] == "file"}
    assert imported == {f"mover/prod {wheel.filename}": wheel.sha256, f"mover/dev {wheel.filename}": wheel.sha256}

    # The old lock file, with the host alone replaced.
    lock = tmp_path / "requirements.txt"
    lock.write_text(f"bench-moved @ {deployment.api}{link} --hash=sha256:{wheel.sha256}\n")
    target = tmp_path / "target"
    tools.done("python", "-m", "pip", "install", "--no-deps", "--require-hashes", "-r", lock, "--target", target)
    assert (target / "bench_moved" / "__init__.py").exists()
    page = deployment.get("/mover/dev/+simple/bench-moved/").text
    assert f"#sha256={wheel.sha256}" in page

    owner = basic(_PASSWORD, "mover")
    wrong = basic("something-else", "mover")
    rights = f"{deployment.api}/api/v1/tokens"
    assert httpx2.get(rights, headers=owner, timeout=20).status_code == 200
    assert httpx2.get(rights, headers=wrong, timeout=20).status_code == 401

    again = deployment.command("import", "devpi", str(tmp_path / "export"))
    assert again.returncode == 0, again.stderr
    assert "file: 2 already there\n" in again.stdout
    assert "imported" not in again.stdout


def test_an_import_that_is_killed_goes_on(deployment: Deployment, tmp_path: Path) -> None:
    """Killed after its first files came in, the same command brings in the rest, and each file once."""
    export = write_many(tmp_path / "export", 1500, owners=("killed",))
    report = tmp_path / "report"
    argv = ("import", "devpi", str(export), "--report", str(report), "--no-wait", "--data", str(deployment.data))
    with subprocess.Popen(
        [program("countermark-server"), *argv], env=clean_environment(), stdout=subprocess.DEVNULL
    ) as process:
        end = time.monotonic() + 60
        while (not report.exists() or '"file"' not in report.read_text()) and time.monotonic() < end:
            time.sleep(0.02)
        process.kill()
    cut = report.read_text().count('"kind": "file"')
    done = deployment.command("import", "devpi", str(export), "--report", str(report))
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    files = [line["status"] for line in lines if line["kind"] == "file"]
    assert len(files) == 1500
    assert 0 < cut <= files.count("already there") < 1500
    listed = deployment.get("/killed/dev/+simple/many-74/").text
    assert listed.count("#sha256=") == 20


def test_a_simple_index_comes_in_by_its_digests(deployment: Deployment, tmp_path: Path) -> None:
    """What a plain web server lists comes in, but for the file whose bytes are not those of the page."""
    good, bad = make_wheel("bench-listed", "1.0"), make_wheel("bench-listed", "1.1")
    folder = tmp_path / "simple" / "bench-listed"
    folder.mkdir(parents=True)
    links = ""
    for wheel, digest in ((good, good.sha256), (bad, good.sha256)):
        (folder / wheel.filename).write_bytes(wheel.content)
        links += f'<a href="{wheel.filename}#sha256={digest}" data-yanked="old">{wheel.filename}</a>'
    (folder / "index.html").write_text(links)
    (tmp_path / "simple" / "index.html").write_text('<a href="bench-listed/">bench-listed</a>')
    handler = partial(_Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer((HOST, 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://{HOST}:{server.server_port}/simple/"
        first = deployment.command("import", "simple", url, "--into", "root/listed")
        again = deployment.command("import", "simple", url, "--into", "root/listed", "--project", "bench-listed")
        none = deployment.command("import", "simple", f"{url}nothing/", "--into", "root/listed")
        server.shutdown()
    assert first.returncode == again.returncode == 1
    assert "file: 1 imported, 1 refused" in first.stdout
    assert f"its sha256 is {bad.sha256}, and the page says {good.sha256}" in first.stdout
    assert "file: 1 already there, 1 refused" in again.stdout
    assert "the index answers 404" in none.stderr
    page = deployment.get("/root/listed/+simple/bench-listed/").text
    assert good.sha256 in page
    assert bad.filename not in page
    assert 'data-yanked="old"' in page


class _Quiet(SimpleHTTPRequestHandler):
    """A plain web server that says nothing."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _exported(programs: Path, folder: Path) -> tuple[Wheel, str]:
    """Fill a real devpi-server and export it; returns the wheel in it and the path that its page links."""
    data, port = folder / "devpi", free_port()
    _run(programs / "devpi-init", "--serverdir", data, "--no-root-pypi", "--root-passwd", _PASSWORD)
    argv = (str(programs / "devpi-server"), "--serverdir", str(data), "--host", HOST, "--port", str(port))
    wheel = make_wheel("bench-moved", "1.0")
    with running(Command("devpi-server", argv, folder / "devpi.log", port, "/+api")) as server:
        root = Registry("devpi-server", server, "/root", "root", _PASSWORD)
        owner = Registry("devpi-server", server, "/mover/dev", "mover", _PASSWORD)
        _put(root, "/mover", {"password": _PASSWORD})
        _put(owner, "/mover/prod", {"volatile": False})
        _put(owner, "/mover/dev", {"bases": ["mover/prod"]})
        owner.upload(wheel)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        push = json.dumps({"name": "bench-moved", "version": "1.0", "targetindex": "mover/prod"}).encode()
        answer = owner.request("PUSH", "/mover/dev", headers, push)
        assert answer.status == 200, answer.body
    _run(programs / "devpi-export", "--serverdir", data, folder / "export")
    digest = wheel.sha256
    return wheel, f"/mover/prod/+f/{digest[:3]}/{digest[3:16]}/{wheel.filename}"


def _put(registry: Registry, path: str, document: Mapping[str, object]) -> None:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    answer = registry.request("PUT", path, headers, json.dumps(document).encode())
    assert answer.status < 300, answer.body


def _run(*command: str | Path) -> None:
    done = subprocess.run(
        list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr or done.stdout
