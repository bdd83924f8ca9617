"""Starting, stopping, killing and mistaking `countermark-server up`, as people do.

Ctrl-C and kill -9 leave nothing running; a second start reuses everything; each mistake gets one line.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import httpx2
import pytest

from tests.support.processes import (
    ROOT,
    Deployment,
    Process,
    program,
    run,
    server_command,
    start_deployment,
    until_gone,
)


@contextmanager
def running(data: Path, *options: str) -> Iterator[Deployment]:
    """Run a deployment of the test's own."""
    deployment = start_deployment(data, *options)
    try:
        yield deployment
    finally:
        deployment.process.end()


@pytest.fixture
def busy_port() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def mistaken(data: Path, *options: str) -> str:
    """Return the one line that `up` ends with at once."""
    done = server_command("up", "--data", str(data), *options)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


def test_a_ready_deployment_answers_on_both_hosts(deployment: Deployment) -> None:
    """When the lines to copy are printed, /readyz answers 200 and both hosts serve."""
    ready = deployment.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
    assert httpx2.get(f"{deployment.ui}/", timeout=20).status_code in {200, 302, 303}


def test_the_default_index_is_published_before_the_first_reader(deployment: Deployment) -> None:
    """`root/stable` has signed metadata and an empty project list from the start."""
    assert deployment.get("/root/stable/+tuf/metadata/timestamp.json").status_code == 200
    listing = deployment.get("/root/stable/+simple/")
    assert listing.status_code == 200


def test_the_owner_link_works_and_is_printed_only_once(data: Path) -> None:
    """The first start prints a link that the UI knows, the second start prints none."""
    with running(data) as first:
        assert first.owner_link is not None
        assert httpx2.get(first.owner_link, timeout=20).status_code == 200
    with running(data) as second:
        assert second.owner_link is None


def test_ctrl_c_ends_everything_in_order(data: Path) -> None:
    """Ctrl-C ends with 0 within seconds; no process and no address is left behind."""
    with running(data) as deployment:
        family = deployment.process.family()
        assert len(family) > 5
        began = time.monotonic()
        deployment.process.press_ctrl_c()
        assert deployment.process.wait() == 0
        assert time.monotonic() - began < 10
    assert until_gone(family, 1) == set()
    assert not (data / "running.json").exists()
    assert "Traceback" not in deployment.process.output


def test_kill_9_leaves_nothing_running_and_a_restart_loses_nothing(data: Path) -> None:
    """After SIGKILL the servers end by themselves, and the next start finds the token and the keys as they were."""
    with running(data) as killed:
        family = killed.process.family()
        token = killed.token_document()
        root = killed.get("/root/stable/+tuf/metadata/1.root.json").content
        killed.process.send(signal.SIGKILL)
        killed.process.wait()
    # At once, while Postgres may still be shutting down.
    with running(data) as again:
        assert until_gone(family) == set()
        assert again.get("/root/stable/+tuf/metadata/1.root.json").content == root
        assert str(token["id"]) in again.command("token", "list").stdout


def test_a_server_that_dies_ends_the_deployment_with_one_line(data: Path) -> None:
    """When Postgres is killed under it, the process ends with 1, says what ended, and takes the others along."""
    with running(data) as deployment:
        family = deployment.process.family()
        postmaster = int((data / "postgres" / "cluster" / "postmaster.pid").read_text().splitlines()[0])
        os.kill(postmaster, signal.SIGKILL)
        assert deployment.process.wait() == 1
    assert until_gone(family) == set()
    assert "countermark-server: Postgres ended: " in deployment.process.output


def test_stopping_the_caller_stops_the_deployment(data: Path) -> None:
    """With --end-with-parent, killing the process that called it (as `make run` does) ends it."""
    script = f"{program('countermark-server')} up --data {data} --api-port 0 --ui-port 0 --end-with-parent; true"
    caller = Process(("/bin/sh", "-c", script), data.with_name("caller.log"))
    caller.start()
    try:
        caller.until_written("Ctrl-C stops it")
        family = caller.family()
        caller.send(signal.SIGKILL)
        caller.wait()
        assert until_gone(family) == set()
    finally:
        caller.end()


@pytest.mark.embedded
def test_a_second_start_on_the_same_folder_is_one_line(deployment: Deployment) -> None:
    """A folder in use is refused with the address of who uses it."""
    line = mistaken(deployment.data, "--api-port", "0", "--ui-port", "0")
    assert "already runs on" in line
    assert deployment.api in line


@pytest.mark.parametrize(("option", "name"), [("--api-port", "API_PORT"), ("--ui-port", "UI_PORT")])
def test_a_busy_port_is_one_line_and_makes_nothing(data: Path, busy_port: int, option: str, name: str) -> None:
    """A port in use is named with how to choose another, before anything is made."""
    other = "--ui-port" if option == "--api-port" else "--api-port"
    line = mistaken(data, option, str(busy_port), other, "0")
    assert f"port {busy_port} on 127.0.0.1 is in use: choose another with {name}=" in line
    assert not data.exists()


def test_a_foreign_folder_is_refused_and_left_alone(data: Path) -> None:
    """A folder that holds something else is refused with what to do, and nothing is added to it."""
    data.mkdir()
    (data / "thesis.txt").write_text("mine")
    line = mistaken(data, "--api-port", "0", "--ui-port", "0")
    assert f"{data} is not empty and not a Countermark data folder: choose another with DATA=" in line
    assert [path.name for path in data.iterdir()] == ["thesis.txt"]


def test_a_token_needs_a_running_server(data: Path) -> None:
    """On a folder on which nothing runs, `token create` says how to start it."""
    done = server_command("token", "create", "--data", str(data))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"nothing runs on {data}: start it with 'countermark-server up --data {data}'" in line


def test_a_token_is_made_beside_a_running_server(deployment: Deployment) -> None:
    """`token create --json` prints the token, what it is for, and where; without --json the token alone."""
    document = deployment.token_document("--project", "Some.Project", "--verbs", "upload", "--days", "2")
    assert re.fullmatch(r"cmk_1[0-9A-Za-z]{49}", document.pop("token"))
    assert UUID(document.pop("id")).version == 7
    lifetime = datetime.fromisoformat(document.pop("expires_at")) - datetime.now(UTC)
    assert timedelta(days=1) < lifetime <= timedelta(days=2)
    assert document == {
        "user": "root",
        "index": "root/stable",
        "project": "some-project",
        "verbs": ["upload"],
        "upload_url": f"{deployment.api}/root/stable/",
        "simple_url": f"{deployment.api}/root/stable/+simple/",
    }
    plain = deployment.command("token", "create")
    assert re.fullmatch(r"cmk_1[0-9A-Za-z]{49}\n", plain.stdout)


def test_operators_commands_work_beside_a_running_server(deployment: Deployment) -> None:
    """Accounts, indexes and tokens are made, listed and revoked; faults are one line with exit code 1 or 2."""
    name = f"user{time.monotonic_ns()}"
    assert deployment.command("user", "add", name).returncode == 0
    again = deployment.command("user", "add", name)
    assert (again.returncode, again.stderr) == (1, f"countermark-server: The account {name} exists already.\n")
    assert deployment.command("index", "create", f"{name}/private", "--private").returncode == 0
    listed = json.loads(deployment.command("index", "list", "--json").stdout)
    assert {"root/stable": "public", f"{name}/private": "private"}.items() <= {
        entry["index"]: entry["visibility"] for entry in listed
    }.items()
    token = deployment.token_document()
    assert deployment.command("token", "revoke", str(token["id"])).returncode == 0
    nonsense = deployment.command("token", "revoke", "nonsense")
    assert nonsense.returncode == 2
    assert deployment.command("jobs", "dead").returncode == 0


@pytest.mark.embedded
def test_what_is_secret_is_for_the_owner_alone(deployment: Deployment) -> None:
    """Keys, addresses with passwords, and the servers' sockets cannot be read or reached by other users."""
    for secret in (deployment.data / "running.json", *(deployment.data / "keys").iterdir()):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600, secret
    for folder in ("keys", "valkey", "postgres/cluster", "postgres/run", "objects/private"):
        assert stat.S_IMODE((deployment.data / folder).stat().st_mode) == 0o700, folder


def test_a_rebuild_lays_the_tree_again(deployment: Deployment) -> None:
    """With metadata and the static list deleted, `rebuild` brings the same bytes back while everything runs."""
    tree = deployment.tree / "indexes" / "root" / "stable"
    before = {
        path: path.read_bytes() for path in (tree / "metadata" / "timestamp.json", tree / "simple" / "index.html")
    }
    for path in before:
        path.unlink()
    done = deployment.command("rebuild", "root/stable")
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.skipif(not (ROOT / ".venv" / "stamp-run").exists(), reason="the environment was not made by make")
def test_make_run_is_the_same_and_honours_its_variables(data: Path) -> None:
    """`make run DATA=... API_PORT=... UI_PORT=...` starts it, and killing make leaves nothing running."""
    ports = ("API_PORT=0", "UI_PORT=0")
    make = Process(
        ("make", "-C", str(ROOT), "--no-print-directory", "run", f"DATA={data}", *ports), data.with_name("make.log")
    )
    make.start()
    try:
        make.until_written("for every index here.")
        family = make.family()
        assert (data / "running.json").exists()
        make.send(signal.SIGKILL)
        make.wait()
        assert until_gone(family) == set()
    finally:
        make.end()


@pytest.mark.embedded
def test_make_run_names_a_python_that_is_too_old(tmp_path: Path) -> None:
    """A Python below 3.11 is one line that says how to name another."""
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    # A checkout of its own, in which nothing was made yet.
    (tmp_path / "client").mkdir()
    locks = sorted(path.name for path in ROOT.glob("requirements*.lock"))
    for name in ("Makefile", "pyproject.toml", "client/pyproject.toml", *locks):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy" / "environment.py", tmp_path / "deploy")
    done = run("make", "-C", str(tmp_path), "--no-print-directory", "run", f"PYTHON={old}")
    assert done.returncode != 0
    assert done.stderr.splitlines()[0].startswith("countermark: needs Python 3.11 or later, and ")
    assert not (tmp_path / ".venv").exists()
