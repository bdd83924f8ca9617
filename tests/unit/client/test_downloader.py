"""`python -m countermark.downloader`: the ways of the downloader before it, and the exit codes of the contract.

Source: trust contract sections 3.1 and 3.3; section 6 rows 1, 2, 8 and 31.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from countermark.cli.downloader import app
from tests.support.simulator import RepositorySimulator, soon
from tests.unit.client.conftest import WHEEL, WHEEL_TARGET
from tests.unit.client.loopback import Loopback

Downloader = Callable[..., Result]


@pytest.fixture
def downloader(tmp_path: Path) -> Downloader:
    """Run the downloader with a home and a destination of its own."""

    def call(*arguments: str | Path, **environment: str) -> Result:
        home = {"COUNTERMARK_HOME": str(tmp_path / "home"), "COLUMNS": "200", **environment}
        return CliRunner().invoke(app, [*map(str, arguments), "--dest", str(tmp_path / "dest")], env=home)

    return call


@pytest.fixture
def url(sim: RepositorySimulator, server: Loopback) -> str:
    """The index, served; with the page that installers read."""
    return _serve(sim, server)


def _serve(sim: RepositorySimulator, server: Loopback) -> str:
    url = server.serve_index(sim)
    page = sim.targets["pointers/widget/_simple.json"]
    server.paths[f"/{sim.index}/+simple/widget/?format=application/vnd.pypi.simple.v1%2Bjson"] = page
    for name, pointer in sim.pointers.items():
        digest = pointer.file.digest
        server.paths[f"/{sim.index}/+f/{digest[:3]}/{digest[3:16]}/{name}"] = sim.objects[pointer.file.uri[1:]]
    return url


def test_the_path_alone_is_printed(downloader: Downloader, url: str, tmp_path: Path) -> None:
    """One proven file, its absolute path on stdout, nothing on stderr: 0."""
    done = downloader("widget", "--version", "1.10", "--repository", url, "--trust-on-first-use")
    assert (done.exit_code, done.stdout, done.stderr) == (0, f"{tmp_path / 'dest' / WHEEL}\n", "")
    assert (tmp_path / "dest" / WHEEL).read_bytes() == b"the real wheel\n"


def test_as_a_module(tree: Path, tmp_path: Path) -> None:
    """`python -m countermark.downloader` is it, over a folder and with a root file."""
    command = [sys.executable, "-m", "countermark.downloader", "widget", "--version", "1.10", "--repository", str(tree)]
    command += ["--root", str(tree / "metadata" / "1.root.json"), "--dest", str(tmp_path / "dest"), "-v"]
    environment = {"COUNTERMARK_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path / 'dest' / WHEEL}\n", "")


def test_without_a_version_the_signed_latest_is_taken(
    downloader: Downloader, sim: RepositorySimulator, server: Loopback
) -> None:
    """No listing is asked: the newest release is what the signed `_latest` says."""
    sim.add_file("widget-1.9-py3-none-any.whl")
    sim.publish()
    done = downloader("widget", "--repository", _serve(sim, server), "--trust-on-first-use")
    assert done.stdout.endswith(f"{WHEEL}\n")
    assert not any("_simple.json" in path or "+simple" in path for path, _ in server.seen)


@pytest.mark.parametrize(
    ("verbose", "steps", "requests"),
    [("", False, False), ("-vvv", False, False), ("-vvvv", True, False), ("-vvvvv", True, True)],
)
def test_the_count_of_v_is_the_level(
    verbose: str, steps: bool, requests: bool, downloader: Downloader, url: str, tmp_path: Path
) -> None:
    """Notes come with three, steps with four, what the TUF library does with five; stdout stays the path alone."""
    options = ("--repository", url, "--trust-on-first-use", *([verbose] if verbose else []))
    done = downloader("widget", *options)
    assert done.stdout == f"{tmp_path / 'dest' / WHEEL}\n"
    assert ("on first use" in done.stderr) is bool(verbose)
    assert ("INFO countermark.downloader: artifact" in done.stderr) is steps
    assert ("DEBUG tuf" in done.stderr) is requests


def test_a_file_that_is_there_is_fetched_again_by_force_alone(
    downloader: Downloader, url: str, server: Loopback, tmp_path: Path
) -> None:
    """A file with the signed bytes stays, one with others is replaced, and --force fetches anew."""
    asked = ("widget", "--version", "1.10", "--repository", url, "--trust-on-first-use")
    placed = tmp_path / "dest" / WHEEL

    def fetched(*options: str) -> int:
        server.seen.clear()
        done = downloader(*asked, *options)
        assert (done.exit_code, done.stdout) == (0, f"{placed}\n"), done.stderr
        assert placed.read_bytes() == b"the real wheel\n"
        return sum("/files/" in path for path, _ in server.seen)

    assert fetched() == 1
    assert fetched() == 0
    assert fetched("--force") == 1
    placed.write_bytes(b"the evil wheel\n")
    assert fetched() == 1


def test_wheels_for_other_pythons(downloader: Downloader, sim: RepositorySimulator, server: Loopback) -> None:
    """A release for another Python ends 11, and with --ignore-python-version 0; one for another platform never."""
    sim.add_file("widget-2-cp27-none-any.whl")
    sim.add_file("widget-3-cp27-cp27m-win_arm64.whl")
    sim.publish()
    asked = ("widget", "--repository", _serve(sim, server), "--trust-on-first-use", "--version")
    assert downloader(*asked, "2").exit_code == 11
    assert downloader(*asked, "2", "--ignore-python-version").exit_code == 0
    assert downloader(*asked, "1.10", "--ignore-python-version").stdout.endswith(f"{WHEEL}\n")
    ended = downloader(*asked, "3", "--ignore-python-version")
    assert ended.exit_code == 11
    assert "fits any Python on this machine" in ended.stderr


def _expired(sim: RepositorySimulator) -> None:
    sim.expires["timestamp"] = soon(hours=-1)
    sim.publish()


def _other_bytes(sim: RepositorySimulator) -> None:
    sim.objects[sim.pointers[WHEEL].file.uri[1:]] = b"the evil wheel\n"


def _longer(sim: RepositorySimulator) -> None:
    sim.objects[sim.pointers[WHEEL].file.uri[1:]] = b"the real wheel, and more\n"


def _other_project(sim: RepositorySimulator) -> None:
    sim.targets[WHEEL_TARGET] = sim.add_file("gadget-1.10-py3-none-any.whl").to_bytes()
    sim.publish()


def _other_index(sim: RepositorySimulator) -> None:
    sim.render("widget", index="mallory/dev")
    sim.publish()


@pytest.mark.parametrize(
    ("attack", "code"), [(_expired, 21), (_other_project, 31), (_other_index, 31), (_longer, 40), (_other_bytes, 41)]
)
def test_attacks_end_with_the_codes_of_the_contract(
    attack: Callable[[RepositorySimulator], None],
    code: int,
    downloader: Downloader,
    sim: RepositorySimulator,
    server: Loopback,
    tmp_path: Path,
) -> None:
    """Also with --force and -v, whose words change nothing of it; stdout is empty and nothing is placed."""
    attack(sim)
    asked = ("widget", "--version", "1.10", "--repository", _serve(sim, server), "--trust-on-first-use")
    for options in ((), ("--force", "--ignore-python-version", "-vvvvv")):
        done = downloader(*asked, *options)
        assert (done.exit_code, done.stdout) == (code, ""), done.stderr
        assert f"[exit {code}]" in done.stderr
    assert not list((tmp_path / "dest").glob("*"))


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("widget", "gadget"),
        ("-", "--repository", "{url}"),
        ("widget==1.10", "--repository", "{url}"),
        ("widget", "--version", "one", "--repository", "{url}"),
        ("widget", "--version", "1.10.0-RC1", "--repository", "{url}"),
        ("widget", "--version", "1.10"),
        ("widget", "--version", "1.10", "--repository", "{url}"),
        ("widget", "--unsafe-disable-verification", "--repository", "{url}"),
        ("widget", "--type", "core"),
    ],
)
def test_usage_ends_2(arguments: tuple[str, ...], downloader: Downloader, url: str) -> None:
    """No name, two, none at all, a version that is none or not canonical, no root, unsafe without a version: 2."""
    done = downloader(*(part.format(url=url) for part in arguments))
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr


def test_unsafe_is_loud_and_never_0(
    downloader: Downloader, sim: RepositorySimulator, server: Loopback, tmp_path: Path
) -> None:
    """Metadata nobody could verify: the listing's file is placed, with warnings at every level, and exit code 3."""
    _expired(sim)
    asked = ("widget", "--version", "1.10", "--repository", _serve(sim, server), "--unsafe-disable-verification")
    done = downloader(*asked)
    assert (done.exit_code, done.stdout) == (3, f"{tmp_path / 'dest' / WHEEL}\n")
    assert "WARNING: verification is DISABLED" in done.stderr
    assert "NOT VERIFIED" in done.stderr
    assert (tmp_path / "dest" / WHEEL).read_bytes() == b"the real wheel\n"
    assert not any("metadata" in path for path, _ in server.seen)


def test_unsafe_reads_a_static_tree(downloader: Downloader, sim: RepositorySimulator, tmp_path: Path) -> None:
    """Over a folder the static page is the listing."""
    tree = sim.write_tree(tmp_path / "data")
    file = sim.pointers[WHEEL].file.digest
    (tree / "simple" / "widget").mkdir(parents=True)
    page = sim.targets["pointers/widget/_simple.json"]
    relative = f"../../../../../files/{file[:2]}/{file[2:]}/{WHEEL}".encode()
    listed = f"../../+f/{file[:3]}/{file[3:16]}/{WHEEL}".encode()
    assert listed in page
    (tree / "simple" / "widget" / "index.json").write_bytes(page.replace(listed, relative))
    done = downloader("widget", "--version", "1.10", "--repository", tree, "--unsafe-disable-verification")
    assert (done.exit_code, done.stdout) == (3, f"{tmp_path / 'dest' / WHEEL}\n"), done.stderr


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b'"url": "../..', b'"url": "file:///etc/hostname?', 30),
        (b'"url": "../..', b'"nothing": "../..', 30),
        (b'"size"', b'"nothing"', 30),
        (b'"name"', b'"nothing"', 30),
        (b'"size": 15', b'"size": 14', 40),
        (b"1.10", b"1.11", 11),
        (b'"url": "../..', b'"url": "http://[../..', 30),
        (b'"size": 15', b'"size": 1' + b"0" * 400, 30),
        (b'"filename": "widget-', b'"filename": "gadget-', 11),
    ],
)
def test_unsafe_stays_bounded(
    old: bytes, new: bytes, code: int, downloader: Downloader, url: str, server: Loopback, tmp_path: Path
) -> None:
    """A listing that leads to files of this machine, is malformed, or states another length places nothing."""
    path = next(path for path in server.paths if "+simple" in path)
    page = server.paths[path]
    assert isinstance(page, bytes)
    assert old in page
    server.paths[path] = page.replace(old, new)
    done = downloader("widget", "--version", "1.10", "--repository", url, "--unsafe-disable-verification")
    assert (done.exit_code, done.stdout) == (code, ""), done.stderr
    assert not list((tmp_path / "dest").glob("*"))
